from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from tolerances import STANDARD_ERRORS, rounding

from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch, TheoryError
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.records import InputMoments
from rdtools.testing import generators, spectra
from rdtools.theory.activation_moments import corrected_distortion
from rdtools.theory.correction_target import correction_target, unpredictable_distortion
from rdtools.theory.low_rank import (
    correction_bits,
    low_rank_correction,
    reduced_rank_bound,
    relaxed_correction,
    tail_energy,
    white_tail_energy,
)

CONDITION = 1e3


def quantize_tokens(x, levels=7):
    """Symmetric round to nearest of every token (row), as LRC's activations."""
    step = np.abs(x).max(axis=1, keepdims=True) / levels
    return step * np.rint(x / step)


def case(rng, m=12, n=16, tokens=800, levels=3):
    """W, a crude Ŵ, tokens and their moments."""
    x = rng.standard_normal((tokens, n)) @ np.linalg.cholesky(haar_moment(power_law(n, 1.0), rng)).T
    q = quantize_tokens(x, levels)
    W = rng.standard_normal((m, n))
    moments = InputMoments.quantized(x.T @ x / tokens, q.T @ q / tokens, x.T @ q / tokens)
    return W, np.rint(2 * W) / 2, moments, x, q


@st.composite
def problems(draw, max_condition=CONDITION):
    """W, Ŵ and moments of x and Q = A x + noise, noise of any size: the joint moment is positive definite by construction.

    Moments of dimension n have condition κ; that of S_y is at most κ (1 + 4 n) + noise, so that κ² n bounds them together.
    """
    eigenvalues = draw(spectra(max_size=8, max_condition=max_condition))
    generator = draw(generators())
    n, m = len(eigenvalues), draw(st.integers(1, 8))
    Sx = haar_moment(eigenvalues / eigenvalues[0], generator)
    A = np.eye(n) + draw(st.floats(0, 0.3)) * generator.standard_normal((n, n)) / n
    noise = draw(st.floats(1e-3, 1)) * np.diag(generator.uniform(0.5, 1, n))
    Sy = A @ Sx @ A.T + noise
    W = generator.standard_normal((m, n))
    What = W + draw(st.sampled_from((0.0, 0.1, 1.0))) * generator.standard_normal((m, n))
    moments = InputMoments.quantized(Sx, 0.5 * (Sy + Sy.T), Sx @ A.T)
    return W, What, moments, draw(st.integers(0, min(m, n))), generator


def scale(W, What, L, moments):
    """Size of the terms that a distortion is summed from, per weight: rounding is relative to it."""
    power = max(np.linalg.norm(moments.reference), np.linalg.norm(moments.actual))
    return power * (np.linalg.norm(W) + np.linalg.norm(What) + np.linalg.norm(L)) ** 2 / W.size


def test_loss_from_moments_is_the_sampled_loss(rng):
    """With sample moments, D = (1/T) Σ ‖W x − Ŵ Q(x) − L x‖²/(mn)."""
    W, What, moments, x, q = case(rng)
    L = 0.1 * rng.standard_normal(W.shape)
    sampled = np.mean(np.sum((x @ (W - L).T - q @ What.T) ** 2, axis=1)) / W.size
    # the three terms are summed over tokens, then over n and mn products
    assert corrected_distortion(W, What, L, moments) == pytest.approx(sampled, abs=rounding(len(x)) * scale(W, What, L, moments))


@given(problems())
def test_three_terms_as_printed(problem):
    """tr((W−L) S_x (W−L)ᵀ) − 2 tr((W−L) S_xy Ŵᵀ) + tr(Ŵ S_y Ŵᵀ)."""
    W, What, s, _, generator = problem
    L = generator.standard_normal(W.shape)
    A = W - L
    printed = (np.trace(A @ s.reference @ A.T) - 2 * np.trace(A @ s.cross @ What.T) + np.trace(What @ s.actual @ What.T)) / W.size
    assert corrected_distortion(W, What, L, s) == pytest.approx(printed, abs=rounding(100) * scale(W, What, L, s))


@given(problems())
def test_weight_step_constant_does_not_depend_on_the_quantized_weight(problem):
    """D(Ŵ) = tr((W̃ − Ŵ) S_y (W̃ − Ŵ)ᵀ)/(mn) + c for every Ŵ."""
    W, What, s, _, generator = problem
    L = generator.standard_normal(W.shape)
    target, c = correction_target(W, L, s), unpredictable_distortion(W, L, s)
    for trial in (What, np.zeros_like(W), 3 * generator.standard_normal(W.shape)):
        E = target - trial
        expected = np.trace(E @ s.actual @ E.T) / W.size + c
        bound = rounding(200, condition=np.linalg.cond(s.actual)) * scale(W, trial, L, s)
        assert corrected_distortion(W, trial, L, s) == pytest.approx(expected, abs=bound)
    # and at the target itself nothing but the constant is left
    at_target = corrected_distortion(W, target, L, s)
    assert at_target == pytest.approx(c, abs=rounding(200, condition=np.linalg.cond(s.actual)) * scale(W, target, L, s))


@given(problems(), st.floats(1e-4, 1))
def test_with_damping_both_steps_minimize_what_their_docstrings_say(problem, damping):
    """D + δ‖Ŵ‖²/(mn) for the weight step, D + δ‖W − L‖²/(mn) for the low-rank step, δ absolute."""
    W, What, s, k, generator = problem
    n = s.inputs
    L = generator.standard_normal(W.shape)
    delta = damping * np.trace(s.actual) / n
    target, c = correction_target(W, L, s, damping=damping), unpredictable_distortion(W, L, s, damping=damping)
    E = target - What
    expected = np.trace(E @ (s.actual + delta * np.eye(n)) @ E.T) / W.size + c
    penalized = corrected_distortion(W, What, L, s) + delta * np.linalg.norm(What) ** 2 / W.size
    bound = rounding(200, condition=n / damping) * (1 + damping) * n
    assert penalized == pytest.approx(expected, abs=bound * scale(W, What, L, s))
    found = low_rank_correction(W, What, s, k, damping=damping)
    delta = damping * np.trace(s.reference) / n
    penalized = corrected_distortion(W, What, found.matrix, s) + delta * np.linalg.norm(W - found.matrix) ** 2 / W.size
    assert found.distortion == pytest.approx(penalized, abs=bound * scale(W, What, found.matrix, s))
    assert found.damping == damping


@given(problems())
def test_low_rank_step_attains_floor_plus_tail(problem):
    W, What, s, k, _ = problem
    found = low_rank_correction(W, What, s, k)
    bound = rounding(200, condition=np.linalg.cond(s.reference)) * scale(W, What, found.matrix, s)
    assert corrected_distortion(W, What, found.matrix, s) == pytest.approx(found.distortion, abs=bound)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(k), atol=rounding(100))
    # V = Rᵀ U with R by an explicit inverse
    R = W - What @ s.cross.T @ np.linalg.inv(s.reference)
    size = np.linalg.norm(W) + np.linalg.norm(What) * np.linalg.norm(s.cross)
    # ‖S_x⁻¹‖ is at most the condition, since ‖S_x‖ = 1
    np.testing.assert_allclose(found.right, R.T @ found.left, atol=rounding(200, condition=np.linalg.cond(s.reference)) * size * CONDITION)


def test_three_term_form_has_the_same_eigenvectors(rng):
    """W S_x Wᵀ + Ŵ S_xyᵀ S_x⁻¹ S_xy Ŵᵀ − W S_xy Ŵᵀ − (W S_xy Ŵᵀ)ᵀ = R S_x Rᵀ, the form that avoids R."""
    W, What, s, _, _ = case(rng)
    crossed = W @ s.cross @ What.T
    M = W @ s.reference @ W.T + What @ s.cross.T @ np.linalg.solve(s.reference, s.cross) @ What.T - crossed - crossed.T
    values, vectors = np.linalg.eigh(M)
    found = low_rank_correction(W, What, s, 3)
    # eigenvalues of M carry its absolute rounding; M is a difference of terms of size ‖W S_x Wᵀ‖
    absolute = rounding(100, condition=np.linalg.cond(s.reference)) * np.linalg.norm(W @ s.reference @ W.T)
    np.testing.assert_allclose(found.singular_values**2, values[::-1], atol=absolute)
    gap = values[-3] - values[-4]
    projector = vectors[:, -3:] @ vectors[:, -3:].T
    np.testing.assert_allclose(found.left @ found.left.T, projector, atol=4 * absolute / gap)


@given(problems())
def test_no_other_correction_of_the_rank_does_better(problem):
    W, What, s, k, generator = problem
    found = low_rank_correction(W, What, s, k)
    size = scale(W, What, found.matrix, s)
    for spread in (1.0, 1e-2):
        left = found.left + spread * generator.standard_normal(found.left.shape)
        right = found.right + spread * generator.standard_normal(found.right.shape)
        assert corrected_distortion(W, What, left @ right.T, s) >= found.distortion - rounding(200, condition=CONDITION) * size


@pytest.mark.parametrize("k", [1, 3])
def test_alternating_least_squares_ends_at_the_same_value(rng, k):
    """From a random start; each round contracts by (s_{k+1}/s_k)², so that this many leave less than 1e-6 of the excess."""
    W, What, s, _, _ = case(rng)
    best = low_rank_correction(W, What, s, k)
    T = W @ s.reference - What @ s.cross.T  # R S_x
    B = rng.standard_normal((W.shape[1], k))
    ratio = (best.singular_values[k] / best.singular_values[k - 1]) ** 2
    # the start is off by a factor of some thousands at most, and the excess is quadratic in the angle
    for _ in range(math.ceil(math.log(1e-10) / math.log(ratio))):
        A = np.linalg.solve(B.T @ s.reference @ B, (T @ B).T).T
        B = np.linalg.solve(s.reference, T.T @ A) @ np.linalg.inv(A.T @ A)
        assert corrected_distortion(W, What, A @ B.T, s) >= best.distortion * (1 - rounding(1000))
    assert corrected_distortion(W, What, A @ B.T, s) == pytest.approx(best.distortion, rel=1e-6)


def test_weight_error_alone_is_the_decomposition_of_the_weighted_error(rng):
    """Q(x) = x: L = (rank-k part of (W − Ŵ) H^{1/2}) H^{−1/2}, by the symmetric root (QERA, exact)."""
    W, What, s, _, _ = case(rng)
    values, Q = np.linalg.eigh(s.reference)
    root = (Q * np.sqrt(values)) @ Q.T
    U, sigma, Vt = np.linalg.svd((W - What) @ root)
    by_root = (U[:, :4] * sigma[:4]) @ Vt[:4] @ np.linalg.inv(root)
    found = low_rank_correction(W, What, InputMoments.plain(s.reference), 4)
    gap = (sigma[3] - sigma[4]) / sigma[0]
    condition = np.sqrt(values[-1] / values[0]) / gap
    np.testing.assert_allclose(found.matrix, by_root, atol=rounding(100, condition=condition) * np.linalg.norm(W - What))
    assert found.floor == 0
    assert found.tail == pytest.approx(np.sum(sigma[4:] ** 2) / W.size, rel=rounding(1000))
    E = W - What - found.matrix
    assert found.distortion == pytest.approx(np.trace(E @ s.reference @ E.T) / W.size, rel=rounding(1000, condition=condition))


@given(problems())
def test_more_rank_never_hurts_and_full_rank_leaves_the_floor(problem):
    W, What, s, _, _ = problem
    ranks = range(min(W.shape) + 1)
    found = [low_rank_correction(W, What, s, k) for k in ranks]
    assert all(a.distortion >= b.distortion for a, b in pairwise(found))
    assert found[-1].tail == 0
    assert len({f.floor for f in found}) == 1
    # the floor is the part of Ŵ Q that x does not predict
    unpredicted = s.actual - s.cross.T @ np.linalg.solve(s.reference, s.cross)
    bound = rounding(200, condition=CONDITION) * scale(W, What, 0 * W, s)
    assert found[-1].floor == pytest.approx(np.trace(What @ unpredicted @ What.T) / W.size, abs=bound)
    # rank 0 corrects nothing
    assert found[0].matrix.shape == W.shape
    assert not found[0].matrix.any()
    assert found[0].distortion == pytest.approx(corrected_distortion(W, What, 0 * W, s), abs=bound)


@given(problems())
def test_relaxed_start_bounds_every_quantized_weight(problem):
    """Σ_{i>k} eig_i(W S Wᵀ) is attained at Ŵ = W̃, and no Ŵ with its own best correction is below it."""
    W, What, s, k, _ = problem
    start = relaxed_correction(W, s, k)
    bound = rounding(400, condition=np.linalg.cond(s.actual)) * scale(W, What, start.matrix, s)
    assert start.floor == 0
    assert unpredictable_distortion(W, start.matrix, s) == pytest.approx(start.tail, abs=bound)
    target = correction_target(W, start.matrix, s)
    bound += rounding(400, condition=np.linalg.cond(s.actual)) * scale(W, target, start.matrix, s)
    assert corrected_distortion(W, target, start.matrix, s) == pytest.approx(start.tail, abs=bound)
    bound += rounding(400, condition=np.linalg.cond(s.reference)) * scale(W, What, 0 * W, s)
    assert low_rank_correction(W, What, s, k).distortion >= start.tail - bound
    # and with the target as the weight, the low-rank step finds nothing better
    assert low_rank_correction(W, target, s, k).distortion == pytest.approx(start.tail, abs=bound)


@given(problems(), st.floats(1e-2, 1e2))
def test_distortion_is_quadratic_in_the_weights_and_linear_in_the_moments(problem, factor):
    W, What, s, k, _ = problem
    once = low_rank_correction(W, What, s, k).distortion
    size = rounding(200, condition=CONDITION) * scale(W, What, 0 * W, s)
    twice = low_rank_correction(factor * W, factor * What, s, k).distortion
    assert twice == pytest.approx(factor**2 * once, abs=factor**2 * size)
    louder = InputMoments.quantized(factor * s.reference, factor * s.actual, factor * s.cross)
    assert low_rank_correction(W, What, louder, k).distortion == pytest.approx(factor * once, abs=factor * size)


@given(problems())
def test_rotations_of_inputs_and_outputs_change_nothing(problem):
    W, What, s, k, generator = problem
    P = np.linalg.qr(generator.standard_normal((len(W),) * 2))[0]
    Q = np.linalg.qr(generator.standard_normal((W.shape[1],) * 2))[0]
    turned = InputMoments.quantized(*(Q.T @ M @ Q for M in (s.reference, s.actual, s.cross)))
    bound = rounding(400, condition=CONDITION) * scale(W, What, 0 * W, s)
    for before, after in (
        (low_rank_correction(W, What, s, k).distortion, low_rank_correction(P @ W @ Q, P @ What @ Q, turned, k).distortion),
        (relaxed_correction(W, s, k).distortion, relaxed_correction(P @ W @ Q, turned, k).distortion),
    ):
        assert after == pytest.approx(before, abs=bound)


def test_white_moments_leave_the_tail_energy_of_the_weight(rng):
    """S_x = I and independent white noise of power p: S = p/(1 + p) I, and D(k)/D(0) is the tail energy of W."""
    W, p = rng.standard_normal((9, 13)), 0.25
    white = InputMoments.quantized(np.eye(13), (1 + p) * np.eye(13), np.eye(13))
    sigma = np.linalg.svd(W, compute_uv=False)
    start = relaxed_correction(W, white, 0)
    assert start.tail == pytest.approx(p / (1 + p) * np.sum(W**2) / W.size, rel=rounding(200))
    for k in range(10):
        left = relaxed_correction(W, white, k)
        assert left.tail / start.tail == pytest.approx(tail_energy(sigma, k), abs=rounding(200))
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        np.testing.assert_allclose(left.matrix, (U[:, :k] * s[:k]) @ Vt[:k], atol=rounding(2000))


def test_nothing_left_to_correct():
    W, H = np.arange(6.0).reshape(2, 3), np.diag([1.0, 2.0, 3.0])
    same = InputMoments.plain(H)
    found = low_rank_correction(W, W, same, 1)
    assert (found.floor, found.tail, np.abs(found.matrix).max()) == (0, 0, 0)
    assert relaxed_correction(W, same, 0).tail == 0
    assert unpredictable_distortion(W, 0 * W, same) == 0
    np.testing.assert_array_equal(correction_target(W, np.ones((2, 3)), same), W - 1)


def test_quantized_input_that_tells_nothing():
    """S_xy = 0: the target is 0, all of W x is unpredictable, and the correction is that of W itself beside the floor of Ŵ's noise."""
    W, H = np.array([[3.0, 0.0], [0.0, 1.0]]), np.diag([1.0, 4.0])
    blind = InputMoments.quantized(H, np.eye(2), np.zeros((2, 2)))
    assert not correction_target(W, 0 * W, blind).any()
    assert unpredictable_distortion(W, 0 * W, blind) == pytest.approx((9 + 4) / 4, rel=rounding(10))
    found = low_rank_correction(W, np.eye(2), blind, 1)
    assert (found.floor, found.tail) == (pytest.approx(2 / 4, rel=rounding(10)), pytest.approx(4 / 4, rel=rounding(10)))


def test_correction_of_the_quantized_input_by_gradient(rng):
    """QLLM's form, L acting on Q(x): the closed form is where gradient descent on sampled tokens ends."""
    W, What, s, x, q = case(rng, m=4, n=5, tokens=200)
    target = correction_target(W, 0 * W, s)
    found = low_rank_correction(target, What, InputMoments.plain(s.actual), 2)
    left_over = found.distortion + unpredictable_distortion(W, 0 * W, s)
    y = x @ W.T - q @ What.T
    A, B = 0.1 * rng.standard_normal((4, 2)), 0.1 * rng.standard_normal((5, 2))
    for _ in range(30000):
        E = (y - q @ B @ A.T) / len(x)
        A, B = A + 0.2 * (E.T @ q @ B), B + 0.2 * (q.T @ E @ A)
    trained = np.mean(np.sum((y - q @ B @ A.T) ** 2, axis=1)) / W.size
    assert left_over * (1 - rounding(1000)) <= trained <= left_over * (1 + 1e-6)


def test_tail_energy_of_a_large_iid_matrix():
    """Quarter circle, density √(4 − s²)/π on [0, 2]: 0.686 left at 10 % and 0.303 at 30 %; 0.692 and 0.306 are ranks 25 and 76 of 256.

    With s = 2 cos t, the share of singular values above is (2t − sin 2t)/π, and that of the energy (2t − ½ sin 4t)/π.
    """

    def left(fraction):
        t = brentq(lambda t: (2 * t - math.sin(2 * t)) / math.pi - fraction, 0, math.pi / 2)
        return 1 - (2 * t - math.sin(4 * t) / 2) / math.pi

    assert [round(left(f), 3) for f in (0.1, 0.3)] == [0.686, 0.303]
    assert [round(left(k / 256), 3) for k in (25, 76)] == [0.693, 0.307]
    sigma = np.linalg.svd(np.random.default_rng(1).standard_normal((256, 256)), compute_uv=False)
    for k in (25, 76):
        # one singular value at the cut more or less: at most 4/256 of the energy
        assert tail_energy(sigma, k) == pytest.approx(left(k / 256), abs=4 / 256)
    assert [round(tail_energy(sigma, k), 3) for k in (25, 76)] == [0.692, 0.306]


@given(spectra(max_condition=1e6), st.integers(0, 30), st.floats(1e-3, 1e3))
def test_tail_energy_falls_convexly_from_one_to_zero(sigma, k, factor):
    n = len(sigma)
    energies = [tail_energy(sigma, j) for j in range(n + 1)]
    assert energies[0] == 1
    assert energies[-1] == 0
    drops = -np.diff(energies)
    assert (drops >= 0).all()
    assert (np.diff(drops) <= rounding(n)).all()
    assert tail_energy(sigma, k) <= max(1 - k / n, 0) + rounding(n)
    assert tail_energy(factor * sigma[::-1], k) == pytest.approx(tail_energy(sigma, k), rel=rounding(4 * n))
    if k < n:
        np.testing.assert_allclose(tail_energy(sigma, k), np.sum(sigma[k:] ** 2) / np.sum(sigma**2), rtol=rounding(4 * n))


def test_tail_energy_at_the_edges():
    assert tail_energy([3.0, 3.0, 3.0, 3.0], 1) == 0.75
    assert (tail_energy([], 0), tail_energy([0.0, 0.0], 1)) == (0, 0)
    assert tail_energy([1e-200, 2e-200], 1) == pytest.approx(0.2, rel=rounding(4))
    for bad in (([1.0], -1), ([-1.0], 0), ([math.nan], 0)):
        with pytest.raises(ValueError, match="tail energy"):
            tail_energy(*bad)


def test_bits_of_the_factors():
    """A square layer at 5, 10, 20 and 30 %: +1.6, 3.2, 6.4 and 9.6 bits per weight; 10 % of the parameters is a rank of 5 %."""
    added = [correction_bits(1000, 1000, k) for k in (50, 100, 200, 300)]
    np.testing.assert_allclose(added, [1.6, 3.2, 6.4, 9.6], rtol=rounding(4))
    assert correction_bits(1000, 1000, 50) / 16 == pytest.approx(0.1, rel=rounding(4))
    # Llama-2-7B at k = 0.1 min(m, n): 20 % more parameters on attention, 13.7 % on the MLP
    attention, mlp = (correction_bits(m, 4096, 409.6) / 16 for m in (4096, 11008))
    assert (round(attention, 3), round(mlp, 3)) == (0.2, 0.137)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 500), st.floats(0, 32))
def test_bits_are_those_of_the_stored_numbers(m, n, k, bits):
    """Symmetric, proportional to k and to the bits of a number; (m + n) k numbers over mn weights."""
    found = correction_bits(m, n, k, factor_bits=bits)
    numbers = np.empty((m, k)).size + np.empty((n, k)).size
    assert found == pytest.approx(bits * numbers / (m * n), rel=rounding(4))
    assert correction_bits(n, m, k, factor_bits=bits) == found
    assert correction_bits(m, n, 0, factor_bits=bits) == 0


@pytest.mark.parametrize("bad", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_bad_layers_have_no_bits(bad):
    with pytest.raises(ValueError, match="correction bits"):
        correction_bits(*bad)
    with pytest.raises(ValueError, match="correction bits"):
        correction_bits(1, 1, 1, factor_bits=math.nan)


def test_singular_moments_are_refused_until_damped():
    """Two inputs that are always equal: no unique correction, and no silent regularization."""
    twins = np.ones((2, 2))
    same, W = InputMoments.plain(twins), np.array([[1.0, 2.0]])
    for step in (
        lambda **k: low_rank_correction(W, 0 * W, same, 1, **k),
        lambda **k: relaxed_correction(W, same, 1, **k),
        lambda **k: correction_target(W, 0 * W, same, **k),
        lambda **k: unpredictable_distortion(W, 0 * W, same, **k),
    ):
        with pytest.raises(NotPositiveSemidefinite, match="damping"):
            step()
        step(damping=1e-3)


def test_small_damping_moves_the_minimum_by_at_most_its_penalty(rng):
    W, What, s, _, _ = case(rng)
    exact, damped = low_rank_correction(W, What, s, 3), low_rank_correction(W, What, s, 3, damping=1e-6)
    delta = 1e-6 * np.trace(s.reference) / len(s.reference)
    penalty = delta * np.linalg.norm(W - exact.matrix) ** 2 / W.size
    true = corrected_distortion(W, What, damped.matrix, s)
    slack = rounding(1000) * scale(W, What, exact.matrix, s)
    assert exact.distortion - slack <= true <= damped.distortion + slack
    assert damped.distortion <= exact.distortion + penalty + slack


@pytest.mark.parametrize("rank", [-1, 3])
def test_bad_ranks_are_refused(rank):
    W, s = np.ones((2, 3)), InputMoments.plain(np.eye(3))
    for solve in (lambda: low_rank_correction(W, W, s, rank), lambda: relaxed_correction(W, s, rank)):
        with pytest.raises(ValueError, match="rank"):
            solve()


def test_arrays_that_do_not_belong_together_are_refused():
    eye, s = np.eye(2), InputMoments.plain(np.eye(2))
    with pytest.raises(ShapeMismatch, match="cross moment"):
        InputMoments.quantized(eye, eye, np.eye(3))
    with pytest.raises(NotPositiveSemidefinite, match="other tokens"):
        InputMoments.quantized(eye, eye, 2 * eye)
    with pytest.raises(ShapeMismatch, match="same"):
        corrected_distortion(np.ones((3, 2)), np.ones((2, 2)), np.ones((3, 2)), s)
    with pytest.raises(ShapeMismatch, match="empty"):
        correction_target(np.ones((0, 2)), np.ones((0, 2)), s)


def test_fourth_moments_are_not_needed_only_enough_tokens(rng):
    """The loss of a correction solved on one half of the tokens is, on the other half, within its standard errors of the prediction."""
    W, What, _, x, q = case(rng, m=6, n=8, tokens=8000)
    fit, held = slice(0, 4000), slice(4000, None)
    s = InputMoments.quantized(x[fit].T @ x[fit] / 4000, q[fit].T @ q[fit] / 4000, x[fit].T @ q[fit] / 4000)
    found = low_rank_correction(W, What, s, 3)
    losses = np.sum((x @ (W - found.matrix).T - q @ What.T) ** 2, axis=1) / W.size
    error = math.sqrt(losses[fit].var() / 4000 + losses[held].var() / 4000)
    # fitting k (m + n) numbers to 4000 tokens of m outputs biases the fitted half down by their share, twice
    bias = 2 * 3 * (6 + 8) / (4000 * 6) * losses[fit].mean()
    assert losses[held].mean() == pytest.approx(found.distortion, abs=STANDARD_ERRORS * error + bias)


def test_the_reduced_rank_bound_is_the_relaxed_optimum_and_leaves_out_silent_channels(rng):
    """The same minimum by another route; a channel of Q(x) that is always zero changes nothing, and a merged input has a bound too."""
    x = rng.standard_normal((400, 6)) @ rng.standard_normal((6, 6))
    q, W = np.round(x), rng.standard_normal((5, 6))
    moments = InputMoments.quantized(x.T @ x / 400, q.T @ q / 400, x.T @ q / 400)
    for k in range(6):
        assert reduced_rank_bound(W, moments, k) == pytest.approx(relaxed_correction(W, moments, k).distortion, rel=1e-9, abs=1e-12)
    silent = np.column_stack([q, np.zeros(400)])
    wider = InputMoments.quantized(x.T @ x / 400, silent.T @ silent / 400, x.T @ silent / 400)
    assert reduced_rank_bound(W, wider, 2) == reduced_rank_bound(W, moments, 2)
    fewer = InputMoments.quantized(x.T @ x / 400, q[:, :4].T @ q[:, :4] / 400, x.T @ q[:, :4] / 400)
    assert reduced_rank_bound(W, fewer, 2) > reduced_rank_bound(W, moments, 2)
    with pytest.raises(TheoryError, match="rank 6 for a weight of shape"):
        reduced_rank_bound(W, moments, 6)


@pytest.mark.parametrize(("m", "n"), [(400, 400), (200, 600), (600, 200)])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_what_a_rank_leaves_of_a_white_residual_is_marchenko_and_pastur_s(m, n, share, rng):
    """Singular values of independent entries; linear statistics of them fluctuate by about 1/n."""
    k = round(share * min(m, n))
    left = tail_energy(np.linalg.svd(rng.standard_normal((m, n)), compute_uv=False), k)
    assert left == pytest.approx(white_tail_energy(share, n / m), abs=3 / min(m, n))
    assert 1 - left > share  # the best directions take more than their number


def test_the_white_tail_has_its_ends():
    assert (white_tail_energy(0.0, 1.0), white_tail_energy(1.0, 0.5)) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-9))
    assert white_tail_energy(0.1, 1.0) == pytest.approx(0.686, abs=5e-4)
    assert white_tail_energy(0.3, 1.0) == pytest.approx(0.303, abs=5e-4)
    assert white_tail_energy(0.2, 1e-6) == pytest.approx(0.8, abs=1e-2)  # equal singular values: the share r/d
    assert white_tail_energy(0.2, 4.0) == white_tail_energy(0.2, 0.25)
    for share, aspect in ((-0.1, 1.0), (1.1, 1.0), (0.5, 0.0)):
        with pytest.raises(TheoryError, match="white tail"):
            white_tail_energy(share, aspect)
