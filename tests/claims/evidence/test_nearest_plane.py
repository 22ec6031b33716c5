from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import moment_case
from rdtools.claims.evidence.nearest_plane import closest_points, gather_nearest_plane, nearest_plane, reduced_basis, textbook_gptq
from rdtools.ops import sic_sweep
from rdtools.records import Hessian
from rdtools.testing import generators, second_moments
from rdtools.theory.ldlq import nearest_plane_ratio_bound

GOLDEN = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])
GOLDEN_ROW = np.array([[0.4, 1.3, -0.6]])


def _exhaustive(factor, targets, reach):
    """Squared distance to the nearest z L over the box |z_i| ≤ reach, one row at a time."""
    box = np.array(list(itertools.product(range(-reach, reach + 1), repeat=len(factor)))) @ factor
    return np.array([((y - box) ** 2).sum(axis=1).min() for y in targets])


def test_golden_three_by_three():
    """H = [[4,2,1],[2,3,1],[1,1,2]], w = (0.4, 1.3, −0.6), first column first: 1/T_kk² = (2.6, 2.5, 2), integers (0, 2, −1)."""
    integers, variances = textbook_gptq(GOLDEN_ROW, GOLDEN, np.ones(3))
    np.testing.assert_allclose(variances, [2.6, 2.5, 2.0], rtol=rounding(60))
    assert integers.tolist() == [[0, 2, -1]]
    error = GOLDEN_ROW - integers
    loss = float((error @ GOLDEN @ error.T)[0, 0])
    assert loss == pytest.approx(1.07, rel=rounding(60))
    # the closest point, and so the sweep on reversed columns, which is the same order
    factor = np.linalg.cholesky(GOLDEN[::-1, ::-1])
    assert closest_points(factor, GOLDEN_ROW[:, ::-1] @ factor)[0] == pytest.approx(1.07, rel=rounding(60))
    swept, residual = sic_sweep(GOLDEN_ROW[:, ::-1].copy(), factor, np.ones(3))
    assert swept[0, ::-1].tolist() == [0, 2, -1]
    assert float((residual**2).sum()) == pytest.approx(1.07, rel=rounding(60))
    rounded = GOLDEN_ROW - np.rint(GOLDEN_ROW)
    assert float((rounded @ GOLDEN @ rounded.T)[0, 0]) == pytest.approx(2.27, rel=rounding(60))


@given(second_moments(max_size=12, max_condition=1e4), generators())
def test_textbook_gptq_nearest_plane_and_the_sweep_agree(H, generator):
    """Three factorizations (of H⁻¹, of any root of H, of H), one set of integers, but for what is within rounding of a tie."""
    n = len(H)
    steps = np.exp(0.3 * generator.standard_normal(n))
    W = 4 * generator.standard_normal((6, n))
    L = np.linalg.cholesky(H)
    integers, residual = sic_sweep(W, L, steps)
    textbook, variances = textbook_gptq(W[:, ::-1], H[::-1, ::-1], steps[::-1])
    values, vectors = np.linalg.eigh(H)
    root = (vectors * np.sqrt(values)).T
    planes = nearest_plane(root * steps, W @ root.T)
    budget = rounding(n**2 + 20, condition=1e4)
    np.testing.assert_allclose(variances[::-1], np.diagonal(L) ** 2, rtol=budget)
    tie = np.abs(0.5 - np.abs(residual / (np.diagonal(L) * steps)))
    sure = tie.min(axis=1) > 40 * budget  # numbers of about 40 steps are compared
    assert (integers[sure] == textbook[sure][:, ::-1]).all()
    assert (integers[sure] == planes[sure]).all()


def test_inputs_are_left_alone(rng):
    H = np.eye(3) + 0.5
    W, before = rng.standard_normal((2, 3)), H.copy()
    kept = W.copy()
    textbook_gptq(W, H, np.ones(3))
    nearest_plane(H, W)
    closest_points(np.linalg.cholesky(H), W)
    reduced_basis(H)
    assert (kept == W).all()
    assert (before == H).all()


def test_one_column_and_axes(rng):
    """With orthogonal columns all of them are rounding to nearest."""
    W = 3 * rng.standard_normal((20, 1))
    assert (textbook_gptq(W, np.array([[4.0]]), np.array([0.5]))[0] == np.rint(W / 0.5)).all()
    assert (nearest_plane(np.array([[2.0]]), 2 * W) == np.rint(W)).all()
    np.testing.assert_allclose(closest_points(np.array([[2.0]]), 2 * W), 4 * ((W - np.rint(W)) ** 2)[:, 0], atol=rounding(20) * 36)
    W = 3 * rng.standard_normal((20, 4))
    d = np.array([3.0, 0.5, 1.0, 2.0])
    expected = (((W - np.rint(W)) * d) ** 2).sum(axis=1)
    np.testing.assert_allclose(closest_points(np.diag(d), W * d), expected, rtol=rounding(100), atol=rounding(100) * 100)
    assert (textbook_gptq(W, np.diag(d**2), np.ones(4))[0] == np.rint(W)).all()


@given(st.integers(1, 3), generators())
def test_closest_points_against_every_point_of_a_box(k, generator):
    """Targets within half a step of integers up to 2; the entries of a random factor keep the closest point within 9 of the origin."""
    factor = np.tril(0.5 * generator.standard_normal((k, k)), -1) + np.diag(0.7 + generator.random(k))
    y = (generator.uniform(-2.5, 2.5, (4, k))) @ factor
    inside = closest_points(factor, y)
    reach = int(np.ceil(2.5 + np.linalg.norm(np.linalg.inv(factor), 2) * np.sqrt(inside.max()) + 0.5))
    brute = _exhaustive(factor, y, min(reach, 12))
    np.testing.assert_allclose(inside, brute, rtol=rounding(100), atol=rounding(100) * float((y**2).sum(axis=1).max()))


def test_closest_points_in_four_dimensions(rng):
    factor = np.tril(rng.standard_normal((4, 4)), -1) + np.diag([0.8, 1.0, 1.2, 0.9])
    y = rng.uniform(-0.5, 0.5, (30, 4)) @ factor
    np.testing.assert_allclose(closest_points(factor, y), _exhaustive(factor, y, 8), rtol=1e3 * rounding(10))


@given(second_moments(min_size=2, max_size=4, max_condition=1e4), generators())
def test_nearest_plane_is_within_its_bound_of_the_closest_point(H, generator):
    """dist(closest) ≤ dist(nearest plane) ≤ min(γ dist(closest), ½ ‖d‖), and nearest plane is closest on axes."""
    L = np.linalg.cholesky(H)
    W = 3 * generator.standard_normal((8, len(H)))
    _, residual = sic_sweep(W, L, np.ones(len(H)))
    reached = (residual**2).sum(axis=1)
    closest = closest_points(L, W @ L)
    slack = rounding(200, condition=1e4) * ((W @ L) ** 2).sum(axis=1)
    assert (closest <= reached + slack).all()
    assert (reached <= nearest_plane_ratio_bound(np.diagonal(L)) ** 2 * (closest + slack)).all()
    assert (reached <= 0.25 * (np.diagonal(L) ** 2).sum() * (1 + rounding(50)) + slack).all()


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
def test_closest_points_of_columns_of_very_unequal_lengths(ratio, rng):
    """A first column far longer than the others, once axis-parallel and once not: the time does not grow with the ratio."""
    d = np.array([ratio, 1.0, 1.0, 1.0])
    W = rng.standard_normal((4, 4))
    slack = 64 * rounding(40) * ratio**2
    expected = (((W - np.rint(W)) * d) ** 2).sum(axis=1)
    np.testing.assert_allclose(closest_points(np.diag(d), W * d), expected, rtol=0, atol=slack)
    factor = np.diag(d) + np.tril(rng.standard_normal((4, 4)) * ratio**0.5, -1)
    _, residual = sic_sweep(W, factor, np.ones(4))
    closest = closest_points(factor, W @ factor)
    assert (closest <= (residual**2).sum(axis=1) + slack).all()
    assert (closest >= 0).all()


@given(st.integers(1, 5), generators())
def test_a_reduced_basis_is_a_basis_and_falls_slowly(k, generator):
    """B' = T B with T of integers and determinant ±1; |d_{i+1}| ≥ |d_i|/√2; nothing more to subtract."""
    B = np.tril(generator.standard_normal((k, k)), -1) + np.diag(np.exp(2 * generator.standard_normal(k)))
    reduced = reduced_basis(B)
    T = reduced @ np.linalg.inv(B)
    condition = np.linalg.cond(B)
    budget = rounding(50 * k, condition=condition) * max(1.0, np.abs(T).max())
    np.testing.assert_allclose(T, np.rint(T), rtol=0, atol=budget)
    assert abs(round(np.linalg.det(np.rint(T)))) == 1
    d = np.abs(np.diagonal(np.linalg.qr(reduced.T, mode="r")))
    assert (d[1:] >= d[:-1] * np.sqrt(0.5) * (1 - budget)).all()


def test_targets_on_the_lattice_are_at_no_distance(rng):
    """The ball is then of rounding's size, and may hold no integer."""
    for _ in range(50):
        factor = np.tril(rng.standard_normal((4, 4)), -1) + np.diag(1 + rng.random(4))
        z = rng.integers(-9, 10, (4, 4)).astype(np.float64)
        z[0] = 0
        distances = closest_points(factor, z @ factor)
        condition = np.linalg.cond(factor)
        assert (distances <= rounding(40, condition=condition) ** 2 * ((np.abs(z) @ np.abs(factor)) ** 2).sum(axis=1)).all()
        assert distances[0] == 0


@given(second_moments(min_size=1, max_size=8, max_condition=1e4), generators())
@example(np.eye(4), np.random.default_rng(0))
def test_evidence_of_any_moment_even_with_rows_of_zeros(H, generator):
    W = generator.standard_normal((20, len(H)))
    W[generator.integers(20)] = 0
    evidence = gather_nearest_plane(moment_case(Hessian(H, 0, name="drawn"), seed=1), W)
    assert evidence.textbook_mismatches == evidence.plane_mismatches == evidence.repeated_mismatches == 0
    assert 1 - rounding(50, condition=1e4) <= evidence.closest_ratio
    assert evidence.closest_ratio <= nearest_plane_ratio_bound(evidence.closest_lengths)
    assert evidence.box_excess <= 1 + rounding(100, condition=1e4)
    assert evidence.worst_row <= 0.25 * (evidence.lengths**2).sum() * (1 + rounding(100, condition=1e4))


def test_no_evidence_where_there_is_none():
    W = np.ones((2, 2))
    with pytest.raises(NotApplicable, match="H is singular"):
        gather_nearest_plane(moment_case(Hessian(np.ones((2, 2)), 0, name="singular"), seed=0), W)
    with pytest.raises(NotApplicable, match="the weights are all zero"):
        gather_nearest_plane(moment_case(Hessian(np.eye(2), 0, name="white"), seed=0), 0 * W)
