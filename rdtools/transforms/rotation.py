"""Orthogonal changes of basis of a layer's input, rebuilt from a seed by encoder and decoder alike.

A layer computes ``W x``; with Q orthogonal, ``(W Q)(Qᵀ x)`` is the same, so W is quantized as ``W Q`` against ``Qᵀ H Q``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from rdtools.arrays import Float64Array, Matrix, beside, contiguous, is_tensor, symmetrize
from rdtools.records import Rotation, RotationKind
from rdtools.transforms.haar import haar_multiply
from rdtools.transforms.hadamard import core_order, hadamard_multiply, is_hadamard_order
from rdtools.transforms.kronecker import kronecker_multiply, kronecker_orders

RotationChoice = Literal["haar", "hadamard", "kronecker", "auto", "inner"]

#: Rows, or columns, of an array that are rotated in one go where it is rotated in its own memory: so many that what a Haar rotation draws
#: anew for them takes little of the time.
_TOGETHER = 256


def new_rotation(choice: RotationChoice, order: int, seed: int) -> Rotation:
    """The rotation of a seed of 64 bits, such as `rdtools.seeds.rotation_seed` gives.

    "auto", and "inner" where it rotates, is a randomized Hadamard matrix where that order exists, else Haar (`Rotation.kind` tells).
    """
    automatic: RotationKind = "hadamard" if is_hadamard_order(order) else "haar"
    return Rotation(automatic if choice == "auto" or choice == "inner" else choice, order, seed)


def _signs(rotation: Rotation) -> Float64Array:
    # Raw PCG64 words: NumPy promises their stream for ever, which it does not of Generator methods.
    words = np.random.PCG64(rotation.seed).random_raw(-(-rotation.order // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=rotation.order)
    return np.where(bits, -1.0, 1.0)


def dense_numbers(rotation: Rotation) -> int:
    """Numbers of the dense matrices that a rotation is multiplied by, which its time and memory are in proportion to.

    Examples
    --------
    >>> [dense_numbers(Rotation(kind, 96, 0)) for kind in ("haar", "kronecker", "hadamard")]
    [9216, 208, 144]
    """
    if rotation.kind == "haar":
        return rotation.order**2
    if rotation.kind == "kronecker":
        return sum(order**2 for order in kronecker_orders(rotation.order))
    return (core_order(rotation.order) or 0) ** 2


def rotate(x: Matrix, rotation: Rotation) -> Matrix:
    """``x Q``, x of shape (..., n), an array or a tensor. For a Hadamard rotation ``Q = diag(signs) H/√n``."""
    if rotation.kind == "haar":
        return haar_multiply(x, rotation.seed)
    if rotation.kind == "kronecker":
        return kronecker_multiply(x, rotation.seed)
    return hadamard_multiply(x * beside(_signs(rotation), x), overwrite=True)


def rotate_back(x: Matrix, rotation: Rotation) -> Matrix:
    """``x Qᵀ``, the inverse of `rotate`; a decoder's, and so of an array the same bits on every machine and any number of threads.

    On a device sums are in the order of its kernels.
    """
    if rotation.kind == "haar":
        return haar_multiply(x, rotation.seed, transpose=True)
    if rotation.kind == "kronecker":
        return kronecker_multiply(x, rotation.seed, transpose=True)
    return hadamard_multiply(x, transpose=True) * beside(_signs(rotation), x)


def rotate_rows(x: Matrix, rotation: Rotation) -> Matrix:
    """``Qᵀ x``, x of shape (n, k): `rotate` of its transpose, transposed, with memory for the answer and a few columns."""
    if is_tensor(x):
        return contiguous(rotate(contiguous(x.T), rotation).T)
    turned = np.empty(x.shape)
    for some in _parts(x.shape[1]):
        turned[:, some] = rotate(x[:, some].T, rotation).T
    return turned


def rotate_moment(moment: Matrix, rotation: Rotation) -> Matrix:
    """``Qᵀ H Q`` of a symmetric H, exactly symmetric, with memory for it and a few of its rows."""
    if is_tensor(moment):
        full = rotate(contiguous(rotate(moment, rotation).T), rotation)
    else:
        full = rotate_rows(moment.T, rotation)
        for some in _parts(len(full)):
            full[some] = rotate(full[some], rotation)
    return symmetrize(full)


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + _TOGETHER) for first in range(0, count, _TOGETHER))
