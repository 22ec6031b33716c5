from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools import ops
from rdtools.errors import NotConverged, NotPositiveSemidefinite, UsageError
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import ar1_moment, channel_scaled, clamped_feedback_counterexample, haar_moment, power_law
from rdtools.quantizers.rounding.clamp_safe import clamp_safe_feedback
from rdtools.testing import second_moments

TOLERANCE = 1e-6


def _columns(found):
    """(Rᵀ R)_jj."""
    return (found.error_map**2).sum(axis=0)


def _ldlq(H):
    """R of LDLQ and tr D."""
    L = cholesky(H).lower
    return np.linalg.solve(L, np.eye(len(L))) * np.diagonal(L)[:, None], (np.diagonal(L) ** 2).sum()


@given(second_moments(max_condition=1e4), st.floats(0.01, 5))
def test_what_it_finds_is_allowed_and_certified(H, slack):
    """Unit triangular, columns within 1 + c, its objective that of its R, at most the tolerance above a bound that is below tr H."""
    found = clamp_safe_feedback(H, slack)
    R, n = found.error_map, len(H)
    assert (np.diagonal(R) == 1).all() or found.iterations == 0
    np.testing.assert_allclose(np.diagonal(R), 1, rtol=rounding(n))
    assert (np.triu(R, 1) == 0).all()
    budget = rounding(20 * n, condition=1e4)
    assert (_columns(found) <= (1 + slack) * (1 + budget)).all()
    assert found.objective == pytest.approx(np.trace(R @ H @ R.T), rel=budget)
    assert found.lower_bound <= found.objective * (1 + budget)
    assert found.objective - found.lower_bound <= TOLERANCE * found.objective
    assert _ldlq(H)[1] * (1 - TOLERANCE - budget) <= found.objective <= np.trace(H) * (1 + TOLERANCE)
    np.testing.assert_allclose(R @ found.factor, np.eye(n), rtol=0, atol=rounding(20 * n, condition=1e4))


@pytest.mark.parametrize("slack", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("family", ["haar", "ar1", "scaled"])
def test_a_convex_solver_finds_the_same(family, slack):
    """The program by an interior-point solver, whose accuracy is 1e-7 or so; the columns' energies span eight decades in one family."""
    cvxpy = pytest.importorskip("cvxpy")
    n, rng = 7, np.random.default_rng(0)
    H = {
        "haar": haar_moment(np.geomspace(1, 1e-4, n), rng),
        "ar1": ar1_moment(n, 0.95),
        "scaled": channel_scaled(ar1_moment(n, 0.9), 10.0 ** rng.uniform(-1.5, 1.5, n)),
    }[family]
    found = clamp_safe_feedback(H, slack, tolerance=1e-9)
    rows, columns = np.tril_indices(n, -1)
    x = cvxpy.Variable(len(rows))
    place = np.zeros((n * n, len(rows)))
    place[rows * n + columns, np.arange(len(rows))] = 1
    R = cvxpy.reshape(place @ x, (n, n), order="C") + np.eye(n)
    allowed = [cvxpy.norm(x[columns == j]) <= math.sqrt(slack) for j in range(n - 1)]
    scale = math.sqrt(np.trace(H))
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(R @ (cholesky(H).lower / scale))), allowed)
    program.solve(solver=cvxpy.CLARABEL)
    assert (found.iterations > 0) == ((family, slack) != ("ar1", 2.0))  # where LDLQ's columns have norm² up to 1 + .95²
    assert found.objective / scale**2 == pytest.approx(program.value, rel=1e-6)


def test_it_is_ldlq_with_a_damping_for_each_column():
    """Stationarity: ``(R H)_kj + μ_j R_kj = 0`` below the diagonal with one μ_j ≥ 0 a column, which is 0 where c is not used up.

    So R is LDLQ's for H + diag(μ), with the μ recovered here from the gradient.
    """
    slack = 0.5
    H = haar_moment(np.exp(-4 * np.arange(40) / 40), np.random.default_rng(0))
    found = clamp_safe_feedback(H, slack, tolerance=1e-13)
    R = found.error_map
    G, below = np.tril(R @ H, -1), np.tril(R, -1)
    mu = -(G * below).sum(axis=0) / np.maximum((below**2).sum(axis=0), 1e-300)
    # an objective within 1e-13 of its least has an R within about √1e-13 of the best
    scale = math.sqrt(1e-13) * np.trace(H)
    assert np.abs(G + below * mu).max() <= scale
    assert mu.min() >= -scale
    binds = (below**2).sum(axis=0) > slack * (1 - 1e-6)
    assert binds.any()
    assert not binds.all()
    assert np.abs(mu[~binds]).max() <= scale
    np.testing.assert_allclose(_ldlq(H + np.diag(np.maximum(mu, 0)))[0], R, rtol=0, atol=100 * math.sqrt(1e-13))


@given(second_moments(min_size=2, max_condition=1e4))
def test_its_ends_are_plain_rounding_and_ldlq(H):
    """c = 0: R = I and tr H. As much as LDLQ takes: LDLQ and tr D, without an iteration."""
    nothing = clamp_safe_feedback(H, 0.0)
    free, least = _ldlq(H)
    budget = rounding(20 * len(H), condition=1e4)
    if np.abs(np.tril(free, -1)).max() > 0:
        assert (nothing.error_map == np.eye(len(H))).all()
        assert nothing.objective == nothing.lower_bound == pytest.approx(np.trace(H), rel=budget)
    all_of_it = clamp_safe_feedback(H, (free**2).sum(axis=0).max())
    assert all_of_it.iterations == 0
    assert all_of_it.objective == all_of_it.lower_bound == pytest.approx(least, rel=budget)
    np.testing.assert_allclose(all_of_it.error_map, free, rtol=0, atol=budget * np.abs(free).max())
    assert clamp_safe_feedback(H, math.inf).objective == all_of_it.objective


def test_more_slack_is_never_worse():
    """The least objective falls with c, convexly: a parameter on the right-hand side of a convex program."""
    H = haar_moment(np.exp(-8 * np.arange(60) / 60), np.random.default_rng(1))
    values = [clamp_safe_feedback(H, c).objective for c in np.arange(0, 8, 0.5)]
    slack = 4 * TOLERANCE * values[0]
    assert (np.diff(values) <= slack).all()
    assert (np.diff(values, 2) >= -slack).all()
    assert values[0] > 1.1 * values[2] > 1.1 * values[-1]


@given(second_moments(max_size=12, max_condition=1e3), st.floats(1e-3, 1e3))
def test_the_scale_of_the_moment_does_not_matter(H, scale):
    """The same iterations, to rounding: an R within √tolerance of the best, an objective within the tolerance."""
    one, other = clamp_safe_feedback(H, 0.3), clamp_safe_feedback(scale * H, 0.3)
    assert other.objective == pytest.approx(scale * one.objective, rel=2 * TOLERANCE)


def test_the_examples_at_128_columns():
    """Other draws of the published example: exponential decay with 1 % of damping, tr D 23.3 of tr H 80.8, and 25.1 at c = 1.

    Ratios to tr H vary by some percent from draw to draw. With eigenvalues 1/k LDLQ uses about all of c = 1, and has as good as nothing to
    lose.
    """
    ratios = []
    for seed in range(5):
        H = haar_moment(np.exp(-8 * np.arange(128) / 128), np.random.default_rng(seed))
        H = H + 0.01 * np.trace(H) / 128 * np.eye(128)
        ratios.append([_ldlq(H)[1] / np.trace(H), clamp_safe_feedback(H).objective / _ldlq(H)[1]])
    published = np.array([23.32 / 80.8, 25.14 / 23.32])
    assert (np.abs(np.mean(ratios, axis=0) - published) <= STANDARD_ERRORS * np.std(ratios, axis=0)).all()
    longest, lost = [], []
    for seed in range(5):
        H = haar_moment(power_law(128, 1.0), np.random.default_rng(seed))
        H = H + 0.01 * np.trace(H) / 128 * np.eye(128)
        longest.append((_ldlq(H)[0] ** 2).sum(axis=0).max())
        lost.append(clamp_safe_feedback(H).objective / _ldlq(H)[1] - 1)
    assert abs(np.mean(longest) - 2.0) <= STANDARD_ERRORS * np.std(longest) / math.sqrt(5)
    assert max(lost) <= 1e-4


def test_the_counterexample_needs_the_constraint_in_the_order_that_breaks_ldlq():
    """There LDLQ's longest column has norm² n − 1; with columns the other way round it has 1.64, and nothing binds."""
    H, _ = clamped_feedback_counterexample(128)
    H = H / np.diagonal(H).max()
    backward = np.ascontiguousarray(H[::-1, ::-1])
    free, least = _ldlq(backward)
    assert (round(least, 2), round((free**2).sum(axis=0).max(), 2)) == (64.53, 1.64)
    assert clamp_safe_feedback(backward).iterations == 0
    free, least = _ldlq(H)
    assert (free**2).sum(axis=0).max() == pytest.approx(127, rel=0.01)
    found = clamp_safe_feedback(H)
    assert found.iterations > 0
    assert least < 0.98 * found.objective < 0.56 * np.trace(H)


def test_errors_stay_within_the_margin_where_ldlqs_do_not():
    """The counterexample, n = 256, stochastic rounding: no error beyond t at δ = 1e-3; LDLQ's, of standard deviation 6, are beyond."""
    n, m = 256, 100
    H, w = clamped_feedback_counterexample(n)
    W = np.repeat(w, m, axis=0)
    found = clamp_safe_feedback(H)
    margin = math.sqrt(math.log(2 * m * n / 1e-3))  # Hoeffding, c = 1
    safe, _ = ops.sic_sweep(W, found.factor, np.ones(n), seed=1)
    eta = (W - safe) @ found.factor
    assert np.abs(eta).max() < 1
    assert np.abs(W - safe).max() < margin
    ldlq, _ = ops.sic_sweep(W, cholesky(H).lower, np.ones(n), seed=1)
    assert np.abs(W - ldlq).max() > 2 * margin
    # a grid with that much room is never left, so that clamping changes nothing
    reach = math.ceil(margin)
    clamped, _ = ops.sic_sweep(W, found.factor, np.ones(n), seed=1, integer_min=-reach, integer_max=1 + reach)
    assert (clamped == safe).all()


def test_a_row_loses_a_sixth_of_the_objective():
    """For weights uniform modulo the step s: ``E tr(E H Eᵀ)/m = s²/6 · tr(H Rᵀ R)``; errors of columns have variance up to s² (1 + c)/6."""
    n, m, step = 64, 3000, 0.5
    rng = np.random.default_rng(0)
    H = haar_moment(np.exp(-8 * np.arange(n) / n), rng)
    W = rng.uniform(0, 8, (m, n))
    found = clamp_safe_feedback(H)
    assert found.iterations > 0
    integers, _ = ops.sic_sweep(W, found.factor, np.full(n, step), seed=3)
    E = W - step * integers
    losses = ops.quadratic_form(E, H) / step**2
    assert abs(losses.mean() - found.objective / 6) <= STANDARD_ERRORS * losses.std() / math.sqrt(m)
    variances = (E**2).mean(axis=0) / step**2
    expected = _columns(found) / 6
    spread = (E**2).std(axis=0) / math.sqrt(m) / step**2
    assert (np.abs(variances - expected) <= (STANDARD_ERRORS + 1) * spread).all()  # the largest of 64 standard deviations


def test_the_factor_is_what_a_sweep_uses_of_ldlqs():
    """With slack enough the integers of LDLQ, though the factor has a unit diagonal: only ratios within its columns matter."""
    H = haar_moment(power_law(50, 1.0), np.random.default_rng(0))
    W = np.random.default_rng(1).standard_normal((30, 50))
    found = clamp_safe_feedback(H, 100.0)
    steps = np.full(50, 0.3)
    for seed in (None, 5):
        mine, ldlq = (ops.sic_sweep(W, L, steps, seed=seed)[0] for L in (found.factor, cholesky(H).lower))
        assert (mine == ldlq).all()


def test_it_says_when_it_has_not_converged():
    H = haar_moment(np.exp(-8 * np.arange(30) / 30), np.random.default_rng(0))
    with pytest.raises(NotConverged, match=r"lower bound .* after 3 iterations"):
        clamp_safe_feedback(H, 0.1, max_iterations=3)


def test_wrong_input_is_refused():
    with pytest.raises(UsageError, match=r"moment \(2, 3\)"):
        clamp_safe_feedback(np.ones((2, 3)))
    with pytest.raises(UsageError, match="slack -1"):
        clamp_safe_feedback(np.eye(2), -1.0)
    with pytest.raises(NotPositiveSemidefinite, match="clamp-safe"):
        clamp_safe_feedback(np.ones((3, 3)))
