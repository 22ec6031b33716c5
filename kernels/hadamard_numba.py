"""Multiplication by a Hadamard matrix on the CPU: the core with shared partial sums, Sylvester's part as passes over rows in cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import FloatArray

#: Elements that a thread takes at a time; with a core they pass through scratch of that size, which stays in the second-level cache.
BLOCK = 2**15
#: Fewer elements than this are not worth starting threads for.
THREADS_FROM = 2**16
#: Rows of a core product that run through vector instructions together.
LANES = 32


@jit(nogil=True, error_model="numpy")
def _divide(source, target, divisor):  # type: ignore[no-untyped-def]
    for t in range(source.shape[0]):
        target[t] = source[t] / divisor


@jit(nogil=True, error_model="numpy")
def _two_levels(source, target):  # type: ignore[no-untyped-def]
    """Sums and differences of four neighbours, each kind into a quarter of its own."""
    q = source.shape[0] // 4
    for t in range(q):
        a, b = source[4 * t] + source[4 * t + 1], source[4 * t] - source[4 * t + 1]
        c, d = source[4 * t + 2] + source[4 * t + 3], source[4 * t + 2] - source[4 * t + 3]
        target[t], target[q + t], target[2 * q + t], target[3 * q + t] = a + c, b + d, a - c, b - d


@jit(nogil=True, error_model="numpy")
def _one_level(source, target):  # type: ignore[no-untyped-def]
    q = source.shape[0] // 2
    for t in range(q):
        target[t], target[q + t] = source[2 * t] + source[2 * t + 1], source[2 * t] - source[2 * t + 1]


@jit(nogil=True, error_model="numpy")
def _sylvester(x, n, root, scratch):  # type: ignore[no-untyped-def]
    """Rows of n = 2^k elements, one after another in x: k levels, then the division.

    Every level reads neighbours and writes halves apart, the same way each time (Pease's constant geometry), so that the passes are
    vector instructions at every level; after k levels each element is in its place. Scratch, (2, n): a pass between two arrays that
    begin at the same address modulo a page would wait for its own stores, so rows do not take part in it.
    """
    for first in range(0, x.shape[0], n):
        row = x[first : first + n]
        source, target, spare = row, scratch[0], scratch[1]
        length = n
        while length > 1:
            if length >= 4:
                _two_levels(source, target)
                length //= 4
            else:
                _one_level(source, target)
                length //= 2
            source, target, spare = target, spare, target
        _divide(source, row, root)


@jit(nogil=True, error_model="numpy")
def _signed_sums(x, sums):  # type: ignore[no-untyped-def]
    """The 16 signed sums of four inputs, (4, LANES), from left to right; bit k of a sum's number is set if input k has a plus."""
    a, b, d, e = x[0], x[1], x[2], x[3]
    p0, p1, p2, p3, p4, p5, p6, p7 = sums[15], sums[7], sums[11], sums[3], sums[13], sums[5], sums[9], sums[1]
    for t in range(LANES):
        s, u = a[t] + b[t], a[t] - b[t]
        v, w, y, z = s + d[t], s - d[t], u + d[t], u - d[t]
        p0[t], p1[t], p2[t], p3[t] = v + e[t], v - e[t], w + e[t], w - e[t]
        p4[t], p5[t], p6[t], p7[t] = y + e[t], y - e[t], z + e[t], z - e[t]
    for odd in range(1, 16, 2):
        plus, minus = sums[odd], sums[15 - odd]
        for t in range(LANES):
            minus[t] = -plus[t]


@jit(nogil=True, error_model="numpy")
def _core_product(x, c, choices, y):  # type: ignore[no-untyped-def]
    """Rows of c elements, one after another in x, times the core; an output adds one of 16 sums for every four inputs, in turn.

    Choices, (c, ≥ c/4): number of the sum that an output takes of every four inputs, in groups of four, the last of which add zeros.
    """
    total, groups = x.shape[0] // c, -(-c // 4)
    turned = np.zeros((4 * groups, LANES), dtype=x.dtype)
    out = np.empty((c, LANES), dtype=x.dtype)
    sums = np.empty((4, 16, LANES), dtype=x.dtype)
    for first in range(0, total, LANES):
        rows = min(LANES, total - first)
        for t in range(rows):
            for i in range(c):
                turned[i, t] = x[(first + t) * c + i]
        out[:] = 0
        for g in range(0, groups, 4):
            for k in range(min(4, groups - g)):
                _signed_sums(turned[4 * (g + k) : 4 * (g + k) + 4], sums[k])
            sums[min(4, groups - g) :] = 0
            for j in range(c):
                target = out[j]
                s0, s1 = sums[0, choices[j, g]], sums[1, choices[j, g + 1]]
                s2, s3 = sums[2, choices[j, g + 2]], sums[3, choices[j, g + 3]]
                for t in range(LANES):
                    target[t] = (((target[t] + s0[t]) + s1[t]) + s2[t]) + s3[t]
        for t in range(rows):
            for j in range(c):
                y[(first + t) * c + j] = out[j, t]


def _choices(core: NDArray[Any]) -> NDArray[np.intp]:
    """(c, ≥ c/4) which of the 16 signed sums of `_signed_sums` an output of the core takes from every four inputs."""
    plus = np.ones((-(-len(core) // 16) * 16, len(core)), dtype=np.intp)
    plus[: len(core)] = core > 0
    return np.ascontiguousarray(np.tensordot(plus.reshape(-1, 4, len(core)), 1 << np.arange(4), (1, 0)).T)


@jit(nogil=True, error_model="numpy")
def _butterflies(y, n, c, root, x):  # type: ignore[no-untyped-def]
    """Rows of n = 2^k c elements, one after another in y, which is overwritten; the result goes to x."""
    for first in range(0, y.shape[0], n):
        row = y[first : first + n]
        h = c
        while h < n:
            if 4 * h <= n:
                for s in range(0, n, 4 * h):
                    y0, y1, y2, y3 = row[s : s + h], row[s + h : s + 2 * h], row[s + 2 * h : s + 3 * h], row[s + 3 * h : s + 4 * h]
                    for t in range(h):
                        a, b, d, e = y0[t] + y1[t], y0[t] - y1[t], y2[t] + y3[t], y2[t] - y3[t]
                        y0[t], y1[t], y2[t], y3[t] = a + d, b + e, a - d, b - e
                h *= 4
            else:
                y0, y1 = row[:h], row[h:]
                for t in range(h):
                    a, b = y0[t] + y1[t], y0[t] - y1[t]
                    y0[t], y1[t] = a, b
                h *= 2
        _divide(row, x[first : first + n], root)


def hadamard_inplace(
    x: FloatArray,  # (m, n)
    core: FloatArray,  # (c, c), n = 2^k c
) -> None:
    """Same as `rdtools.kernels.hadamard_reference.hadamard_inplace`, the same bits, faster; x has to be contiguous."""
    (m, n), c = x.shape, len(core)
    root = x.dtype.type(np.sqrt(n))
    choices = _choices(core)
    rows = max(1, BLOCK // max(n, 1))
    threads = thread_count() if x.size >= THREADS_FROM else 1
    per_thread = rows * -(-m // (rows * threads))

    def transform(top: int) -> None:
        bottom = min(top + per_thread, m)
        if c == 1:
            _sylvester(x[top:bottom].reshape(-1), n, root, np.zeros((2, n), dtype=x.dtype))
            return
        scratch = np.empty(min(rows, bottom - top) * n, dtype=x.dtype)
        for start in range(top, bottom, rows):
            block = x[start : min(start + rows, bottom)].reshape(-1)
            y = scratch[: block.size]
            _core_product(block, c, choices, y)
            _butterflies(y, n, c, root, block)

    for_each(transform, range(0, m, max(per_thread, 1)), threads)
