from __future__ import annotations

import itertools

import galois
import numpy as np
import pytest

from rdtools.transforms.galois import irreducible_polynomial, jacobsthal_matrix, multiply, prime_power, quadratic_character

FIELDS = [(3, 1), (7, 1), (3, 2), (5, 2), (7, 2), (3, 3), (7, 3), (3, 5)]


def _field(p, k):
    """The same field by the package, in plain Python: its compiled functions take longer to compile than all that is asked of them."""
    prime = galois.GF(p, compile="python-calculate")
    polynomial = galois.Poly(irreducible_polynomial(p, k), field=prime)
    return prime if k == 1 else galois.GF(p**k, irreducible_poly=polynomial, compile="python-calculate")


def test_prime_powers_are_those_of_trial_division():
    for q in range(2000):
        expected = None
        if q >= 2:
            primes, powers = galois.factors(q)
            expected = (primes[0], powers[0]) if len(primes) == 1 else None
        assert prime_power(q) == expected


@pytest.mark.parametrize(("p", "k"), FIELDS)
def test_polynomial_is_the_first_irreducible_one(p, k):
    """In the order of its coefficients, among the monic ones that no product of two smaller ones gives."""
    monic = [[(1, *rest) for rest in itertools.product(range(p), repeat=degree)] for degree in range(k + 1)]
    reducible = {tuple(np.convolve(a, b) % p) for degree in range(1, k // 2 + 1) for a in monic[degree] for b in monic[k - degree]}
    assert irreducible_polynomial(p, k) == next(polynomial for polynomial in monic[k] if polynomial not in reducible)


@pytest.mark.parametrize(("p", "k"), FIELDS)
def test_products_are_those_of_galois(p, k, rng):
    field = _field(p, k)
    a, b = rng.integers(0, p**k, (2, 500))
    assert (multiply(a, b, p, k) == np.asarray(field(a) * field(b))).all()


@pytest.mark.parametrize(("p", "k"), FIELDS)
def test_character_and_differences_are_those_of_galois(p, k):
    field = _field(p, k)
    elements = field.elements
    expected = np.where(elements.is_square(), 1, -1)
    expected[0] = 0
    assert (quadratic_character(p, k) == expected).all()
    assert (jacobsthal_matrix(p, k) == expected[np.asarray(elements[:, None] - elements)]).all()


@pytest.mark.parametrize(("p", "k"), FIELDS)
def test_jacobsthal_matrix_has_the_properties_that_paley_uses(p, k):
    """Q Qᵀ = q I − J, Q J = 0 and Qᵀ = (−1)^((q−1)/2) Q."""
    q = p**k
    Q = jacobsthal_matrix(p, k).astype(int)
    assert (q * np.eye(q) - 1 == Q @ Q.T).all()
    assert (Q.sum(axis=1) == 0).all()
    assert ((-1) ** ((q - 1) // 2) * Q == Q.T).all()
