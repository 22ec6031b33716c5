from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import moment_case
from rdtools.claims.evidence.lattices import gather_lattices, nearest_d, nearest_e8
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.records import Hessian
from rdtools.testing import generators
from rdtools.theory.lattice import NORMALIZED_SECOND_MOMENTS
from rdtools.theory.ldlq import block_trace

#: All points of D4 within ±2 of the origin: the cell's radius is 1, so the nearest point to a target in [−1, 1]^4 is one of them.
_D4 = np.array([z for z in itertools.product(range(-2, 3), repeat=4) if sum(z) % 2 == 0], dtype=np.float64)
#: All points of E8 that can be nearest to a target in [0, 1]^8: within the covering radius 1 of it, so coordinates in −1 … 2.
_HALVES = np.array([z for z in itertools.product((-0.5, 0.5, 1.5), repeat=8) if (sum(z)) % 2 == 0])
_WHOLE = np.array([z for z in itertools.product((-1.0, 0.0, 1.0, 2.0), repeat=8) if sum(z) % 2 == 0])


def _squared(x, y):
    return ((x - y) ** 2).sum(axis=-1)


def _brute(candidates, x):
    return np.array([_squared(row, candidates).min() for row in x])


def test_nearest_of_d4_against_every_point_of_a_box(rng):
    x = rng.uniform(-1, 1, (400, 4))
    found = nearest_d(x)
    assert (found == np.rint(found)).all()
    assert (found.sum(axis=1) % 2 == 0).all()
    np.testing.assert_allclose(_squared(x, found), _brute(_D4, x), rtol=rounding(20))


def test_nearest_of_e8_against_every_point_of_a_box(rng):
    """Over integer and half-integer vectors of even sum; 1 is E8's covering radius, so no other can be nearest."""
    x = rng.uniform(0, 1, (100, 8))
    found = nearest_e8(x)
    brute = np.minimum(_brute(_WHOLE, x), _brute(_HALVES, x))
    np.testing.assert_allclose(_squared(x, found), brute, rtol=rounding(30))
    assert brute.max() <= 1


@given(st.sampled_from([1, 2, 3, 4, 8]), generators())
def test_d_is_of_even_sum_periodic_and_no_further_than_its_covering_radius(n, generator):
    """A lattice point away is a lattice point away; the deep hole is at distance max(1, √n/2)."""
    x = 5 * generator.standard_normal((20, n))
    found = nearest_d(x)
    assert (found == np.rint(found)).all()
    assert (found.sum(axis=1) % 2 == 0).all()
    assert (_squared(x, found) <= max(1.0, n / 4) * (1 + rounding(20))).all()
    assert (_squared(x, found) >= _squared(x, np.rint(x))).all()
    shift = 2.0 * generator.integers(-5, 6, n)
    np.testing.assert_allclose(nearest_d(x + shift) - shift, found, rtol=0, atol=0)
    assert (nearest_d(found) == found).all()


@given(generators())
def test_e8_is_a_group_of_even_norms_and_its_own_nearest(generator):
    """Every found point has coordinates all whole or all half, an even sum, an even squared norm; sums and differences are found again."""
    x = 3 * generator.standard_normal((30, 8))
    found = nearest_e8(x)
    doubled = 2 * found
    assert (doubled == np.rint(doubled)).all()
    assert (doubled % 2 == doubled[:, :1] % 2).all()
    assert (found.sum(axis=1) % 2 == 0).all()
    assert ((found**2).sum(axis=1) % 2 == 0).all()
    assert (_squared(x, found) <= 1 + rounding(30)).all()
    for point in (found, found[:1] + found, found - found[::-1]):
        assert (nearest_e8(point) == point).all()


def test_ties_are_broken_to_a_point_that_is_as_near():
    """The deep holes of D4 (½,½,½,½) and (1,0,0,0), and of E8 (1,0,…,0), at distance 1."""
    for hole in ([0.5] * 4, [1.0, 0, 0, 0]):
        x = np.array([hole])
        assert _squared(x, nearest_d(x))[0] == 1
    x = np.eye(8)[:1]
    assert _squared(x, nearest_e8(x))[0] == 1
    assert nearest_d(np.zeros((0, 4))).shape == (0, 4)
    assert nearest_e8(np.zeros((0, 8))).shape == (0, 8)


@pytest.mark.parametrize(("nearest", "n", "printed"), [(nearest_d, 4, 13 / 120), (nearest_e8, 8, 929 / 12960), (np.rint, 1, 1 / 12)])
def test_second_moments(nearest, n, printed, rng):
    """Per dimension 13/120 (D4, cell volume 2) and 929/12960 (E8, volume 1); and the error's covariance is a multiple of 1."""
    x = 8 * rng.random((60_000, n))
    error = x - nearest(x)
    squares = (error**2).mean(axis=1)
    assert squares.mean() == pytest.approx(printed, abs=STANDARD_ERRORS * squares.std() / len(x) ** 0.5)
    covariance = error.T @ error / len(x)
    # entries of x xᵀ deviate by at most the fourth moment, below ¼ where every coordinate is below 1
    assert np.abs(covariance - printed * np.eye(n)).max() <= (STANDARD_ERRORS + 1) * (error**4).mean() ** 0.5 / len(x) ** 0.5
    volume = {1: 1.0, 4: 2.0, 8: 1.0}[n]
    name = {1: "Z", 4: "D4", 8: "E8"}[n]
    assert NORMALIZED_SECOND_MOMENTS[name] * volume ** (2 / n) == pytest.approx(printed, rel=rounding(4))


def test_block_rounding_loses_the_block_trace_times_the_second_moment(rng):
    """E loss = σ² Σ_k ‖L_kk‖²_F, an identity for every row in the errors of the rounding (QuIP#, Theorem 4.1 made sharp)."""
    case = moment_case(Hessian(haar_moment(power_law(16, 1.0), rng), 0, name="power law"), seed=3)
    evidence = gather_lattices(case)
    assert set(evidence.points) == {"D4", "E8"}
    for point in evidence.points.values():
        expected = point.error_variance * block_trace(case.factor, point.block)
        assert point.loss.value == pytest.approx(expected, abs=STANDARD_ERRORS * point.loss.stderr)
        assert point.identity_error <= rounding(16**2, condition=16)


def test_lattices_whose_dimension_does_not_divide_are_left_out():
    case = moment_case(Hessian(np.diag([4.0, 2, 1, 3, 5, 1]), 0, name="six"), seed=0)
    evidence = gather_lattices(case)
    assert evidence.points == {}
    with pytest.raises(NotApplicable, match="H is singular"):
        gather_lattices(moment_case(Hessian(np.ones((4, 4)), 0, name="singular"), seed=0))
