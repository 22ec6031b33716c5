"""Range coder of integers under Gaussian models learnt from decoded rows, on the CPU: one walk measures, encodes or decodes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._range_coder import ESCAPES, PARITY, PRECISION, RIGHT, WORDS
from rdtools.kernels.adaptive_coder_reference import (
    CLIP,
    FINE_STD,
    MAX_SHIFT,
    MIN_STD,
    MOST_MEAN,
    UNITS,
    WINDOW,
    Gaussians,
    row_blocks,
)
from rdtools.kernels.adaptive_model_numba import STRIDE, add_products, advance, factor, in_units, weigh
from rdtools.kernels.coset_coder_numba import _BITS, _FULL, _PARTS, _WHOLE, _WORD, _narrow, _narrow_to, _push

from rdtools.arrays import Float64Array
from rdtools.normal import ERF_COEFFICIENTS, SQRT_HALF

_MEASURE, _ENCODE, _DECODE = range(3)
_COEFFICIENTS = ERF_COEFFICIENTS[::-1]


@jit(nogil=True, error_model="numpy")
def _cdf(x):  # type: ignore[no-untyped-def]
    """`rdtools.normal.normal_cdf` of a number."""
    u = abs(x) * SQRT_HALF
    power = 0.0
    for a in _COEFFICIENTS:
        power = (power + a) * u
    power = power + 1.0
    power = power * power
    power = power * power
    power = power * power
    power = power * power
    tail = 0.5 / power
    return tail if x < 0 else 1.0 - tail


@jit(nogil=True, error_model="numpy")
def _start(symbol, half, first, width, mean, std):  # type: ignore[no-untyped-def]
    """The lower end of a symbol in 2⁻²⁴; `first` is that of the lowest, `width` the numbers of each."""
    if symbol == 0:
        return 0
    if symbol > 2 * half:
        return (1 << PRECISION) - (1 if symbol == 2 * half + 1 else 0)
    boundary = np.float64(first + symbol) * width - 0.5
    return np.int64(math.floor(np.float64((1 << PRECISION) - (2 * half + 2)) * _cdf((boundary - mean) / std))) + symbol


@jit(nogil=True, error_model="numpy")
def _find(quantile, half, first, width, mean, std):  # type: ignore[no-untyped-def]
    """The symbol of a quantile, where it begins and where the next one does."""
    if quantile >= (1 << PRECISION) - 1:
        return 2 * half + 1, (1 << PRECISION) - 1, 1 << PRECISION
    low, high, left, right = 0, 2 * half + 1, 0, (1 << PRECISION) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        start = _start(middle, half, first, width, mean, std)
        if start <= quantile:
            low, left = middle, start
        else:
            high, right = middle, start
    return low, left, right


@jit(nogil=True, error_model="numpy")
def _rows(  # type: ignore[no-untyped-def]
    mode,
    integers,
    first,
    stop,
    rows,
    columns,
    gaussian,
    stds,
    roots,
    upper,
    d,
    transitions,
    segment,
    state,
    coder,
    words,
    escaped,
    weighed,
    learnt,
):
    """Rows of a block: measured, encoded or decoded, and taken in; the outcome and bits.

    `coder` holds low or value, length, carry, words used and escaped integers used; `learnt` is False as long as there are no rows to
    learn from; weighed: rows as they enter the second moment.
    """
    p, walks, bits = integers.shape[1], transitions.shape[0] > 0, 0.0
    low, length, carry = coder[0], coder[1], coder[2] != 0
    used, escapes = np.int64(coder[3]), np.int64(coder[4])
    conditional_stds, means, units, innovations = np.sqrt(d), np.empty(p), np.empty(p), np.empty(p)
    for r in range(first, stop):
        if r % segment == 0:
            state[:] = 0
        means[:] = 0.0
        for i in range(p):
            s, index = state[i], gaussian[rows[r] - columns[i]]
            offset = 0.5 * (s & 1) if walks else 0.0
            root = roots[index]
            mean = min(max(means[i], -MOST_MEAN), MOST_MEAN) * root - offset
            std, shift, width = max(stds[index] * conditional_stds[i], MIN_STD), 0, 1.0
            while std > FINE_STD * width and shift < MAX_SHIFT:
                shift, width = shift + 1, width * 2.0
            half = ((np.int64(math.floor(WINDOW * min(std, FINE_STD * width))) + 1) >> shift) + 1
            lowest = np.int64(math.floor((mean + 0.5) / width)) - half
            if mode == _DECODE:
                quantile = low // (length >> _BITS)
                if quantile >= _PARTS:
                    return WORDS, bits
                symbol, left, right = _find(np.int64(quantile), half, lowest, width, mean, std)
                low, length, used = _narrow_to(low, length, np.uint64(left), np.uint64(right - left), words, used)
                if symbol > 2 * half:
                    if escapes == escaped.shape[0]:
                        return ESCAPES, bits
                    q = np.int64(escaped[escapes])
                    escapes += 1
                    if walks and (q ^ s) & 1:
                        return PARITY, bits
                else:
                    k = (symbol + lowest) << shift
                    if shift:
                        back = np.uint64(PRECISION - shift)
                        quantile = low // (length >> _BITS)
                        if quantile >= _PARTS:
                            return WORDS, bits
                        fine = quantile >> back
                        low, length, used = _narrow_to(low, length, fine << back, np.uint64(1) << back, words, used)
                        k |= np.int64(fine)
                    q = 2 * k + (s & 1) if walks else k
                    if q < -(2**31) or q >= 2**31:
                        return WORDS, bits
                integers[r, i] = np.int32(q)
            else:
                q = np.int64(integers[r, i])
                if walks and (q ^ s) & 1:
                    return PARITY, bits
                k = q >> 1 if walks else q
                symbol = (k >> shift) - lowest
                inside = 0 <= symbol <= 2 * half
                if not inside:
                    symbol = 2 * half + 1
                    escaped[escapes] = np.int32(q)
                    escapes += 1
                left = _start(symbol, half, lowest, width, mean, std)
                part = _start(symbol + 1, half, lowest, width, mean, std) - left
                if mode == _MEASURE:
                    bits += PRECISION - math.log2(part) + (shift if inside else 0)
                else:
                    low, length, carry, used = _narrow(low, length, carry, np.uint64(left), np.uint64(part), words, used)
                    if inside and shift:
                        back = np.uint64(PRECISION - shift)
                        fine = np.uint64(k & ((1 << shift) - 1)) << back
                        low, length, carry, used = _narrow(low, length, carry, fine, np.uint64(1) << back, words, used)
            if walks:
                state[i] = transitions[s, (q >> 1) & 1]
            units[i] = in_units(0.5 * np.float64(q) if walks else np.float64(q), root)
            most = CLIP * conditional_stds[i]
            innovation = min(max(units[i] / UNITS - means[i], -most), most)
            innovations[i] = innovation
            if not learnt:
                continue
            top = i - i % STRIDE
            for j in range(i + 1, min(p, top + STRIDE)):
                means[j] = means[j] + upper[i, j] * innovation
            if i == top + STRIDE - 1:
                advance(means, innovations, upper, top)
        weigh(units, weighed[r - first])
    coder[0], coder[1], coder[2] = low, length, np.uint64(carry)
    coder[3], coder[4] = np.uint64(used), np.uint64(escapes)
    return RIGHT, bits


def _walk(mode, integers, coder, words, escaped, rows, columns, gaussians: Gaussians, prior, transitions, segment, before, moment):  # type: ignore[no-untyped-def]
    """All rows, block by block; outcome and bits."""
    m, p = integers.shape
    sums, upper, d = np.zeros((p, p)) if moment is None else moment.copy(), np.zeros((p, p)), np.ones(p)
    state, bits = np.zeros(p, dtype=np.int64), 0.0
    model = (rows, columns, *gaussians, upper, d, transitions, segment, state)
    for first, stop in row_blocks(m, p, before):
        if before + first:
            factor(sums, before + first, float(prior), upper, d)
        weighed = np.empty((stop - first, p))
        outcome, part = _rows(mode, integers, first, stop, *model, coder, words, escaped, weighed, before + first > 0)
        bits += part
        if outcome != RIGHT:
            return outcome, bits
        if stop < m:
            add_products(sums, weighed)
    return RIGHT, bits


def adaptive_length(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[float, NDArray[np.int32], int]:
    """Same as `rdtools.kernels.adaptive_coder_reference.adaptive_length`, faster."""
    block, escaped = np.require(integers, requirements=["C", "W", "A"]), np.empty(integers.size, dtype=np.int32)
    coder, words = np.array([0, _WHOLE, 0, 0, 0], dtype=np.uint64), np.zeros(0, dtype=np.uint32)
    rest = rows, columns, gaussians, prior, transitions, segment, before, moment
    outcome, bits = _walk(_MEASURE, block, coder, words, escaped, *rest)
    return float(bits), escaped[: int(coder[4])].copy(), int(outcome)


def adaptive_encode(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], int]:
    """Same as `rdtools.kernels.adaptive_coder_reference.adaptive_encode`, faster."""
    block, escaped = np.require(integers, requirements=["C", "W", "A"]), np.empty(integers.size, dtype=np.int32)
    coder, words = np.array([0, _WHOLE, 0, 0, 0], dtype=np.uint64), np.empty(2 * block.size + 1, dtype=np.uint32)
    rest = rows, columns, gaussians, prior, transitions, segment, before, moment
    outcome, _ = _walk(_ENCODE, block, coder, words, escaped, *rest)
    if outcome != RIGHT:
        return words[:0].copy(), escaped[:0].copy(), int(outcome)
    low, point = coder[0], np.uint64((int(coder[0]) + int(_FULL)) % 2**64)
    used = _push(words, int(coder[3]), point >> _WORD, bool(coder[2]) or bool(point < low))
    return words[:used].copy(), escaped[: int(coder[4])].copy(), RIGHT


def adaptive_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[NDArray[np.int32], int]:
    """Same as `rdtools.kernels.adaptive_coder_reference.adaptive_decode`, faster."""
    integers = np.zeros((len(rows), len(columns)), dtype=np.int32)
    first = [int(word) for word in words[:2]] + [0, 0]
    coder = np.array([first[0] << 32 | first[1], _WHOLE, 0, 2, 0], dtype=np.uint64)
    rest = rows, columns, gaussians, prior, transitions, segment, before, moment
    outcome, _ = _walk(_DECODE, integers, coder, words, escaped.astype(np.int32), *rest)
    if outcome == RIGHT and int(coder[4]) != len(escaped):
        outcome = ESCAPES
    if outcome == RIGHT and int(coder[3]) != len(words) + 1:
        outcome = WORDS
    return integers, int(outcome)
