"""The nearest of many centroids on the CPU: vectors side by side against one centroid after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import FloatArray

#: Vectors side by side, so that they, their weights and their least distances stay in the nearest cache.
LANES = 128
#: Vectors that a thread takes at a time, and operations that are worth starting threads for.
BLOCK, THREADS_FROM = 2**10, 2**20


# "contract" lets a product and a sum be one instruction, with one rounding instead of two
@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _search_eight(centroids, x, least, nearest):  # type: ignore[no-untyped-def]
    """As `_search` for eight coordinates, in one pass over the lanes: twice as fast."""
    x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    for c in range(centroids.shape[0]):
        w = centroids[c]
        c0, c1, c2, c3, c4, c5, c6, c7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
        for r in range(LANES):
            t0, t1, t2, t3 = x0[r] - c0, x1[r] - c1, x2[r] - c2, x3[r] - c3
            t4, t5, t6, t7 = x4[r] - c4, x5[r] - c5, x6[r] - c6, x7[r] - c7
            total = t0 * t0 + t1 * t1 + t2 * t2 + t3 * t3 + t4 * t4 + t5 * t5 + t6 * t6 + t7 * t7
            nearer = total < least[r]
            least[r] = total if nearer else least[r]
            nearest[r] = np.int32(c) if nearer else nearest[r]


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _search(centroids, x, sums, least, nearest):  # type: ignore[no-untyped-def]
    """Coordinates four at a time, so that their sum stays in a register; x (D, LANES), D a multiple of four; sums are zeros."""
    K, D = centroids.shape
    for c in range(K):
        for j in range(0, D, 4):
            c0, c1, c2, c3 = centroids[c, j], centroids[c, j + 1], centroids[c, j + 2], centroids[c, j + 3]
            x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
            for r in range(LANES):
                t0, t1, t2, t3 = x0[r] - c0, x1[r] - c1, x2[r] - c2, x3[r] - c3
                sums[r] += t0 * t0 + t1 * t1 + t2 * t2 + t3 * t3
        for r in range(LANES):
            nearer = sums[r] < least[r]
            least[r] = sums[r] if nearer else least[r]
            nearest[r] = np.int32(c) if nearer else nearest[r]
            sums[r] = 0


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _search_weighted(centroids, x, w, sums, least, nearest):  # type: ignore[no-untyped-def]
    """As `_search` with weights w (D, LANES)."""
    K, D = centroids.shape
    for c in range(K):
        for j in range(0, D, 4):
            c0, c1, c2, c3 = centroids[c, j], centroids[c, j + 1], centroids[c, j + 2], centroids[c, j + 3]
            x0, x1, x2, x3 = x[j], x[j + 1], x[j + 2], x[j + 3]
            w0, w1, w2, w3 = w[j], w[j + 1], w[j + 2], w[j + 3]
            for r in range(LANES):
                t0, t1, t2, t3 = x0[r] - c0, x1[r] - c1, x2[r] - c2, x3[r] - c3
                sums[r] += w0[r] * t0 * t0 + w1[r] * t1 * t1 + w2[r] * t2 * t2 + w3[r] * t3 * t3
        for r in range(LANES):
            nearer = sums[r] < least[r]
            least[r] = sums[r] if nearer else least[r]
            nearest[r] = np.int32(c) if nearer else nearest[r]
            sums[r] = 0


@jit(nogil=True, error_model="numpy")
def _accumulate(vectors, index, weights, per_vector, sums, totals):  # type: ignore[no-untyped-def]
    for v in range(vectors.shape[0]):
        c = index[v]
        for j in range(vectors.shape[1]):
            w = np.float64(weights[v, j] if per_vector else weights[0, j])
            sums[c, j] += w * vectors[v, j]
            totals[c, j] += w


def _plain(x: NDArray[Any]) -> NDArray[Any]:
    """One layout for all: another, or a read-only flag, would be compiled anew."""
    return np.require(x, requirements=["C", "W", "A"])


def nearest_centroid(
    vectors: FloatArray,  # (k, d)
    centroids: FloatArray,  # (K, d)
    weights: FloatArray,  # (d,) or (k, d)
) -> tuple[NDArray[np.int32], FloatArray]:
    """Same as `rdtools.kernels.nearest_centroid_reference.nearest_centroid`, faster."""
    (k, d), dtype = vectors.shape, vectors.dtype
    D = -(-d // 4) * 4
    C = np.zeros((len(centroids), D), dtype=dtype)
    C[:, :d] = centroids
    weighted = weights.ndim == 2 or bool((weights != 1).any())
    index, distance = np.empty(k, dtype=np.int32), np.empty(k, dtype=dtype)

    def search(start: int) -> None:
        lanes, lane_weights = np.zeros((D, LANES), dtype=dtype), np.zeros((D, LANES), dtype=dtype)
        sums, least, nearest = np.zeros(LANES, dtype=dtype), np.zeros(LANES, dtype=dtype), np.zeros(LANES, dtype=np.int32)
        for top in range(start, min(start + BLOCK, k), LANES):
            part = slice(top, min(top + LANES, k))
            rows = part.stop - top
            lanes[:d, :rows] = vectors[part].T
            least[:] = np.inf
            nearest[:] = 0
            if weighted:
                lane_weights[:d, :rows] = (weights[part] if weights.ndim == 2 else weights[None]).T
                _search_weighted(C, lanes, lane_weights, sums, least, nearest)
            elif D == 8:
                _search_eight(C, lanes, least, nearest)
            else:
                _search(C, lanes, sums, least, nearest)
            index[part], distance[part] = nearest[:rows], least[:rows]

    for_each(search, range(0, k, BLOCK), thread_count() if k * C.size >= THREADS_FROM else 1)
    return index, distance


def centroid_update(
    vectors: FloatArray,  # (k, d)
    index: NDArray[np.int32],  # (k,)
    weights: FloatArray,  # (d,) or (k, d)
    centroids: FloatArray,  # (K, d)
) -> FloatArray:
    """Same as `rdtools.kernels.nearest_centroid_reference.centroid_update`, faster."""
    sums, totals = np.zeros(centroids.shape), np.zeros(centroids.shape)
    w = weights.astype(vectors.dtype, copy=False)
    _accumulate(_plain(vectors), _plain(index), _plain(np.atleast_2d(w)), weights.ndim == 2, sums, totals)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals > 0, sums / totals, centroids).astype(centroids.dtype)
