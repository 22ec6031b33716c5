from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.claims.evidence.case import moment_case
from rdtools.claims.evidence.unit_rounding import gather_unit_rounding, round_with_feedback
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops import sic_sweep
from rdtools.records import Hessian
from rdtools.testing import generators, second_moments
from rdtools.theory.ldlq import ERROR_VARIANCE, average_proxy_loss, feedback_matrix, feedback_trace, worst_proxy_loss

KINDS = ["nearest", "stochastic"]


def _losses(error, H):
    return np.einsum("ij,ij->i", error @ H, error)


def test_golden_three_by_three(rng):
    """w = (0.4, 1.3, −0.6) from its first column on: given 0.4, 1.54, −0.75, integers (0, 2, −1), loss 1.07."""
    H = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])[::-1, ::-1]
    w = np.array([[0.4, 1.3, -0.6]])[:, ::-1]
    U = feedback_matrix(np.linalg.cholesky(H))
    np.testing.assert_allclose(U[::-1, ::-1], [[0, 0.6, 0.5], [0, 0, 0.5], [0, 0, 0]], atol=rounding(10))
    rounded, error = round_with_feedback(w, U, "nearest", rng)
    assert rounded[0, ::-1].tolist() == [0, 2, -1]
    np.testing.assert_allclose((rounded + error)[0, ::-1], [0.4, 1.54, -0.75], rtol=rounding(20))
    assert _losses(w - rounded, H)[0] == pytest.approx(1.07, rel=rounding(60))


@given(second_moments(max_size=12, max_condition=1e4), generators(), st.sampled_from(KINDS))
def test_loss_is_the_sum_of_the_squared_errors_times_d(H, generator, kind):
    """E H Eᵀ = Σ η_i² ℓ_ii² for every row, with LDLQ's feedback and any rounding; E (I+U) = η for any feedback."""
    L = np.linalg.cholesky(H)
    n = len(H)
    U = feedback_matrix(L)
    W = 3 * generator.standard_normal((5, n))
    rounded, error = round_with_feedback(W, U, kind, generator)
    np.testing.assert_allclose(
        _losses(W - rounded, H), error**2 @ np.diagonal(L) ** 2, rtol=rounding(n**2 + 20, condition=1e6), atol=rounding(100) * np.trace(H)
    )
    other = np.tril(generator.standard_normal((n, n)), -1)
    rounded, error = round_with_feedback(W, other, kind, generator)
    assert (rounded == np.rint(rounded)).all()
    assert np.abs(error).max() <= (0.5 if kind == "nearest" else 1.0)
    size = np.abs(W - rounded).max() * (1 + np.abs(other).sum(axis=0).max())
    np.testing.assert_allclose((W - rounded) @ (np.eye(n) + other), error, rtol=0, atol=rounding(4 * n) * (size + np.abs(W).max()))


@given(second_moments(max_size=12, max_condition=1e4), generators())
def test_nearest_is_the_sweep(H, generator):
    """Unit steps, LDLQ's feedback: the integers of successive interference cancellation, but at ties."""
    L = np.linalg.cholesky(H)
    W = 3 * generator.standard_normal((5, len(H)))
    rounded, error = round_with_feedback(W, feedback_matrix(L), "nearest", generator)
    integers, _ = sic_sweep(W, L, np.ones(len(H)))
    sure = (0.5 - np.abs(error)).min(axis=1) > rounding(40 * len(H), condition=1e2) * (1 + np.abs(rounded).max())
    assert (rounded[sure] == integers[sure]).all()


def test_without_feedback_it_is_rounding_and_on_the_grid_it_does_nothing(rng):
    W = 3 * rng.standard_normal((50, 6))
    rounded, error = round_with_feedback(W, np.zeros((6, 6)), "nearest", rng)
    assert (rounded == np.rint(W)).all()
    np.testing.assert_allclose(error, W - rounded, rtol=0, atol=0)
    U = np.tril(rng.standard_normal((6, 6)), -1)
    for kind in KINDS:
        again, error = round_with_feedback(rounded, U, kind, rng)
        assert (again == rounded).all()
        assert (error == 0).all()
    # diagonal H: LDLQ has no feedback to give
    assert (feedback_matrix(np.diag([3.0, 1.0, 2.0])) == 0).all()


def test_stochastic_rounding_is_unbiased_at_every_point(rng):
    """E Q(x) = x and E (Q(x) − x)² = f (1 − f), f the fractional part."""
    x = np.array([-1.75, -0.1, 0.0, 0.3, 0.5, 2.9])
    draws = 20_000
    rounded, _ = round_with_feedback(np.tile(x, (draws, 1)), np.zeros((6, 6)), "stochastic", rng)
    f = x - np.floor(x)
    variance = f * (1 - f)
    assert (np.abs(rounded.mean(axis=0) - x) <= STANDARD_ERRORS * np.sqrt(variance / draws)).all()
    # |d|² takes the values f² and (1−f)², so its own variance is f(1−f)(1−2f)²
    band = STANDARD_ERRORS * np.sqrt(variance * (1 - 2 * f) ** 2 / draws) + rounding(draws)
    assert (np.abs(((rounded - x) ** 2).mean(axis=0) - variance) <= band).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mean_losses_of_uniform_weights(kind, rng):
    """tr D/12 and tr D/6 with LDLQ's feedback, tr H/12 and tr H/6 with none, `feedback_trace` with any other (QuIP, Theorem 1, Lemma 3)."""
    n = 24
    H = haar_moment(power_law(n, 1.0), rng)
    L = np.linalg.cholesky(H)
    W = 8 * rng.random((4000, n))
    U = feedback_matrix(L)
    for feedback, trace in (
        (U, float((np.diagonal(L) ** 2).sum())),
        (np.zeros_like(U), float(np.trace(H))),
        (0.3 * U, feedback_trace(H, 0.3 * U)),
    ):
        rounded, error = round_with_feedback(W, feedback, kind, rng)
        losses = _losses(W - rounded, H)
        assert losses.mean() == pytest.approx(average_proxy_loss(trace, kind), abs=STANDARD_ERRORS * losses.std() / len(W) ** 0.5)
        squares = error.ravel() ** 2
        assert squares.mean() == pytest.approx(ERROR_VARIANCE[kind], abs=STANDARD_ERRORS * squares.std() / squares.size**0.5)


@given(second_moments(max_size=10, max_condition=1e3), generators())
def test_ldlq_never_loses_more_than_a_quarter_of_tr_d_and_does_at_corners(H, generator):
    L = np.linalg.cholesky(H)
    n = len(H)
    U = feedback_matrix(L)
    worst = worst_proxy_loss(float((np.diagonal(L) ** 2).sum()))
    W = 3 * generator.standard_normal((20, n))
    rounded, _ = round_with_feedback(W, U, "nearest", generator)
    budget = rounding(n**2 + 20, condition=1e3)
    assert _losses(W - rounded, H).max() <= worst * (1 + budget)
    inside = 0.5 - 1e-9
    eta = inside * generator.choice([-1.0, 1.0], (4, n))
    corners = generator.integers(-3, 4, (4, n)) + np.linalg.solve((np.eye(n) + U).T, eta.T).T
    rounded, _ = round_with_feedback(corners, U, "nearest", generator)
    np.testing.assert_allclose(_losses(corners - rounded, H), 4 * inside**2 * worst, rtol=budget + 1e-9)


@pytest.mark.parametrize("name", ["power law", "axes", "one column", "singular"])
def test_evidence_is_what_theory_says(name):
    rng = np.random.default_rng(7)
    H = {
        "power law": haar_moment(power_law(16, 1.0), rng),
        "axes": np.diag(power_law(16, 1.0)),
        "one column": np.array([[2.0]]),
        "singular": np.ones((8, 8)),
    }[name]
    case = moment_case(Hessian(H, 0, name=name), seed=2)
    evidence = gather_unit_rounding(case)
    for kind, estimate in evidence.plain.items():
        assert estimate.value == pytest.approx(average_proxy_loss(float(np.trace(H)), kind), abs=STANDARD_ERRORS * estimate.stderr)
    half = evidence.stochastic_half
    assert half.value == pytest.approx(worst_proxy_loss(float(np.trace(H))), abs=STANDARD_ERRORS * half.stderr + rounding(100))
    assert evidence.nearest_attained >= worst_proxy_loss(float(np.trace(H))) * (1 - 1e-5)
    assert evidence.diagonal_mismatches == 0
    if name == "singular":
        assert not evidence.feedback
        assert math.isnan(evidence.corner)
        return
    trace = float((case.spectrum.cholesky_diagonal**2).sum())
    for kind, estimate in evidence.feedback.items():
        assert estimate.value == pytest.approx(average_proxy_loss(trace, kind), abs=STANDARD_ERRORS * estimate.stderr)
    assert evidence.corner == pytest.approx(worst_proxy_loss(trace), rel=1e-5)
    assert evidence.identity_error <= rounding(16**2, condition=100)
