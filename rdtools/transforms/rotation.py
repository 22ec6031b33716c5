"""Orthogonal changes of basis of a layer's input, rebuilt from a seed by encoder and decoder alike.

A layer computes ``W x``; with Q orthogonal, ``(W Q)(Qᵀ x)`` is the same, so W is quantized as ``W Q`` against ``Qᵀ H Q``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.records import Rotation, RotationKind
from rdtools.transforms.haar import haar_matrix
from rdtools.transforms.hadamard import hadamard_multiply, is_hadamard_order
from rdtools.transforms.kronecker import haar_factors, kronecker_multiply
from rdtools.transforms.one_thread import one_blas_thread

Float64Array = NDArray[np.float64]
RotationChoice = Literal["haar", "hadamard", "kronecker", "auto"]


def new_rotation(choice: RotationChoice, order: int, generator: np.random.Generator) -> Rotation:
    """Draw a rotation; "auto" is a randomized Hadamard matrix where that order exists, else Haar (`Rotation.kind` tells)."""
    automatic: RotationKind = "hadamard" if is_hadamard_order(order) else "haar"
    return Rotation(automatic if choice == "auto" else choice, order, int(generator.integers(2**32)))


def _signs(rotation: Rotation) -> Float64Array:
    # Raw PCG64 words: NumPy promises their stream for ever, which it does not of Generator methods.
    words = np.random.PCG64(rotation.seed).random_raw(-(-rotation.order // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=rotation.order)
    return np.where(bits, -1.0, 1.0)


@lru_cache(maxsize=2)
def _matrices(rotation: Rotation) -> tuple[Float64Array, ...]:
    """Q of a Haar rotation, or its two Kronecker factors; read-only, because those of a layer's two sides are kept."""
    generator = np.random.default_rng(rotation.seed)
    haar = rotation.kind == "haar"
    drawn = (haar_matrix(rotation.order, generator),) if haar else haar_factors(rotation.order, generator)
    for matrix in drawn:
        matrix.flags.writeable = False
    return drawn


def rotate(x: Float64Array, rotation: Rotation) -> Float64Array:
    """``x Q``, x of shape (..., n). For a Hadamard rotation ``Q = diag(signs) H/√n``."""
    if rotation.kind == "haar":
        return np.asarray(x @ _matrices(rotation)[0])
    if rotation.kind == "kronecker":
        return kronecker_multiply(x, *_matrices(rotation))
    return hadamard_multiply(x * _signs(rotation))


def rotate_back(x: Float64Array, rotation: Rotation) -> Float64Array:
    """``x Qᵀ``, the inverse of `rotate`; a decoder's, and so the same bits whatever the number of threads."""
    with one_blas_thread():
        if rotation.kind == "haar":
            return np.asarray(x @ _matrices(rotation)[0].T)
        if rotation.kind == "kronecker":
            left, right = _matrices(rotation)
            return kronecker_multiply(x, left.T, right.T)
        return hadamard_multiply(x, transpose=True) * _signs(rotation)


def rotate_moment(moment: Float64Array, rotation: Rotation) -> Float64Array:
    """``Qᵀ H Q``, exactly symmetric."""
    half = rotate(moment, rotation)
    full = rotate(np.ascontiguousarray(half.T), rotation)
    return 0.5 * (full + full.T)
