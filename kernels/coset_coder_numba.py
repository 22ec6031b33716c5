"""Range coder of integers whose parity the trellis of cosets knows, on the CPU, in integers of 64 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._range_coder import ESCAPES, PARITY, PRECISION, RIGHT, WORDS
from rdtools.kernels.coset_coder_reference import Tables

_BITS, _WORD, _FULL = np.uint64(PRECISION), np.uint64(32), np.uint64(0xFFFFFFFF)
_MIN_LENGTH, _WHOLE = np.uint64(1) << np.uint64(32), np.uint64(0xFFFFFFFFFFFFFFFF)
_PARTS = np.uint64(1) << np.uint64(PRECISION)


@jit(nogil=True, error_model="numpy")
def _push(words, used, word, carry):  # type: ignore[no-untyped-def]
    """A word more, after a carry into those before it."""
    if carry:
        k = used - 1
        while words[k] == np.uint32(_FULL):
            words[k] = np.uint32(0)
            k -= 1
        words[k] += np.uint32(1)
    words[used] = np.uint32(word)
    return used + 1


@jit(nogil=True, error_model="numpy")
def _narrow(low, length, carry, left, part, words, used):  # type: ignore[no-untyped-def]
    scale = length >> _BITS
    moved = low + scale * left
    carry |= moved < low
    length = scale * part
    if length < _MIN_LENGTH:
        used = _push(words, used, moved >> _WORD, carry)
        return moved << _WORD, length << _WORD, False, used
    return moved, length, carry, used


@jit(nogil=True, error_model="numpy")
def _encode(integers, rows, columns, gaussian, cumulative, starts, halves, shifts, transitions, segment, words, escaped):  # type: ignore[no-untyped-def]
    m, p = integers.shape
    low, length, carry, used, escapes = np.uint64(0), _WHOLE, False, 0, 0
    state = np.zeros(p, dtype=np.int64)
    for r in range(m):
        if r % segment == 0:
            state[:] = 0
        for i in range(p):
            q, s = np.int64(integers[r, i]), state[i]
            if (q ^ s) & 1:
                return used, escapes, PARITY
            k, model = q >> 1, gaussian[rows[r] - columns[i]]
            half, shift, start = halves[model], shifts[model], starts[2 * model + (s & 1)]
            symbol = (k >> shift) + half
            inside = 0 <= symbol < 2 * half
            if not inside:
                symbol = 2 * half
                escaped[escapes] = integers[r, i]
                escapes += 1
            left = np.uint64(cumulative[start + symbol])
            part = np.uint64(cumulative[start + symbol + 1]) - left
            low, length, carry, used = _narrow(low, length, carry, left, part, words, used)
            if inside and shift:
                back = np.uint64(PRECISION - shift)
                bits = np.uint64(k & ((1 << shift) - 1)) << back
                low, length, carry, used = _narrow(low, length, carry, bits, np.uint64(1) << back, words, used)
            state[i] = transitions[s, k & 1]
    point = low + _FULL
    return _push(words, used, point >> _WORD, carry or point < low), escapes, RIGHT


@jit(nogil=True, error_model="numpy")
def _narrow_to(value, length, left, part, words, used):  # type: ignore[no-untyped-def]
    """The place in the interval and its length after a symbol, with a word more where the interval is short; zeros after the last."""
    scale = length >> _BITS
    value -= scale * left
    length = scale * part
    if length < _MIN_LENGTH:
        more = np.uint64(words[used]) if used < words.shape[0] else np.uint64(0)
        return (value << _WORD) | more, length << _WORD, used + 1
    return value, length, used


@jit(nogil=True, error_model="numpy")
def _decode(words, escaped, rows, columns, gaussian, cumulative, starts, halves, shifts, transitions, segment, integers):  # type: ignore[no-untyped-def]
    m, p = integers.shape
    count, used, escapes = words.shape[0], 2, 0
    value, length = np.uint64(0), _WHOLE
    if count > 0:
        value = np.uint64(words[0]) << _WORD
    if count > 1:
        value |= np.uint64(words[1])
    state = np.zeros(p, dtype=np.int64)
    for r in range(m):
        if r % segment == 0:
            state[:] = 0
        for i in range(p):
            s, model = state[i], gaussian[rows[r] - columns[i]]
            half, shift, start = halves[model], shifts[model], starts[2 * model + (s & 1)]
            quantile = value // (length >> _BITS)
            if quantile >= _PARTS:
                return WORDS
            low, high = 0, 2 * half + 1  # the symbol is from low to high − 1
            while high - low > 1:
                middle = (low + high) >> 1
                if np.uint64(cumulative[start + middle]) <= quantile:
                    low = middle
                else:
                    high = middle
            left = np.uint64(cumulative[start + low])
            part = np.uint64(cumulative[start + low + 1]) - left
            value, length, used = _narrow_to(value, length, left, part, words, used)
            if low == 2 * half:
                if escapes == escaped.shape[0]:
                    return ESCAPES
                q = escaped[escapes]
                escapes += 1
                if (q ^ s) & 1:
                    return PARITY
            else:
                k = np.int64(low - half) << shift
                if shift:
                    back = np.uint64(PRECISION - shift)
                    quantile = value // (length >> _BITS)
                    if quantile >= _PARTS:
                        return WORDS
                    bits = quantile >> back
                    value, length, used = _narrow_to(value, length, bits << back, np.uint64(1) << back, words, used)
                    k |= np.int64(bits)
                q = 2 * k + (s & 1)
            integers[r, i] = np.int32(q)
            state[i] = transitions[s, (q >> 1) & 1]
    if escapes != escaped.shape[0]:
        return ESCAPES
    return RIGHT if used == count + 1 else WORDS


def coset_encode(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], int]:
    """Same as `rdtools.kernels.coset_coder_reference.coset_encode`, faster."""
    block = np.require(integers, requirements=["C", "W", "A"])
    words, escaped = np.empty(2 * block.size + 1, dtype=np.uint32), np.empty(block.size, dtype=np.int32)
    used, escapes, outcome = _encode(block, rows, columns, gaussian, *tables, transitions, segment, words, escaped)
    if outcome != RIGHT:
        used = escapes = 0
    return words[:used].copy(), escaped[:escapes].copy(), outcome


def coset_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
) -> tuple[NDArray[np.int32], int]:
    """Same as `rdtools.kernels.coset_coder_reference.coset_decode`, faster."""
    integers = np.zeros((len(rows), len(columns)), dtype=np.int32)
    return integers, int(_decode(words, escaped, rows, columns, gaussian, *tables, transitions, segment, integers))
