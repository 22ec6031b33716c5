"""Kronecker products of two Haar-distributed orthogonal matrices: n^1.5 work instead of n²."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array, Matrix, is_tensor, panels
from rdtools.transforms.haar import haar_matrix, haar_multiply

#: Numbers of the factors A and B among the matrices of a seed; 0 is the Haar rotation of that seed.
_LEFT, _RIGHT = 1, 2


def kronecker_orders(order: int) -> tuple[int, int]:
    """(p, q) with p q = order and p ≤ q as near to each other as they can be; p = 1 for a prime order.

    Examples
    --------
    >>> kronecker_orders(352), kronecker_orders(7)
    ((16, 22), (1, 7))
    """
    p = next(p for p in range(math.isqrt(order), 0, -1) if order % p == 0)
    return p, order // p


def kronecker_factors(order: int, seed: int) -> tuple[Float64Array, Float64Array]:
    """A and B, independent Haar matrices of the two `kronecker_orders`; functions of the arguments to the bit."""
    p, q = kronecker_orders(order)
    return haar_matrix(p, seed, factor=_LEFT), haar_matrix(q, seed, factor=_RIGHT)


def kronecker_multiply(x: Matrix, seed: int, *, transpose: bool = False) -> Matrix:
    """``x (A ⊗ B)`` along the last axis for the `kronecker_factors` of that seed, or ``x (A ⊗ B)ᵀ``.

    Same bits everywhere, like `rdtools.transforms.haar.haar_multiply`, which does it.

    Parameters
    ----------
    x : (..., n)
    seed : 0 … 2^64 − 1
    transpose : multiply by the inverse

    References
    ----------
    QuIP, arXiv 2307.13304, section 4 (Kronecker-structured orthogonal matrices).
    """
    if is_tensor(x):
        return _multiplied(x, seed, transpose)
    flat = np.reshape(x, (-1, x.shape[-1]))
    product = np.empty(flat.shape)
    for rows in panels(*flat.shape):  # which do not depend on each other
        product[rows] = _multiplied(flat[rows], seed, transpose)
    return product.reshape(x.shape)


def _multiplied(x: Matrix, seed: int, transpose: bool) -> Matrix:
    blocks = x.reshape(*x.shape[:-1], *kronecker_orders(x.shape[-1]))
    right = haar_multiply(blocks, seed, factor=_RIGHT, transpose=transpose)
    both = haar_multiply(right.swapaxes(-1, -2), seed, factor=_LEFT, transpose=transpose)
    return both.swapaxes(-1, -2).reshape(x.shape)
