from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.coding import decode, encode, reconstruct
from rdtools.measure import measure
from rdtools.measure.point import same_weight
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.records import Basis, QuantizedWeight, Rotation, ScalarSymbols, SharedHistogram, UniformGrid
from rdtools.testing import generators
from rdtools.transforms import new_rotation, rotate, rotate_back, rotate_moment
from rdtools.transforms.kronecker import kronecker_factors, kronecker_multiply, kronecker_orders

ORDERS = [1, 2, 7, 12, 13, 36, 64]


@given(st.integers(1, 100_000))
@example(4096)
@example(11008)
@example(65537)
def test_orders_are_the_pair_nearest_to_each_other(n):
    """p q = n, p ≤ q, and no divisor of n lies strictly between p and q."""
    p, q = kronecker_orders(n)
    assert p * q == n
    assert 1 <= p <= q
    assert not any(n % d == 0 for d in range(p + 1, min(q, math.isqrt(n) + 1)))


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 1)), (2, (1, 2)), (7, (1, 7)), (36, (6, 6)), (1024, (32, 32)), (11008, (86, 128))])
def test_orders_by_hand(n, expected):
    assert kronecker_orders(n) == expected


@given(st.sampled_from(ORDERS), st.lists(st.integers(0, 3), max_size=2), generators())
def test_multiplication_is_numpys_kronecker_product(n, leading, generator):
    seed = int(generator.integers(2**63))
    K = np.kron(*kronecker_factors(n, seed))
    x = generator.standard_normal((*leading, n))
    before = x.copy()
    for transpose in (False, True):
        y = kronecker_multiply(x, seed, transpose=transpose)
        assert y.shape == x.shape
        expected = x @ (K.T if transpose else K)
        size = np.linalg.norm(x, axis=-1, keepdims=True)
        assert (np.abs(y - expected) <= rounding(4 * n) * size).all()
    assert (before == x).all()


def test_multiplication_of_views(rng):
    """Memory that is not in order: every other row, and a transpose."""
    K = np.kron(*kronecker_factors(12, 3))
    x = rng.standard_normal((12, 10))
    for view in (x.T, x.T[::2], x.T[::-1]):
        np.testing.assert_allclose(kronecker_multiply(view, 3), view @ K, rtol=0, atol=rounding(12) * 100)


@pytest.mark.parametrize("n", ORDERS)
def test_rotation_is_orthogonal_and_is_the_product_of_its_factors(n):
    rotation = Rotation("kronecker", n, 17)
    Q = rotate(np.eye(n), rotation)
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), rtol=0, atol=rounding(8 * n))
    A, B = kronecker_factors(n, 17)
    assert (len(A), len(B)) == kronecker_orders(n)
    np.testing.assert_allclose(Q, np.kron(A, B), rtol=0, atol=rounding(n))
    np.testing.assert_allclose(rotate_back(np.eye(n), rotation), Q.T, rtol=0, atol=rounding(n))


@given(st.sampled_from(ORDERS), st.integers(0, 2**64 - 1))
def test_rotation_and_back(n, seed):
    generator = np.random.default_rng(seed)
    rotation = new_rotation("kronecker", n, seed)
    assert (rotation.kind, rotation.order) == ("kronecker", n)
    assert rotation == Rotation("kronecker", n, seed)
    x = generator.standard_normal((4, n))
    y = rotate(x, rotation)
    np.testing.assert_allclose(rotate_back(y, rotation), x, rtol=0, atol=rounding(4 * n) * 10)
    np.testing.assert_allclose((y**2).sum(axis=1), (x**2).sum(axis=1), rtol=rounding(8 * n))
    H = x.T @ x
    turned = rotate_moment(H, rotation)
    assert (turned == turned.T).all()
    np.testing.assert_allclose(turned, y.T @ y, rtol=0, atol=rounding(8 * n) * np.abs(H).max() * n)
    np.testing.assert_allclose(np.linalg.eigvalsh(turned), np.linalg.eigvalsh(H), rtol=0, atol=rounding(8 * n) * np.trace(H))


def test_a_seed_rebuilds_and_another_does_not():
    x = np.eye(12)
    assert (rotate(x, Rotation("kronecker", 12, 5)) == rotate(x, Rotation("kronecker", 12, 5))).all()
    assert np.abs(rotate(x, Rotation("kronecker", 12, 5)) - rotate(x, Rotation("kronecker", 12, 6))).max() > 0.1
    assert np.abs(rotate(x, Rotation("kronecker", 12, 5)) - rotate(x, Rotation("haar", 12, 5))).max() > 0.1


def test_factors_of_equal_order_are_independent():
    """E A_11 B_11 = 0 and E (A_11 B_11)² = 1/pq, over seeds."""
    products = np.array([rotate(np.eye(9)[:1], Rotation("kronecker", 9, seed))[0, 0] for seed in range(1500)])
    assert abs(products.mean()) <= STANDARD_ERRORS / 3 / len(products) ** 0.5 / 3
    squares = products**2
    assert squares.mean() == pytest.approx(1 / 9, abs=STANDARD_ERRORS * squares.std() / len(squares) ** 0.5)


def test_prime_orders_are_one_haar_matrix():
    A, B = kronecker_factors(13, 0)
    assert np.abs(A) == pytest.approx(1.0)
    assert B.shape == (13, 13)


@pytest.mark.parametrize("order", [3, 12])
def test_container_keeps_the_rotation(order, rng):
    active = np.ones(order + 1, dtype=bool)
    active[1] = False
    codes = ScalarSymbols(rng.integers(-4, 5, (5, order)).astype(np.int32), UniformGrid(0.5), SharedHistogram())
    weight = QuantizedWeight(Basis(5, active, Rotation("kronecker", order, 2**64 - 123456789)), codes)
    container = encode(weight)
    decoded = decode(container.data)
    assert same_weight(decoded, weight)
    assert decoded.basis.rotation == Rotation("kronecker", order, 2**64 - 123456789)
    rebuilt = reconstruct(decoded)
    assert (rebuilt == reconstruct(weight)).all()
    A, B = kronecker_factors(order, 2**64 - 123456789)
    np.testing.assert_allclose(rebuilt[:, active], 0.5 * weight.symbols.integers @ np.kron(A, B).T, rtol=0, atol=rounding(4 * order) * 8)
    assert (rebuilt[:, 1] == 0).all()


@pytest.mark.parametrize("method", ["gptq", "hptq", "hptq-column"])
def test_gptq_under_a_kronecker_rotation(method, rng):
    """Runs, is what is decoded, and is a rotation like the others: its distortion is near that of a Haar one."""
    layer = Layer.of(rng.standard_normal((96, 24)), haar_moment(power_law(24, 1.0), rng), name="gaussian")
    quantizer, other = (parse_method(f"{method}+{rotation}", 3.0) for rotation in ("kronecker", "haar"))
    q = quantizer.quantize(layer)
    assert q.weight.basis.rotation is not None
    assert q.weight.basis.rotation.kind == "kronecker"
    assert (reconstruct(decode(encode(q.weight).data)) == reconstruct(q.weight)).all()
    haar = other.quantize(layer)
    assert 0.7 < measure(layer, q).distortion / measure(layer, haar).distortion < 1.4


def test_axes_of_any_spectrum_become_less_coherent(rng):
    """√n max|Q_ij| is the product of the factors' largest entries times √n, so at least 1 and below √n."""
    for n in (36, 64):
        Q = rotate(np.eye(n), Rotation("kronecker", n, int(rng.integers(2**63))))
        assert 1 <= math.sqrt(n) * np.abs(Q).max() < math.sqrt(n)
