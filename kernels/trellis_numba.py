"""Viterbi's search on the CPU: all states of one sequence side by side, one vector instruction for many of them.

The costs of the predecessors of class c = 0 … 2^(L−kV) − 1 are ``cost[p 2^(L−kV) + c]``, p = 0 … 2^kV − 1: runs that are compared
element by element, four at a time, as soon as the last error is added to them. Each minimum then goes to 2^kV neighbours, which is done by
spreading it to two, four or eight, because a loop that writes every element so often becomes vector instructions and one that writes it
16 times does not. Only minima are kept; on the way back the predecessor is found by computing the 2^kV costs of its class again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import Float64Array, FloatArray

#: Sequences that a thread takes at a time: few, because one takes long.
BLOCK = 4
#: Bytes of a cache line: vector instructions on numbers that begin elsewhere take a third longer.
_LINE = 64


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> FloatArray:
    """Memory for an array that begins with a cache line."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


@jit(nogil=True, error_model="numpy")
def _spread(source, target):  # type: ignore[no-untyped-def]
    """Each element twice, four or eight times, as the sizes are."""
    if target.shape[0] == 2 * source.shape[0]:
        for i in range(source.shape[0]):
            target[2 * i], target[2 * i + 1] = source[i], source[i]
    elif target.shape[0] == 4 * source.shape[0]:
        for i in range(source.shape[0]):
            s = source[i]
            target[4 * i], target[4 * i + 1], target[4 * i + 2], target[4 * i + 3] = s, s, s, s
    else:
        for i in range(source.shape[0]):
            s = source[i]
            target[8 * i], target[8 * i + 1], target[8 * i + 2], target[8 * i + 3] = s, s, s, s
            target[8 * i + 4], target[8 * i + 5], target[8 * i + 6], target[8 * i + 7] = s, s, s, s


# "contract" lets a product and a sum be one instruction, with one rounding instead of two, here and in the two functions below alike
@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _add(values, x, cost):  # type: ignore[no-untyped-def]
    for j in range(cost.shape[0]):
        d = values[j] - x
        cost[j] += d * d


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _minimum_of_classes(cost, values, x, least):  # type: ignore[no-untyped-def]
    """The least cost of each class, with the error of the last of the V weights added."""
    C = least.shape[0]
    if cost.shape[0] == 2 * C:
        a, b, va, vb = cost[:C], cost[C:], values[:C], values[C:]
        for c in range(C):
            d, e = va[c] - x, vb[c] - x
            low, high = a[c] + d * d, b[c] + e * e
            least[c] = high if high < low else low
        return
    for p in range(0, cost.shape[0] // C, 4):
        four, their = cost[p * C : (p + 4) * C], values[p * C : (p + 4) * C]
        a0, a1, a2, a3 = four[:C], four[C : 2 * C], four[2 * C : 3 * C], four[3 * C :]
        v0, v1, v2, v3 = their[:C], their[C : 2 * C], their[2 * C : 3 * C], their[3 * C :]
        for c in range(C):
            d0, d1, d2, d3 = v0[c] - x, v1[c] - x, v2[c] - x, v3[c] - x
            f0, f1, f2, f3 = a0[c] + d0 * d0, a1[c] + d1 * d1, a2[c] + d2 * d2, a3[c] + d3 * d3
            low, high = f1 if f1 < f0 else f0, f3 if f3 < f2 else f2
            low = high if high < low else low
            least[c] = low if p == 0 or low < least[c] else least[c]


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _best(least, values, x, step_bits, first, count, stride):  # type: ignore[no-untyped-def]
    """The first state of least cost among so many, from the minima before its errors."""
    lowest, best = least[0], first
    for i in range(count):
        state = first + i * stride
        cost = least[state >> step_bits]
        for v in range(values.shape[0]):
            d = values[v, state] - x[v]
            cost += d * d
        if i == 0 or cost < lowest:
            lowest, best = cost, state
    return best


@jit(nogil=True, error_model="numpy")
def _viterbi(x, first, values, step_bits, overlap, scratch, least, states, stop):  # type: ignore[no-untyped-def]
    """The best states, from number `stop` on, for values (V, 2^L) and x (n, V) as a circle that is read from `first` on.

    Overlap: what the first state begins and the last one ends with, −1 for anything. Scratch: scratch (2, 2^L), least (n, 2^(L−kV)).
    """
    steps, dimension = x.shape
    count, C = values.shape[1], least.shape[1]
    least[0] = 0 if overlap < 0 else np.inf
    if overlap >= 0:
        least[0, overlap] = 0
    for t in range(steps - 1):
        target = x[(first + t) % steps]
        cost, spread = least[t], scratch[0]
        other = scratch[1]
        width = C
        while width < count:
            times = min(8, count // width) if count // width != 16 else 2
            _spread(cost[:width], spread[: times * width])
            cost, spread, other = spread, other, spread
            width *= times
        for v in range(dimension - 1):
            _add(values[v], target[v], cost)
        _minimum_of_classes(cost, values[dimension - 1], target[dimension - 1], least[t + 1])
    fan, last = 1 << step_bits, x[(first + steps - 1) % steps]
    if overlap < 0:
        state = _best(least[steps - 1], values, last, step_bits, 0, count, 1)
    else:
        state = _best(least[steps - 1], values, last, step_bits, overlap, fan, C)
    states[steps - 1] = state
    for t in range(steps - 2, stop - 1, -1):
        state = _best(least[t], values, x[(first + t) % steps], step_bits, state >> step_bits, fan, C)
        states[t] = state


@jit(nogil=True, error_model="numpy")
def _quantize(sequences, values, step_bits, tail_biting, scratch, least, states):  # type: ignore[no-untyped-def]
    steps = sequences.shape[1]
    half = steps // 2
    for s in range(sequences.shape[0]):
        overlap = -1
        if tail_biting:
            _viterbi(sequences[s], steps - half, values, step_bits, -1, scratch, least, states[s], half)
            overlap = states[s, half] >> step_bits
        _viterbi(sequences[s], 0, values, step_bits, overlap, scratch, least, states[s], 0)


def trellis_quantize(
    sequences: FloatArray,  # (S, T)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    tail_biting: bool,
) -> tuple[NDArray[np.int32], Float64Array]:
    """Same as `rdtools.kernels.trellis_reference.trellis_quantize`, faster; costs in the dtype of the sequences.

    Of paths equally near, to rounding, it may take another. A thread needs 2^(L−kV) T/V numbers for the ways back.
    """
    (S, T), (count, V) = sequences.shape, values.shape
    dtype, n, step_bits = sequences.dtype, T // V, bits_per_weight * V
    table = _aligned((V, count), dtype)
    table[:] = values.T
    x = np.require(sequences, requirements=["C", "W", "A"]).reshape(S, n, V)  # a layout or read-only flag would be compiled anew
    states = np.empty((S, n), dtype=np.int32)

    def quantize(start: int) -> None:
        block = slice(start, start + BLOCK)
        scratch, least = _aligned((2, count), dtype), _aligned((n, count >> step_bits), dtype)
        _quantize(x[block], table, step_bits, tail_biting, scratch, least, states[block])

    for_each(quantize, range(0, S, BLOCK), thread_count())
    return states, values[states].reshape(S, T)
