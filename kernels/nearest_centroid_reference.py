"""The nearest of many centroids, and the centroids of the vectors that are nearest to each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import FloatArray


def nearest_centroid(
    vectors: FloatArray,  # (k, d)
    centroids: FloatArray,  # (K, d)
    weights: FloatArray,  # (d,) or (k, d)
) -> tuple[NDArray[np.int32], FloatArray]:
    """``argmin_c Σ_j w_j (x_j − c_j)²`` for each vector x, the first of those equally near, and the minimum.

    Parameters
    ----------
    vectors : (k, d) float64 or float32; everything is computed in their dtype
    centroids : (K, d), at least one
    weights : (d,), or (k, d) for each vector its own, not negative

    Returns
    -------
    index : (k,) int32
    distance : (k,) in the dtype of the vectors
    """
    C = centroids.astype(vectors.dtype)
    w = np.broadcast_to(weights.astype(vectors.dtype), vectors.shape)
    index, distance = np.empty(len(vectors), dtype=np.int32), np.empty(len(vectors), dtype=vectors.dtype)
    for v, x in enumerate(vectors):
        distances = (w[v] * (x - C) ** 2).sum(axis=1)
        index[v] = distances.argmin()
        distance[v] = distances[index[v]]
    return index, distance


def centroid_update(
    vectors: FloatArray,  # (k, d)
    index: NDArray[np.int32],  # (k,)
    weights: FloatArray,  # (d,) or (k, d)
    centroids: FloatArray,  # (K, d)
) -> FloatArray:
    """``c_j = Σ w_j x_j / Σ w_j`` over the vectors of each centroid, in float64; coordinates without weight keep what they were.

    Returns
    -------
    (K, d) in the dtype of the centroids
    """
    w = np.broadcast_to(weights.astype(np.float64), vectors.shape)
    new = centroids.astype(np.float64)
    for c in range(len(new)):
        assigned = index == c
        total = w[assigned].sum(axis=0)
        sums = (w[assigned] * vectors[assigned]).sum(axis=0)
        new[c, total > 0] = sums[total > 0] / total[total > 0]
    return new.astype(centroids.dtype)
