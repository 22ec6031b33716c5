"""Hadamard matrices: Sylvester doubling of a core by Paley or Williamson.

An order can be built if it is ``2^k · c`` with c = 1; c = q + 1 for a prime power q ≡ 3 (mod 4) (Paley I); c = 2 (q + 1) for a prime
power q ≡ 1 (mod 4) (Paley II); or c = 92, 116 or 172 (Williamson). The smallest such c is the core. The matrix of an order is part of the
format of files.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import circulant

from rdtools.arrays import Matrix, beside, dtype_name, is_tensor
from rdtools.errors import UnsupportedOrder
from rdtools.ops import hadamard_inplace
from rdtools.transforms.galois import jacobsthal_matrix, prime_power

SignArray = NDArray[np.int8]

#: First rows of four symmetric circulants A, B, C, D with A² + B² + C² + D² = 4t I, as far as the middle: entries 0 … (t − 1)/2.
_WILLIAMSON = {
    92: ("+++++-++---+", "+-+++--++-+-", "+-+--+++++--", "+--++-+-+---"),
    116: ("+++++++---+-++-", "++++---+++-+--+", "++-+++---+--+-+", "+-+-++---+--+-+"),
    172: ("+++++-++----+-++--++-+", "+++---++--+-+-+-++----", "++-+-++++-+--+--+++--+", "+-++-----++++-+-+++-++"),
}


def _construction(order: int) -> str | None:
    """The construction of exactly this order, if any."""
    if order == 1:
        return "one"
    for name, q, rest in (("Paley I", order - 1, 3), ("Paley II", order // 2 - 1, 1)):
        if order % 4 == 0 and q % 4 == rest and prime_power(q) is not None:
            return name
    return "Williamson" if order in _WILLIAMSON else None


def _paley(order: int, construction: str) -> SignArray:
    q = order - 1 if construction == "Paley I" else order // 2 - 1
    power = prime_power(q)
    assert power is not None  # or `_construction` would not have named it
    bordered = np.zeros((q + 1, q + 1), dtype=np.int8)
    bordered[0, 1:] = 1
    bordered[1:, 0] = 1 if construction == "Paley II" else -1
    bordered[1:, 1:] = jacobsthal_matrix(*power)
    if construction == "Paley I":
        return bordered + np.eye(q + 1, dtype=np.int8)
    signs, diagonal = np.array([[1, 1], [1, -1]], dtype=np.int8), np.array([[1, -1], [-1, -1]], dtype=np.int8)
    return np.kron(bordered, signs) + np.kron(np.eye(q + 1, dtype=np.int8), diagonal)


def _williamson(order: int) -> SignArray:
    halves = [np.array([1 if sign == "+" else -1 for sign in half], dtype=np.int8) for half in _WILLIAMSON[order]]
    A, B, C, D = (circulant(np.concatenate([half, half[:0:-1]])) for half in halves)
    return np.block([[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]])


@lru_cache(maxsize=8)
def _core(order: int) -> SignArray:
    """A Hadamard matrix of an order that has a `_construction`; read-only, because it is kept."""
    construction = _construction(order)
    assert construction is not None  # `core_order` asked before
    if construction == "one":
        core = np.ones((1, 1), dtype=np.int8)
    else:
        core = _williamson(order) if construction == "Williamson" else _paley(order, construction)
    core.flags.writeable = False
    return core


@lru_cache(maxsize=512)
def core_order(order: int) -> int | None:
    """Smallest c with order = 2^k · c that has a construction, or None."""
    c = order // (order & -order)
    while c <= order:
        if _construction(c) is not None:
            return c
        c *= 2
    return None


def is_hadamard_order(order: int) -> bool:
    """True if `hadamard_multiply` can build this order.

    Examples
    --------
    >>> [n for n in (1, 2, 3, 4, 12, 20, 36, 52, 156, 172, 344, 768) if is_hadamard_order(n)]
    [1, 2, 4, 12, 20, 36, 52, 172, 344, 768]
    """
    return order >= 1 and core_order(order) is not None


def nearest_hadamard_orders(order: int) -> tuple[int, int]:
    """The largest order below and the smallest above that can be built."""
    below = next(k for k in range(max(order - 1, 1), 0, -1) if is_hadamard_order(k))
    above = next(k for k in range(order + 1, 2 * order + 3) if is_hadamard_order(k))
    return below, above


def hadamard_multiply(x: Matrix, *, transpose: bool = False, overwrite: bool = False) -> Matrix:
    """``x H / √n`` for the Hadamard matrix ``H = Sylvester(2^k) ⊗ core`` along the last axis; ``x Hᵀ / √n`` if `transpose`.

    The map is orthogonal for every order; nothing is padded or cut.

    Parameters
    ----------
    x : (..., n) float64, an array or a tensor; float32 is computed and returned in float32
    transpose : the inverse
    overwrite : an array in C order may be overwritten, which saves its memory

    Raises
    ------
    UnsupportedOrder
        Where n cannot be built; names the nearest orders and the alternatives.

    References
    ----------
    Paley, J. Math. Phys. 12 (1933), 311; Williamson, Duke Math. J. 11 (1944), 65.

    Examples
    --------
    >>> hadamard_multiply(np.array([[1.0, 0.0, 0.0, 0.0]])).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    n = x.shape[-1]
    c = core_order(n) if n else None
    if c is None:
        below, above = nearest_hadamard_orders(n)
        block = max((k for k in range(1, n + 1) if n % k == 0 and is_hadamard_order(k)), default=1)
        raise UnsupportedOrder(
            f"no Hadamard matrix of order {n} is known to rdtools; the nearest orders are {below} and {above}; "
            "use a Haar rotation instead (+haar, or +rotation to have it chosen where needed)"
            + (f", or turn blocks of {block} columns on their own: x.reshape(..., {n // block}, {block})" if block > 1 else "")
        )
    dtype = "float32" if dtype_name(x) == "float32" else "float64"
    y: Matrix = (
        x.to(getattr(import_module("torch"), dtype)).contiguous().clone()
        if is_tensor(x)
        else np.array(x, dtype=dtype, order="C", copy=None if overwrite else True)
    )
    hadamard_inplace(y, beside(_core(c).T if transpose else _core(c), y))
    return y
