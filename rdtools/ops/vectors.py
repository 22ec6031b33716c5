"""Nearest words of a codebook."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray, Matrix
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import choose_backend, dispatch
from rdtools.ops.registry import kernel


def e8p_nearest(
    vectors: Matrix,  # (k, 8)
    *,
    backend: str | None = None,
) -> tuple[Matrix, Matrix]:
    """The nearest word of QuIP#'s E8P codebook to each vector; see `rdtools.kernels.e8p_reference` for the words and their codes.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32, finite, in units of the codebook
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : (k,) uint16, int32 from torch
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
    check_arrays("e8p_nearest", vectors=(vectors, "(k, 8)", FLOATS))
    chosen, (data,), convert = dispatch("e8p_nearest", backend, vectors)
    codes, words = kernel("e8p_nearest", chosen)(data)
    return convert(codes), convert(words)


def e8p_words(
    codes: NDArray[np.uint16],  # (...)
) -> Float64Array:
    """The words of E8P codes, shape (..., 8)."""
    words: Float64Array = kernel("e8p_codewords")()
    return words[codes]


def _checked_weights(op: str, vectors: FloatArray, centroids: FloatArray, weights: FloatArray | None) -> FloatArray:
    """The weights, ones if there are none, of arrays that fit each other."""
    w = np.ones(vectors.shape[-1:], dtype=vectors.dtype) if weights is None else weights
    check_arrays(op, vectors=(vectors, "(k, d)", FLOATS), centroids=(centroids, "(K, d)", FLOATS), weights=(w, "(d,) or (k, d)", FLOATS))
    if len(centroids) == 0:
        raise ShapeMismatch(f"{op}: centroids {centroids.shape}, expected at least one")
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
    w = _checked_weights("nearest_centroid", vectors, centroids, weights)
    index, distance = kernel("nearest_centroid", choose_backend(backend))(vectors, centroids, w)
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
    w = _checked_weights("centroid_update", vectors, centroids, weights)
    check_arrays("centroid_update", vectors=(vectors, "(k, d)", ()), index=(index, "(k,)", ("int32",)))
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(centroids):
        raise UsageError(f"centroid_update: index from {index.min()} to {index.max()}, expected 0 to {len(centroids) - 1}")
    new: FloatArray = kernel("centroid_update", choose_backend(backend))(vectors, index, w, centroids)
    return new
