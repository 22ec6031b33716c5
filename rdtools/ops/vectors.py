"""Nearest words of a codebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.ops.dispatch import choose_backend, kernel

if TYPE_CHECKING:
    pass

FloatArray = NDArray[Any]  # float64 or float32
Float64Array = NDArray[np.float64]


def e8p_nearest(
    vectors: FloatArray,  # (k, 8)
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.uint16], FloatArray]:
    """The nearest word of QuIP#'s E8P codebook to each vector; see `rdtools.kernels.e8p_reference` for the words and their codes.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32, finite, in units of the codebook
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : (k,) uint16
    words : (k, 8) in the dtype of the vectors, which holds them exactly

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable

    Examples
    --------
    >>> codes, words = e8p_nearest(np.full((1, 8), 0.7))
    >>> codes.tolist(), words.tolist()
    ([0], [[0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]])
    """
    if vectors.ndim != 2 or vectors.shape[1] != 8:
        raise ShapeMismatch(f"e8p_nearest: vectors {vectors.shape}, expected (k, 8)")
    if vectors.dtype not in (np.float64, np.float32):
        raise UnsupportedDtype(f"e8p_nearest: vectors of {vectors.dtype}, expected float64 or float32; convert them")
    codes, words = kernel("e8p_nearest", "e8p", choose_backend(backend))(vectors)
    return codes, words


def e8p_words(
    codes: NDArray[np.uint16],  # (...)
) -> Float64Array:
    """The words of E8P codes, shape (..., 8)."""
    words: Float64Array = kernel("codewords", "e8p", "reference")()
    return words[codes]


def _check_clusters(name: str, vectors: FloatArray, centroids: FloatArray, weights: FloatArray | None) -> FloatArray:
    """The weights, ones if there are none."""
    d = vectors.shape[-1] if vectors.ndim else 0
    w = np.ones(d, dtype=vectors.dtype) if weights is None else weights
    if vectors.ndim != 2 or centroids.ndim != 2 or len(centroids) == 0 or centroids.shape[1] != d or w.shape not in ((d,), vectors.shape):
        raise ShapeMismatch(
            f"{name}: vectors {vectors.shape}, centroids {centroids.shape}, weights {w.shape}; "
            "expected (k, d), (K, d) with K > 0, (d,) or (k, d)"
        )
    for key, array in (("vectors", vectors), ("centroids", centroids), ("weights", w)):
        if array.dtype not in (np.float64, np.float32):
            raise UnsupportedDtype(f"{name}: {key} of {array.dtype}, expected float64 or float32; convert them")
    return w


def nearest_centroid(
    vectors: FloatArray,  # (k, d)
    centroids: FloatArray,  # (K, d)
    weights: FloatArray | None = None,  # (d,) or (k, d)
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], FloatArray]:
    """``argmin_c Σ_j w_j (x_j − c_j)²`` for each vector x, the first of those equally near, and the minimum: the assignment of k-means.

    Parameters
    ----------
    vectors : (k, d) float64 or float32; everything is computed in their dtype
    centroids : (K, d), at least one
    weights : (d,), or (k, d) for each vector its own, not negative; None for 1
    backend : None, "numba" or "reference"

    Returns
    -------
    index : (k,) int32
    distance : (k,) in the dtype of the vectors

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable

    Examples
    --------
    >>> index, distance = nearest_centroid(np.array([[0.0, 2.0]]), np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([3.0, 0.5]))
    >>> index.tolist(), distance.tolist()
    ([0], [2.0])
    """
    w = _check_clusters("nearest_centroid", vectors, centroids, weights)
    index, distance = kernel("nearest_centroid", "nearest_centroid", choose_backend(backend))(vectors, centroids, w)
    return index, distance


def centroid_update(
    vectors: FloatArray,  # (k, d)
    index: NDArray[np.int32],  # (k,)
    centroids: FloatArray,  # (K, d)
    weights: FloatArray | None = None,  # (d,) or (k, d)
    *,
    backend: str | None = None,
) -> FloatArray:
    """Centroids of the vectors assigned to each, ``c_j = Σ w_j x_j / Σ w_j``: the update of k-means.

    Parameters
    ----------
    vectors : (k, d) float64 or float32; sums are in float64
    index : (k,) int32, 0 … K − 1
    centroids : (K, d), what a coordinate without weight, and a centroid without vectors, keeps
    weights : (d,), or (k, d) for each vector its own, not negative; None for 1
    backend : None, "numba" or "reference"

    Returns
    -------
    (K, d) in the dtype of the centroids

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> centroid_update(np.array([[0.0], [2.0], [9.0]]), np.array([0, 0, 1], dtype=np.int32), np.zeros((3, 1))).tolist()
    [[1.0], [9.0], [0.0]]
    """
    w = _check_clusters("centroid_update", vectors, centroids, weights)
    if index.shape != (len(vectors),):
        raise ShapeMismatch(f"centroid_update: index {index.shape} for {len(vectors)} vectors")
    if index.dtype != np.int32:
        raise UnsupportedDtype(f"centroid_update: index of {index.dtype}, expected int32; convert it")
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(centroids):
        raise UsageError(f"centroid_update: index from {index.min()} to {index.max()}, expected 0 to {len(centroids) - 1}")
    new: FloatArray = kernel("centroid_update", "nearest_centroid", choose_backend(backend))(vectors, index, w, centroids)
    return new
