from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.moments.synthetic import haar_moment, power_law, spiked
from rdtools.testing import generators, second_moments, spectra
from rdtools.theory import ldlq
from rdtools.theory.incoherence import incoherence_trace_bound
from rdtools.transforms import haar_matrix

GOLDEN = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])


def _d(H):
    return np.diagonal(np.linalg.cholesky(H)) ** 2


def _root(H):
    values, vectors = np.linalg.eigh(H)
    return (vectors * np.sqrt(values)) @ vectors.T


def _signs(n):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=n)))


def test_golden_three_by_three():
    """D = (4, 2, 1.625), tr D = 7.625 from the last column on; (2.6, 2.5, 2), 7.1 from the first; the product is det H = 13 in both."""
    ours, theirs = np.linalg.cholesky(GOLDEN), np.linalg.cholesky(GOLDEN[::-1, ::-1])
    np.testing.assert_allclose(np.diagonal(ours) ** 2, [4, 2, 1.625], rtol=rounding(10))
    np.testing.assert_allclose(np.diagonal(theirs)[::-1] ** 2, [2.6, 2.5, 2.0], rtol=rounding(10))
    for factor, trace in ((ours, 7.625), (theirs, 7.1)):
        assert ldlq.block_trace(factor, 1) == pytest.approx(trace, rel=rounding(20))
        assert np.prod(np.diagonal(factor)) ** 2 == pytest.approx(13, rel=rounding(20))
    U = ldlq.feedback_matrix(theirs)[::-1, ::-1]
    np.testing.assert_allclose(U, [[0, 0.6, 0.5], [0, 0, 0.5], [0, 0, 0]], atol=rounding(10))
    assert ldlq.feedback_trace(GOLDEN, ldlq.feedback_matrix(ours)) == pytest.approx(7.625, rel=rounding(30))
    assert ldlq.feedback_trace(GOLDEN, np.zeros((3, 3))) == 9.0


def test_golden_root_trace_bound():
    """tr S = 4.88496, max S_ii = 1.90658, product 9.3136; QuIP's bound with μ = 1.2765 is 12.961."""
    S = _root(GOLDEN)
    assert round(float(np.trace(S)), 5) == 4.88496
    assert round(float(np.diagonal(S).max()), 5) == 1.90658
    assert round(ldlq.root_trace_bound(np.diagonal(S)), 4) == 9.3136
    assert ldlq.block_trace_bound(S, 1) == pytest.approx(ldlq.root_trace_bound(np.diagonal(S)), rel=rounding(20))


#: n = 256: spectrum, tr D, tr(S) max S_ii, μ, (μ²/n)(tr S)², as printed for one draw of Haar eigenvectors; tr H and n det^{1/n}, which need
#: none.
TABLE = {
    "1/k": (power_law(256, 1.0), 2.802, 4.588, 4.43, 71.8, 6.124, 2.679),
    "exponential": (np.exp(-np.arange(256) / 16) + 1e-4, 1.944, 6.250, 4.24, 78.6, 16.53, 0.409),
    "rank 16": (np.where(np.arange(256) < 16, 1.0, 0.0) + 1e-6, 0.588, 2.216, 14.0, 202.9, 16.00, 6.1e-4),
}
#: Rank 16: block → trace.
BLOCKS = {1: 0.585, 2: 0.593, 4: 0.604, 8: 0.743, 16: 0.991}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_three_spectra(name):
    """A printed number is one draw: it lies within four deviations of a draw from the mean of several."""
    eigenvalues, trace_d, root_bound, mu, mu_bound, trace, floor = TABLE[name]
    assert float(f"{eigenvalues.sum():.4g}") == trace
    floor_here = 256 * math.exp(np.log(eigenvalues).mean())
    assert floor_here == pytest.approx(
        floor, abs=0.5 * 10.0 ** (math.floor(math.log10(floor)) - (1 if name == "rank 16" else 2 if floor < 1 else 3))
    )
    # the printed μ has three digits, so the printed bound is its square's to a percent at most
    assert incoherence_trace_bound(mu, eigenvalues) == pytest.approx(mu_bound, rel=2 * 0.05 / mu + 0.005)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(10):
        Q = haar_matrix(256, int(rng.integers(2**63)))
        root = (Q * np.sqrt(eigenvalues)) @ Q.T
        L = np.linalg.cholesky(0.5 * (root @ root + (root @ root).T))
        draws.append((ldlq.block_trace(L, 1), ldlq.root_trace_bound(np.diagonal(root)), *(ldlq.block_trace(L, g) for g in BLOCKS)))
        assert floor_here <= draws[-1][0] <= draws[-1][1] <= incoherence_trace_bound(16 * float(np.abs(Q).max()), eigenvalues)
    printed = [trace_d, root_bound] + (list(BLOCKS.values()) if name == "rank 16" else [])
    for column, value in zip(np.array(draws).T, printed, strict=False):
        assert abs(value - column.mean()) <= STANDARD_ERRORS * column.std(ddof=1) * math.sqrt(1 + 1 / len(draws)) + 5e-4


@given(second_moments(max_size=12, max_condition=1e6))
def test_ldlq_attains_tr_d_and_no_other_feedback_less(H):
    """tr((I+U)^{-1} H (I+U)^{-T}) = tr D at LDLQ's U, tr H at 0, and grows by Σ_ij D_jj Δ_ij² (Δ any change of (I+U)^{-1} (I+U_LDLQ))."""
    n = len(H)
    budget = rounding(n**2 + 20, condition=1e6)
    L = np.linalg.cholesky(H)
    D = np.diagonal(L) ** 2
    U = ldlq.feedback_matrix(L)
    assert (np.triu(U) == 0).all()
    np.testing.assert_allclose((np.eye(n) + U) * D @ (np.eye(n) + U).T, H, rtol=0, atol=budget * np.abs(H).max())
    assert ldlq.feedback_trace(H, U) == pytest.approx(D.sum(), rel=budget)
    assert ldlq.feedback_trace(H, np.zeros_like(H)) == pytest.approx(float(np.trace(H)), rel=rounding(n))
    # what stands on and above the diagonal is not feedback
    assert ldlq.feedback_trace(H, U + np.triu(np.ones_like(H))) == ldlq.feedback_trace(H, U)


@given(second_moments(min_size=2, max_size=10, max_condition=1e3), generators(), st.floats(-3, 0))
def test_what_straying_costs(H, generator, decades):
    """(I+U)^{-1}(I+U_LDLQ) = I + Δ, Δ strictly lower: the trace is tr D + Σ Δ_ij² D_jj, by multiplying out."""
    n = len(H)
    L = np.linalg.cholesky(H)
    U = ldlq.feedback_matrix(L)
    D = np.diagonal(L) ** 2
    other = U + 10.0**decades * np.tril(generator.standard_normal((n, n)), -1)
    delta = np.linalg.inv(np.eye(n) + other) @ (np.eye(n) + U) - np.eye(n)
    condition = np.linalg.cond(np.eye(n) + other) * np.linalg.cond(np.eye(n) + U)
    assert ldlq.feedback_trace(H, other) == pytest.approx(D.sum() + float((delta**2 @ D).sum()), rel=rounding(n**2, condition=condition**2))
    assert ldlq.feedback_trace(H, other) >= D.sum() * (1 - rounding(n**2, condition=condition**2))


def test_a_trace_beyond_float64_is_infinite(rng):
    """rms(U) = 71 at n = 128: the trace is about (1 + rms²)^n = 1e474, and the recursion passes inf − inf."""
    assert ldlq.feedback_trace(np.eye(128), 100 * np.tril(rng.standard_normal((128, 128)), -1)) == math.inf


def test_a_minimizer_finds_the_same_feedback(rng):
    """Theorem 1 by a route that knows nothing of factorizations: BFGS over the strictly lower triangle."""
    n = 5
    H = haar_moment(power_law(n, 1.0), rng)
    below = np.tril_indices(n, -1)

    def trace(entries):
        U = np.zeros((n, n))
        U[below] = entries
        return ldlq.feedback_trace(H, U)

    found = scipy.optimize.minimize(trace, np.zeros(len(below[0])), method="BFGS", options={"gtol": 1e-7})
    U = ldlq.feedback_matrix(np.linalg.cholesky(H))
    # differences in place of gradients: √eps of the trace in the gradient, so eps in the value
    assert found.fun == pytest.approx(_d(H).sum(), rel=1e-9)
    np.testing.assert_allclose(found.x, U[below], atol=1e-4)
    # the gradient at LDLQ's own U, by central differences of step h: zero up to h² and eps/h
    h = 1e-5
    for k in range(len(below[0])):
        step = h * np.eye(len(below[0]))[k]
        assert abs(trace(U[below] + step) - trace(U[below] - step)) / (2 * h) <= np.trace(H) * (100 * h**2 + rounding(n**2) / h)


@given(second_moments(max_size=12, max_condition=1e6), st.randoms(use_true_random=False))
def test_chain_of_bounds(H, random):
    """n det^{1/n} ≤ tr D ≤ tr(S) max S_ii ≤ (μ²/n)(tr S)², in every order; and tr D ≤ tr H."""
    n = len(H)
    p = list(range(n))
    random.shuffle(p)
    budget = rounding(n**2 + 20, condition=1e3)
    values, vectors = np.linalg.eigh(H)
    trace_d = _d(H[np.ix_(p, p)]).sum()
    middle = ldlq.root_trace_bound(np.diagonal(_root(H)))
    mu = math.sqrt(n) * float(np.abs(vectors).max())
    assert n * math.exp(np.log(values).mean()) <= trace_d * (1 + rounding(n**2 + 20, condition=1e6))
    assert trace_d <= middle * (1 + budget)
    assert trace_d <= np.trace(H) * (1 + budget)
    assert middle <= incoherence_trace_bound(mu, values) * (1 + budget)


@given(spectra(max_size=12))
def test_white_and_diagonal_moments(eigenvalues):
    """Theorem 4's witness: for a diagonal H feedback is nothing and tr D = tr H."""
    H = np.diag(eigenvalues)
    L = np.sqrt(H)
    assert (ldlq.feedback_matrix(L) == 0).all()
    for g in (1, 2, 3, len(H)):
        assert ldlq.block_trace(L, g) == pytest.approx(eigenvalues.sum(), rel=rounding(len(H) + 4))
    # tight where H = c I: tr(S) max S_ii = n c
    white = np.full(len(H), math.sqrt(eigenvalues[0]))
    assert ldlq.root_trace_bound(white) == pytest.approx(len(H) * eigenvalues[0], rel=rounding(len(H) + 4))


@given(st.integers(2, 16), st.data(), generators())
def test_low_rank_bound(n, data, generator):
    """tr D ≤ (μ² k/n) tr H for rank k, μ of all eigenvectors; (tr S)² = k tr H if the k eigenvalues are equal."""
    k = data.draw(st.integers(1, n))
    Q = haar_matrix(n, int(generator.integers(2**63)))
    values = np.zeros(n)
    values[:k] = 1 + generator.random(k)
    mu = math.sqrt(n) * float(np.abs(Q).max())
    root = (Q * np.sqrt(values)) @ Q.T
    # the pivots of a singular H come from S = QR
    trace_d = float((np.diagonal(np.linalg.qr(root, mode="r")) ** 2).sum())
    bound = ldlq.low_rank_trace_bound(mu, k, values.sum(), n)
    assert trace_d <= bound * (1 + rounding(n**2))
    assert incoherence_trace_bound(mu, values) <= bound * (1 + rounding(n))
    equal = np.where(np.arange(n) < k, 3.0, 0.0)
    assert incoherence_trace_bound(mu, equal) == pytest.approx(ldlq.low_rank_trace_bound(mu, k, 3.0 * k, n), rel=rounding(2 * n))


@given(second_moments(max_size=16, max_condition=1e6), st.integers(1, 18), st.integers(1, 4))
def test_block_traces(H, g, times):
    """tr D ≤ tr D_g ≤ tr D_{kg} ≤ tr H, tr D_g by a route over Schur complements, and tr D_g ≤ tr(S) ‖S ∘ M‖₂."""
    n = len(H)
    L = np.linalg.cholesky(H)
    budget = rounding(n**2 + 20, condition=1e6)
    trace = ldlq.block_trace(L, g)
    assert ldlq.block_trace(L, 1) * (1 - budget) <= trace <= ldlq.block_trace(L, times * g) * (1 + budget)
    assert ldlq.block_trace(L, n) == pytest.approx(float(np.trace(H)), rel=budget)
    assert trace <= ldlq.block_trace_bound(_root(H), g) * (1 + budget)
    schur = 0.0
    for part in ldlq.blocks(n, g):
        before = H[: part.start, : part.start]
        cross = H[: part.start, part]
        schur += float(np.trace(H[part, part] - cross.T @ np.linalg.solve(before, cross)))
    assert trace == pytest.approx(schur, rel=0, abs=budget * float(np.trace(H)))


@given(st.integers(0, 40), st.integers(1, 45))
def test_blocks_cover_every_column_once_from_the_last(n, g):
    parts = ldlq.blocks(n, g)
    assert [i for part in reversed(parts) for i in range(part.start, part.stop)] == list(range(n))
    assert all(part.stop - part.start == g for part in parts[:-1])
    assert len(parts) == -(-n // g)


def test_no_columns_a_block():
    with pytest.raises(ValueError, match="blocks of 0 columns, expected at least 1"):
        ldlq.blocks(4, 0)


@given(second_moments(max_size=8, max_condition=1e6), st.integers(1, 4), st.floats(1e-3, 1))
def test_block_loss_bound_dominates_the_sharp_loss(H, g, variance):
    """σ² tr D_g ≤ σ² tr(S) ‖S ∘ M‖₂ ≤ (g μ² σ²/n)(tr S)², n the columns (QuIP#, Theorem 4.1)."""
    n = len(H)
    values, vectors = np.linalg.eigh(H)
    mu = math.sqrt(n) * float(np.abs(vectors).max())
    bound = ldlq.block_proxy_loss_bound(mu, float(np.sqrt(values).sum()), n, g, variance)
    assert variance * ldlq.block_trace(np.linalg.cholesky(H), g) <= bound * (1 + rounding(n**2 + 20, condition=1e3))
    assert bound == pytest.approx(g * variance * incoherence_trace_bound(mu, values), rel=rounding(2 * n + 10))


def test_losses_by_hand():
    assert ldlq.average_proxy_loss(12.0) == ldlq.average_proxy_loss(6.0, "stochastic") == pytest.approx(1.0, rel=rounding(2))
    assert ldlq.worst_proxy_loss(8.0) == 2.0
    assert ldlq.average_proxy_loss(0.0) == ldlq.worst_proxy_loss(0.0) == 0.0
    # the variances, by integration over one step: ∫ x² dx and ∫ x (1−x) dx
    x = (np.arange(10_000) + 0.5) / 10_000
    assert ldlq.ERROR_VARIANCE["nearest"] == pytest.approx(((x - 0.5) ** 2).mean(), rel=1e-7)
    assert ldlq.ERROR_VARIANCE["stochastic"] == pytest.approx((x * (1 - x)).mean(), rel=1e-7)


@given(second_moments(max_size=10, max_condition=1e6))
@example(np.ones((4, 4)))
@example(np.zeros((3, 3)))
@example(np.zeros((0, 0)))
def test_worst_signs_lie_between_the_trace_and_the_maximum(H):
    """tr H ≤ sᵀHs ≤ max over all 2^n signs ≤ n λ_max; no single flip gains."""
    s = ldlq.nearest_worst_signs(H)
    assert set(np.abs(s)) <= {1.0}
    n = len(H)
    slack = rounding(n**2 + 1) * float(np.abs(H).sum())
    value = float(s @ H @ s)
    assert value >= np.trace(H) - slack
    assert (s * (H @ s) >= np.diagonal(H) - slack).all()
    if n:
        signs = _signs(n)
        best = float(np.einsum("ij,ij->i", signs @ H, signs).max())
        assert value <= best + slack
        assert best <= n * float(np.linalg.eigvalsh(H)[-1]) + slack


def test_worst_signs_where_the_maximum_is_known(rng):
    """Rank one, H = vvᵀ: (Σ|v_i|)²; all entries positive: n² of their mean."""
    v = rng.standard_normal(30)
    s = ldlq.nearest_worst_signs(np.outer(v, v))
    assert float(s @ v) ** 2 == pytest.approx(float(np.abs(v).sum()) ** 2, rel=rounding(60))
    H = np.ones((7, 7)) + np.eye(7)
    assert (ldlq.nearest_worst_signs(H) == 1).all()
    assert (np.abs(ldlq.nearest_worst_signs(np.diag([1.0, 2.0, 3.0]))) == 1).all()


@given(second_moments(min_size=1, max_size=20, max_condition=1e12), st.floats(1e-100, 1e100))
def test_worst_signs_do_not_depend_on_scale_by_much(H, scale):
    """A power of two changes no rounding, so no sign; any other scale none of what is promised."""
    power = 2.0 ** round(math.log2(scale))
    assert (ldlq.nearest_worst_signs(H) == ldlq.nearest_worst_signs(power * H)).all()
    s = ldlq.nearest_worst_signs(scale * H)
    assert s @ H @ s >= np.trace(H) - rounding(len(H) ** 2) * np.abs(H).sum()


def test_rounding_at_the_worst_signs_loses_a_quarter_of_their_form(rng):
    H = haar_moment(spiked(9, 50.0), rng)
    s = ldlq.nearest_worst_signs(H)
    w = (0.5 - 1e-9) * s
    error = w - np.rint(w)
    assert float(error @ H @ error) == pytest.approx(ldlq.worst_proxy_loss(float(s @ H @ s)), rel=1e-8)


def _closest(L, y, reach):
    box = np.array(list(itertools.product(range(-reach, reach + 1), repeat=len(L)))) @ L
    return float(((y - box) ** 2).sum(axis=1).min())


@given(second_moments(max_size=4, max_condition=100.0), generators())
def test_nearest_plane_against_every_point(H, generator):
    """n ≤ 4: successive rounding's distance, written out, over the closest point's, at most γ; n = 1 is exact."""
    n = len(H)
    H = H / H.max()
    L = np.linalg.cholesky(H)
    y = generator.uniform(-0.5, 0.5, n) @ L
    left = y.copy()
    for i in range(n - 1, -1, -1):
        left -= np.rint(left[i] / L[i, i]) * L[i]
    reached = float((left**2).sum())
    closest = _closest(L, y, 7)
    assume(closest > 1e-12)
    ratio = math.sqrt(reached / closest)
    assert ratio >= 1 - rounding(100, condition=1e3)
    assert ratio <= ldlq.nearest_plane_ratio_bound(np.diagonal(L)) * (1 + rounding(100, condition=1e3))
    assert ratio <= ldlq.nearest_plane_sharp_ratio_bound(np.diagonal(L)) * (1 + rounding(100, condition=1e3))


@given(st.lists(st.floats(1e-3, 1e3), max_size=10), st.floats(1e-3, 1e3))
def test_ratio_bound_by_two_loops(lengths, scale):
    d = np.array(lengths)
    expected = 1.0
    for j in range(len(d)):
        expected = max(expected, math.sqrt(1 + sum(float(d[i]) ** 2 for i in range(j + 1)) / float(d[j]) ** 2))
    assert ldlq.nearest_plane_ratio_bound(d) == pytest.approx(expected, rel=rounding(30))
    assert ldlq.nearest_plane_ratio_bound(scale * d) == pytest.approx(expected, rel=rounding(60))
    sharp = ldlq.nearest_plane_sharp_ratio_bound(d)
    assert sharp == pytest.approx(math.sqrt(max(expected**2 - 1, 1.0)), rel=rounding(60))
    assert ldlq.nearest_plane_sharp_ratio_bound(scale * d) == pytest.approx(sharp, rel=rounding(60))
    if len(d):
        # its relaxed form, √(n+1) times the largest ratio of lengths
        relaxed = math.sqrt(len(d) + 1) * max(d[i] / d[j] for j in range(len(d)) for i in range(j + 1))
        assert expected <= relaxed * (1 + rounding(30))
        assert expected >= math.sqrt(2) * (1 - rounding(10))


def test_ratio_bound_limits():
    assert ldlq.nearest_plane_sharp_ratio_bound(np.zeros(0)) == ldlq.nearest_plane_sharp_ratio_bound(np.array([3.0])) == 1.0
    assert ldlq.nearest_plane_ratio_bound(np.zeros(0)) == 1.0
    assert ldlq.nearest_plane_ratio_bound(np.array([3.0])) == pytest.approx(math.sqrt(2), rel=rounding(4))
    assert ldlq.nearest_plane_ratio_bound(np.ones(15)) == pytest.approx(4.0, rel=rounding(20))
    # lengths that grow towards the column decided first are harmless
    assert ldlq.nearest_plane_ratio_bound(np.geomspace(1e-8, 1, 3)) == pytest.approx(math.sqrt(2), rel=1e-7)


@given(second_moments(max_size=10, max_condition=1e4), st.integers(-20, 20))
def test_traces_scale_with_the_moment(H, power):
    c = 4.0**power
    L = np.linalg.cholesky(H)
    U = ldlq.feedback_matrix(L)
    assert (ldlq.feedback_matrix(np.linalg.cholesky(c * H)) == U).all()
    assert ldlq.feedback_trace(c * H, U) == c * ldlq.feedback_trace(H, U)
    assert ldlq.block_trace(np.linalg.cholesky(c * H), 2) == c * ldlq.block_trace(L, 2)
    assert ldlq.root_trace_bound(2.0**power * np.ones(3)) == c * 3
