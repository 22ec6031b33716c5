"""Viterbi's search on the CPU: all states of one sequence side by side, one vector instruction for many of them.

The costs of the predecessors of class c = 0 … 2^(L−kV) − 1 are ``cost[p 2^(L−kV) + c]``, p = 0 … 2^kV − 1: runs that are compared
element by element, four at a time. Each minimum then goes to 2^kV neighbours, which is done by spreading it to two or four several times,
because a loop that writes every element so often becomes vector instructions and one that writes it 2^kV times does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import Float64Array, FloatArray

#: Sequences that a thread takes at a time: few, because one takes long.
BLOCK = 4


@jit(nogil=True, error_model="numpy")
def _minimum_of_classes(cost, least, back):  # type: ignore[no-untyped-def]
    """The least cost of each class, and the first p that has it."""
    C = least.shape[0]
    if cost.shape[0] == 2 * C:
        a, b = cost[:C], cost[C:]
        for c in range(C):
            less = b[c] < a[c]
            least[c] = b[c] if less else a[c]
            back[c] = np.uint8(less)
        return
    for p in range(0, cost.shape[0] // C, 4):
        four = cost[p * C : (p + 4) * C]
        a, b, d, e = four[:C], four[C : 2 * C], four[2 * C : 3 * C], four[3 * C :]
        if p == 0:
            for c in range(C):
                second, fourth = b[c] < a[c], e[c] < d[c]
                low, high = b[c] if second else a[c], e[c] if fourth else d[c]
                later = high < low
                least[c] = high if later else low
                back[c] = np.uint8(2 + fourth) if later else np.uint8(second)
        else:
            for c in range(C):
                second, fourth = b[c] < a[c], e[c] < d[c]
                low, high = b[c] if second else a[c], e[c] if fourth else d[c]
                later = high < low
                value, place = high if later else low, np.uint8(p + 2 + fourth) if later else np.uint8(p + second)
                less = value < least[c]
                least[c] = value if less else least[c]
                back[c] = place if less else back[c]


@jit(nogil=True, error_model="numpy")
def _spread(source, target):  # type: ignore[no-untyped-def]
    """Each element twice, or four times, as the sizes are."""
    if target.shape[0] == 2 * source.shape[0]:
        for i in range(source.shape[0]):
            target[2 * i], target[2 * i + 1] = source[i], source[i]
        return
    for i in range(source.shape[0]):
        s = source[i]
        target[4 * i], target[4 * i + 1], target[4 * i + 2], target[4 * i + 3] = s, s, s, s


# "contract" lets a product and a sum be one instruction, with one rounding instead of two; four at a time LLVM does not take the chance
@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _double_and_add(source, values, x, cost):  # type: ignore[no-untyped-def]
    """The last doubling, with the error of the first of the V weights."""
    for i in range(source.shape[0]):
        d, e = values[2 * i] - x, values[2 * i + 1] - x
        cost[2 * i], cost[2 * i + 1] = source[i] + d * d, source[i] + e * e


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _add(values, x, cost):  # type: ignore[no-untyped-def]
    for j in range(cost.shape[0]):
        d = values[j] - x
        cost[j] += d * d


@jit(nogil=True, error_model="numpy")
def _viterbi(x, first, values, fan, overlap, cost, scratch, back, states):  # type: ignore[no-untyped-def]
    """The best states for values (V, 2^L), of which 2^kV = fan follow each, and x (n, V) as a circle that is read from `first` on.

    Overlap: what the first state begins and the last one ends with, −1 for anything. Scratch: cost (2^L,), scratch (2, 2^L), back
    (n, 2^L / fan).
    """
    steps, dimension = x.shape
    count = cost.shape[0]
    C = count // fan
    cost[:] = 0 if overlap < 0 else np.inf
    if overlap >= 0:
        cost[overlap * fan : (overlap + 1) * fan] = 0
    for v in range(dimension):
        _add(values[v], x[first, v], cost)
    for t in range(1, steps):
        target = x[(first + t) % steps]
        source, spread = scratch[0], scratch[1]
        _minimum_of_classes(cost, source[:C], back[t])
        width = C
        while 2 * width < count:
            times = 4 if 8 * width <= count else 2
            _spread(source[:width], spread[: times * width])
            source, spread = spread, source
            width *= times
        _double_and_add(source[:width], values[0], target[0], cost)
        for v in range(1, dimension):
            _add(values[v], target[v], cost)
    lowest, stride = (0, 1) if overlap < 0 else (overlap, C)
    state = lowest
    for j in range(lowest, count, stride):
        if cost[j] < cost[state]:
            state = j
    states[steps - 1] = state
    for t in range(steps - 1, 0, -1):
        c = state // fan
        state = back[t, c] * C + c
        states[t - 1] = state


@jit(nogil=True, error_model="numpy")
def _quantize(sequences, values, fan, tail_biting, cost, scratch, back, states):  # type: ignore[no-untyped-def]
    steps = sequences.shape[1]
    half = steps // 2
    for s in range(sequences.shape[0]):
        overlap = -1
        if tail_biting:
            _viterbi(sequences[s], (steps - half) % steps, values, fan, -1, cost, scratch, back, states[s])
            overlap = states[s, half] // fan
        _viterbi(sequences[s], 0, values, fan, overlap, cost, scratch, back, states[s])


def trellis_quantize(
    sequences: FloatArray,  # (S, T)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    tail_biting: bool,
) -> tuple[NDArray[np.int32], Float64Array]:
    """Same as `rdtools.kernels.trellis_reference.trellis_quantize`, faster; costs in the dtype of the sequences.

    Of paths equally near, to rounding, it may take another. A thread needs 2^(L−kV) T/V bytes for the ways back.
    """
    (S, T), (count, V) = sequences.shape, values.shape
    dtype, n, fan = sequences.dtype, T // V, 2 ** (bits_per_weight * V)
    table = np.array(values.T, dtype=dtype, order="C")
    x = np.require(sequences, requirements=["C", "W", "A"]).reshape(S, n, V)  # a layout or read-only flag would be compiled anew
    states = np.empty((S, n), dtype=np.int32)

    def quantize(start: int) -> None:
        block = slice(start, start + BLOCK)
        cost, scratch = np.empty(count, dtype=dtype), np.empty((2, count), dtype=dtype)
        back = np.empty((n, count // fan), dtype=np.uint8)
        _quantize(x[block], table, fan, tail_biting, cost, scratch, back, states[block])

    for_each(quantize, range(0, S, BLOCK), thread_count())
    return states, values[states].reshape(S, T)
