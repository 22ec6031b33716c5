"""Kronecker products of two Haar-distributed orthogonal matrices: n^1.5 work instead of n²."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rdtools.transforms.haar import haar_matrix

Float64Array = NDArray[np.float64]


def kronecker_orders(order: int) -> tuple[int, int]:
    """(p, q) with p q = order and p ≤ q as near to each other as they can be; p = 1 for a prime order.

    Examples
    --------
    >>> kronecker_orders(352), kronecker_orders(7)
    ((16, 22), (1, 7))
    """
    p = next(p for p in range(math.isqrt(order), 0, -1) if order % p == 0)
    return p, order // p


def haar_factors(order: int, generator: np.random.Generator) -> tuple[Float64Array, Float64Array]:
    """Independent Haar matrices of the two `kronecker_orders`."""
    p, q = kronecker_orders(order)
    return haar_matrix(p, generator), haar_matrix(q, generator)


def kronecker_multiply(x: Float64Array, left: Float64Array, right: Float64Array) -> Float64Array:
    """``x (A ⊗ B)`` along the last axis.

    Parameters
    ----------
    x : (..., p q)
    left, right : (p, p), (q, q)

    References
    ----------
    QuIP, arXiv 2307.13304, section 4 (Kronecker-structured orthogonal matrices).
    """
    blocks = x.reshape(*x.shape[:-1], len(left), len(right))
    return np.asarray((left.T @ (blocks @ right)).reshape(x.shape))
