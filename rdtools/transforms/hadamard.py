"""Hadamard matrices: Sylvester doubling of a Paley core.

An order can be built if it is ``2^k · c`` with c = 1, c = q + 1 for a prime q ≡ 3 (mod 4) (Paley I), or c = 2 (q + 1) for a
prime q ≡ 1 (mod 4) (Paley II).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.errors import UnsupportedOrder


def _is_prime(q: int) -> bool:
    return q >= 2 and all(q % d for d in range(2, int(q**0.5) + 1))


def _quadratic_residue_matrix(q: int) -> NDArray[np.float64]:
    """Jacobsthal matrix ``Q_ij = χ(i − j)``, χ the quadratic character of the prime field, shape (q, q)."""
    character = np.full(q, -1.0)
    character[[i * i % q for i in range(1, q)]] = 1.0
    character[0] = 0.0
    return np.asarray(scipy.linalg.circulant(character))


def _construction(order: int) -> str | None:
    """Which construction has exactly this order: "one", "Paley I", "Paley II" or none."""
    if order == 1:
        return "one"
    if (order - 1) % 4 == 3 and _is_prime(order - 1):
        return "Paley I"
    if order % 4 == 0 and (order // 2 - 1) % 4 == 1 and _is_prime(order // 2 - 1):
        return "Paley II"
    return None


@lru_cache(maxsize=8)
def _core(order: int) -> NDArray[np.float64]:
    """A Hadamard matrix of an order that has a `_construction`; read-only, because it is kept."""
    construction = _construction(order)
    if construction == "one":
        core = np.ones((1, 1))
    elif construction == "Paley I":
        core = np.eye(order)
        core[0, 1:] += 1.0
        core[1:, 0] -= 1.0
        core[1:, 1:] += _quadratic_residue_matrix(order - 1)
    else:
        q = order // 2 - 1
        conference = np.zeros((q + 1, q + 1))
        conference[0, 1:] = conference[1:, 0] = 1.0
        conference[1:, 1:] = _quadratic_residue_matrix(q)
        core = np.kron(conference, [[1.0, 1.0], [1.0, -1.0]]) + np.kron(np.eye(q + 1), [[1.0, -1.0], [-1.0, -1.0]])
    core.flags.writeable = False
    return core


@lru_cache(maxsize=512)
def _core_order(order: int) -> int | None:
    """Smallest c with order = 2^k · c that has a construction, or None."""
    c = order
    while c % 2 == 0:
        c //= 2
    while c <= order:
        if _construction(c) is not None:
            return c
        c *= 2
    return None


def is_hadamard_order(order: int) -> bool:
    """Whether `hadamard_multiply` can build this order.

    Examples
    --------
    >>> [n for n in (1, 2, 3, 4, 12, 20, 36, 172, 768) if is_hadamard_order(n)]
    [1, 2, 4, 12, 20, 36, 768]
    """
    return order >= 1 and _core_order(order) is not None


def nearest_hadamard_orders(order: int) -> tuple[int, int]:
    """The largest order below and the smallest above that can be built."""
    below = next(k for k in range(max(order - 1, 1), 0, -1) if is_hadamard_order(k))
    above = next(k for k in range(order + 1, 2 * order + 3) if is_hadamard_order(k))
    return below, above


def hadamard_multiply(x: NDArray[np.float64], *, transpose: bool = False) -> NDArray[np.float64]:
    """``x H / √n`` for the Hadamard matrix ``H = Sylvester(2^k) ⊗ core`` along the last axis; ``x Hᵀ / √n`` if `transpose`.

    The map is orthogonal for every order; nothing is padded or cut.

    Parameters
    ----------
    x : (..., n) float64

    Raises
    ------
    UnsupportedOrder
        Where n cannot be built; names the nearest orders and the alternative.

    Examples
    --------
    >>> hadamard_multiply(np.array([[1.0, 0.0, 0.0, 0.0]])).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    n = x.shape[-1]
    c = _core_order(n) if n else None
    if c is None:
        below, above = nearest_hadamard_orders(n)
        raise UnsupportedOrder(
            f"no Hadamard matrix of order {n} is known to rdtools; the nearest orders are {below} and {above}; "
            "use a Haar rotation instead (+haar, or +rotation to have it chosen where needed)"
        )
    core = _core(c)
    y = x.reshape(-1, n // c, c) @ (core.T if transpose else core)
    half = 1
    while half < n // c:
        y = y.reshape(-1, n // c // (2 * half), 2, half, c)
        y = np.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], axis=2)
        half *= 2
    return np.asarray(y.reshape(x.shape) / np.sqrt(n))
