"""Products of Householder reflections on the CPU: blocks of rows side by side in cache, one pass over them a reflection.

The rows of a block are the lanes of vector instructions: each lane does what the reference does, in its order. Without fastmath LLVM
neither contracts a product and a sum nor reorders sums, so neither machine, threads nor blocks change a bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import Float64Array

#: Rows of a block, fewer where so many would not stay in the second-level cache.
LANES = 64
BLOCK = 2**17
#: Fewer elements than this are not worth starting threads for.
THREADS_FROM = 2**16


@jit(nogil=True, error_model="numpy")
def _subtract_and_sum(block, top, bottom, u, weight, following, inner):  # type: ignore[no-untyped-def]
    """Rows top to bottom of the block less ``weight u``, and their part of the next reflection's inner product."""
    lanes = inner.shape[0]
    i = top
    while i + 4 <= bottom:
        x0, x1, x2, x3 = block[i], block[i + 1], block[i + 2], block[i + 3]
        u0, u1, u2, u3 = u[i], u[i + 1], u[i + 2], u[i + 3]
        v0, v1, v2, v3 = following[i], following[i + 1], following[i + 2], following[i + 3]
        for j in range(lanes):
            w = weight[j]
            y0, y1, y2, y3 = x0[j] - w * u0, x1[j] - w * u1, x2[j] - w * u2, x3[j] - w * u3
            x0[j], x1[j], x2[j], x3[j] = y0, y1, y2, y3
            inner[j] = (((inner[j] + v0 * y0) + v1 * y1) + v2 * y2) + v3 * y3
        i += 4
    while i < bottom:
        row, ui, vi = block[i], u[i], following[i]
        for j in range(lanes):
            y = row[j] - weight[j] * ui
            row[j] = y
            inner[j] += vi * y
        i += 1


@jit(nogil=True, error_model="numpy")
def _subtract(block, top, bottom, u, weight):  # type: ignore[no-untyped-def]
    for i in range(top, bottom):
        row, ui = block[i], u[i]
        for j in range(weight.shape[0]):
            row[j] -= weight[j] * ui


@jit(nogil=True, error_model="numpy")
def _sum(block, top, bottom, u, inner):  # type: ignore[no-untyped-def]
    for i in range(top, bottom):
        row, ui = block[i], u[i]
        for j in range(inner.shape[0]):
            inner[j] += ui * row[j]


@jit(nogil=True, error_model="numpy")
def _reflect(block, vectors, scales, starts):  # type: ignore[no-untyped-def]
    """The reference's product for the block (n, lanes) of columns; subtracting for k and summing for k + 1 is one pass."""
    n, lanes = block.shape
    inner, weight = np.zeros(lanes), np.empty(lanes)
    reflections = vectors.shape[0]
    if reflections:
        _sum(block, starts[0], n, vectors[0], inner)
    for k in range(reflections):
        for j in range(lanes):
            weight[j] = scales[k] * inner[j]
            inner[j] = 0.0
        if k + 1 == reflections:
            _subtract(block, starts[k], n, vectors[k], weight)
            break
        both = max(starts[k], starts[k + 1])
        _subtract(block, starts[k], both, vectors[k], weight)
        _sum(block, starts[k + 1], both, vectors[k + 1], inner)
        _subtract_and_sum(block, both, n, vectors[k], weight, vectors[k + 1], inner)


def householder_product(
    x: Float64Array,  # (m, n)
    vectors: Float64Array,  # (K, n)
    scales: Float64Array,  # (K,)
    starts: NDArray[np.int64],  # (K,)
) -> None:
    """Same as `rdtools.kernels.householder_reference.householder_product`, to the bit."""
    m, n = x.shape
    lanes = max(8, min(LANES, BLOCK // max(n, 1)))
    vectors, scales, starts = np.ascontiguousarray(vectors), np.ascontiguousarray(scales), np.ascontiguousarray(starts)

    def reflect(top: int) -> None:
        block = np.array(x[top : top + lanes].T, order="C")
        _reflect(block, vectors, scales, starts)
        x[top : top + lanes] = block.T

    for_each(reflect, range(0, m, lanes), thread_count() if x.size >= THREADS_FROM else 1)
