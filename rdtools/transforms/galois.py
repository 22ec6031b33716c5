"""Finite fields of p^k elements, as far as Paley's construction needs them.

The element of number a is the polynomial whose coefficients, constant term first, are the digits of a to the base p.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Int64Array


def prime_power(q: int) -> tuple[int, int] | None:
    """(p, k) with q = p^k and p prime, or None.

    Examples
    --------
    >>> [prime_power(q) for q in (1, 7, 8, 12, 343)]
    [None, (7, 1), (2, 3), None, (7, 3)]
    """
    if q < 2:
        return None
    p = next((d for d in range(2, int(q**0.5) + 1) if q % d == 0), q)
    k = 0
    while q % p == 0:
        q //= p
        k += 1
    return (p, k) if q == 1 else None


def _remainder(dividend: list[int], divisor: tuple[int, ...], p: int) -> list[int]:
    """Remainder by a monic polynomial, coefficients from the highest power down."""
    rest = list(dividend)
    for i in range(len(rest) - len(divisor) + 1):
        factor = rest[i]
        for j, d in enumerate(divisor):
            rest[i + j] = (rest[i + j] - factor * d) % p
    return rest[len(rest) - len(divisor) + 1 :]


def irreducible_polynomial(p: int, k: int) -> tuple[int, ...]:
    """The first monic irreducible polynomial of degree k over GF(p) in lexicographic order, coefficients from the highest power down.

    Stored rotations are built from it: choosing another is a breaking change.

    Examples
    --------
    >>> irreducible_polynomial(3, 3)  # x³ + 2x + 1
    (1, 0, 2, 1)
    """
    divisors = [(1, *tail) for degree in range(1, k // 2 + 1) for tail in product(range(p), repeat=degree)]
    return next((1, *tail) for tail in product(range(p), repeat=k) if all(any(_remainder([1, *tail], divisor, p)) for divisor in divisors))


def _digits(p: int, k: int) -> Int64Array:
    """Coefficients of every element, constant term first, shape (p^k, k)."""
    return np.arange(p**k)[:, None] // p ** np.arange(k) % p


def multiply(a: Int64Array, b: Int64Array, p: int, k: int) -> Int64Array:
    """Products of field elements, element by element."""
    x, y = _digits(p, k)[a], _digits(p, k)[b]
    z = np.zeros((*x.shape[:-1], 2 * k - 1), dtype=np.int64)
    for i in range(k):
        z[..., i : i + k] += x[..., i : i + 1] * y
    modulus = np.array(irreducible_polynomial(p, k)[::-1])
    for i in range(2 * k - 2, k - 1, -1):
        z[..., i - k : i + 1] -= z[..., i : i + 1] % p * modulus
    return np.asarray((z[..., :k] % p) @ p ** np.arange(k))


def quadratic_character(p: int, k: int) -> NDArray[np.int8]:
    """χ of every element for odd p: 0 of zero, 1 of squares, −1 of the others; shape (p^k,)."""
    character = np.full(p**k, -1, dtype=np.int8)
    elements = np.arange(p**k)
    character[multiply(elements, elements, p, k)] = 1
    character[0] = 0
    return character


def jacobsthal_matrix(p: int, k: int) -> NDArray[np.int8]:
    """``Q_ij = χ(a_i − a_j)`` over all elements of the field, shape (q, q): Q Qᵀ = q I − J, zero row sums, (−1)^((q−1)/2)-symmetric."""
    character, digits, powers = quadratic_character(p, k), _digits(p, k), p ** np.arange(k)
    return np.stack([character[(a - digits) % p @ powers] for a in digits])
