from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.moments.spectrum import compute_spectrum, eigendecomposition
from rdtools.records import Rotation, RotationKind
from rdtools.testing import generators, layers, second_moments
from rdtools.theory.incoherence import (
    haar_incoherence_bound,
    haar_weight_incoherence_bound,
    hadamard_incoherence_bound,
    hadamard_tail_probability,
    hadamard_weight_incoherence_bound,
    hessian_incoherence,
    incoherence_trace_bound,
    kronecker_incoherence_bound,
    kronecker_weight_incoherence_bound,
    top_singular_share,
    weight_incoherence,
)
from rdtools.transforms import haar_matrix, hadamard_multiply, rotate
from rdtools.transforms.kronecker import kronecker_factors


def drawn(kind: RotationKind, order: int, rng: np.random.Generator) -> Rotation:
    return Rotation(kind, order, int(rng.integers(2**63)))


def _with_vectors(H):
    return compute_spectrum(H, eigen=eigendecomposition(H))


def test_golden_three_by_three():
    """Printed for H = [[4,2,1],[2,3,1],[1,1,2]]: μ = 1.2765, bound 12.961, tr D = 7.625 in our order, eigenvalue product 13."""
    H = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])
    s = _with_vectors(H)
    assert round(hessian_incoherence(s), 4) == 1.2765
    assert round(incoherence_trace_bound(hessian_incoherence(s), s.eigenvalues), 3) == 12.961
    np.testing.assert_allclose(s.cholesky_diagonal**2, [4, 2, 1.625], rtol=rounding(10))
    assert np.prod(s.eigenvalues) == pytest.approx(13, rel=rounding(20))


def test_axes_are_the_most_coherent_and_hadamard_the_least():
    spectrum = np.arange(1.0, 17.0)
    assert hessian_incoherence(_with_vectors(np.diag(spectrum))) == pytest.approx(4.0, rel=rounding(16))
    Q = hadamard_multiply(np.eye(16))
    H = (Q * spectrum) @ Q.T
    assert hessian_incoherence(_with_vectors(0.5 * (H + H.T))) == pytest.approx(1.0, rel=rounding(16, condition=16))


@given(second_moments(max_condition=1e6))
def test_trace_bound_holds(H):
    """Σ ℓ_ii² ≤ (μ²/n)(tr H^½)²: QuIP, Lemma 2."""
    s = _with_vectors(H)
    mu = hessian_incoherence(s)
    assert 1 - rounding(len(H) + 1) <= mu <= math.sqrt(len(H)) * (1 + rounding(len(H) + 1))
    bound = incoherence_trace_bound(mu, s.eigenvalues)
    assert (s.cholesky_diagonal**2).sum() <= bound * (1 + rounding(len(H) + 1, condition=1e3))


@given(layers())
def test_weight_incoherence_is_between_one_and_the_root_of_the_size(layer):
    mu = weight_incoherence(layer.weight)
    assert 1 - rounding(10) <= mu <= math.sqrt(layer.weight.size) * (1 + rounding(layer.weight.size))


def test_the_first_singular_pair_is_that_of_a_decomposition(rng):
    """A random matrix, whose singular values are close to each other, a pair that stands out, rank one, and nothing."""
    weight = rng.standard_normal((40, 30))
    for W in (weight, weight + 2 * np.outer(weight[:, 0], weight[0]), weight[:, :1], 0 * weight):
        squares = np.linalg.svd(W, compute_uv=False) ** 2
        expected = squares[0] / squares.sum() if squares.any() else 0.0
        assert expected - 1e-3 <= top_singular_share(W) <= expected + rounding(1000)


def test_weight_incoherence_limits():
    assert weight_incoherence(np.full((3, 5), -2.0)) == pytest.approx(1.0, rel=rounding(15))
    spike = np.zeros((4, 4))
    spike[1, 2] = 7
    assert weight_incoherence(spike) == 4.0
    assert weight_incoherence(np.zeros((2, 2))) == 0.0


def test_repeated_eigenvalues_are_reported():
    assert not compute_spectrum(np.eye(3)).simple
    assert compute_spectrum(np.diag([3.0, 2.0, 1.0])).simple


def test_hadamard_bounds_as_printed():
    """n = 1024: 6.19 and 39.7; n = 4096: 6.62 and 45.3; δ = 0.01."""
    for n, mu, mu_weight in ((1024, 6.19, 39.7), (4096, 6.62, 45.3)):
        assert round(hadamard_incoherence_bound(n, failure=0.01), 2) == mu
        assert round(hadamard_weight_incoherence_bound(n, n, failure=0.01), 1) == mu_weight


BOUNDS = [hadamard_incoherence_bound, haar_incoherence_bound, kronecker_incoherence_bound]
bounds = pytest.mark.parametrize("bound", BOUNDS, ids=lambda b: b.__name__)
failures = st.floats(1e-12, 1 - 1e-6)


@bounds
@given(n=st.integers(1, 5000), more=st.integers(1, 5000), failure=failures, factor=st.floats(1e-3, 1))
def test_bounds_fall_with_the_failure_probability_and_rise_with_the_order(bound, n, more, failure, factor):
    assert bound(n, failure=failure) <= bound(n + more, failure=failure) * (1 + rounding(1000))
    assert bound(n, failure=failure) <= bound(n, failure=factor * failure) * (1 + rounding(1000))
    assert bound(n, failure=failure) >= 1 - rounding(1000)
    assert bound(n, failure=failure) <= math.sqrt(n)


@given(m=st.integers(1, 5000), n=st.integers(1, 5000), failure=failures, factor=st.floats(1e-3, 1))
def test_weight_bound_is_symmetric_and_monotone(m, n, failure, factor):
    value = hadamard_weight_incoherence_bound(m, n, failure=failure)
    assert value == hadamard_weight_incoherence_bound(n, m, failure=failure)
    assert value <= hadamard_weight_incoherence_bound(m, n, failure=factor * failure) * (1 + rounding(4))
    assert value <= hadamard_weight_incoherence_bound(m + 1, n, failure=failure)
    assert value <= math.sqrt(m * n)
    # two one-sided bounds √(2 ln(4mn/δ)) multiplied; equal to the Hessian's squared where 4mn is 2n², but for the caps √(mn) and √n
    if math.sqrt(2) * n >= 2 * math.log(8 * n**2 / failure):
        both = hadamard_weight_incoherence_bound(n, 2 * n, failure=failure)
        assert both == pytest.approx(hadamard_incoherence_bound(2 * n, failure=failure) ** 2, rel=rounding(10))


@bounds
@pytest.mark.parametrize("failure", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
def test_a_failure_probability_is_refused(bound, failure):
    with pytest.raises(ValueError, match=r"failure probability .* strictly between 0 and 1"):
        bound(16, failure=failure)
    with pytest.raises(ValueError, match="failure probability"):
        hadamard_weight_incoherence_bound(16, 16, failure=failure)


def test_hadamard_bounds_are_no_larger_than_anything_can_be():
    """μ_H ≤ √n and μ_W ≤ √(mn): they were 2.7 at n = 1, and 1401 for 64 × 64 weights at a failure probability of 1e-300."""
    assert hadamard_incoherence_bound(1, failure=0.05) == 1
    assert hadamard_weight_incoherence_bound(64, 64, failure=1e-300) == 64
    assert hadamard_incoherence_bound(2**20, failure=1e-300) == pytest.approx(math.sqrt(2 * (41 * math.log(2) + 300 * math.log(10))))


@given(st.integers(200, 10_000), failures)
def test_hadamard_bound_is_the_union_of_its_tail(n, failure):
    """n² times the probability that one entry exceeds μ/√n is δ, where the bound is below √n."""
    mu = hadamard_incoherence_bound(n, failure=failure)
    assert n**2 * hadamard_tail_probability(mu / math.sqrt(n), n) == pytest.approx(failure, rel=rounding(20, condition=mu**2))


@given(st.integers(1, 12), generators(), st.floats(0, 1))
def test_hadamard_tail_against_all_signs(n, generator, threshold):
    """P(|Σ ±x_i|/√n ≥ a) over all 2^n signs, counted."""
    x = generator.standard_normal(n)
    x /= np.linalg.norm(x)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    exact = float((np.abs(signs @ x) / math.sqrt(n) >= threshold).mean())
    assert exact <= hadamard_tail_probability(threshold, n) * (1 + rounding(10))


def test_hadamard_tail_limits():
    assert hadamard_tail_probability(0.0, 100) == 1.0
    assert hadamard_tail_probability(1e3, 100) == 0.0
    assert hadamard_tail_probability(2.0, 4) == pytest.approx(2 * math.exp(-8), rel=rounding(4))


@given(st.integers(2, 3000), st.floats(1e-12, 0.999))
@example(2, 0.5)
def test_haar_bound_by_the_law_of_an_entry(n, failure):
    """n² P(Q_11² ≥ μ²/n) = δ, Q_11² of a Beta(½, (n−1)/2) distribution, by scipy's survival function; for n = 2, Q_11 is a cosine."""
    mu = haar_incoherence_bound(n, failure=failure)
    tail = float(scipy.stats.beta.sf(mu**2 / n, 0.5, (n - 1) / 2))
    # near 1 the distribution's tail is (1−x)^{(n−1)/2}: what is rounded is 1 − x
    room = 1 - mu**2 / n
    if room > 1e-6:
        assert n**2 * tail == pytest.approx(failure, rel=rounding(200, condition=n / room))
    assert mu == pytest.approx(math.sqrt(n * float(scipy.stats.beta.isf(failure / n**2, 0.5, (n - 1) / 2))), rel=1e-7)
    cosine = math.sqrt(2) * math.cos(math.pi / 2 * failure / 4)
    assert haar_incoherence_bound(2, failure=failure) == pytest.approx(cosine, rel=rounding(100))


def test_haar_bound_limits():
    """1 for one column; below the normal distribution's √2 erfc⁻¹(δ/n²), which it approaches with n."""
    assert haar_incoherence_bound(1, failure=0.3) == 1.0
    normal = [float(scipy.stats.norm.isf(0.01 / n**2 / 2)) for n in (64, 1024, 2**20)]
    exact = [haar_incoherence_bound(n, failure=0.01) for n in (64, 1024, 2**20)]
    assert (np.array(exact) < normal).all()
    # the tail of the beta distribution is that of a normal distribution whose exponent μ²/2 has lost μ⁴/4n
    for n, a, b in zip((1024, 2**20), exact[1:], normal[1:], strict=True):
        assert a == pytest.approx(b, rel=b**2 / n)
    # Hadamard's sub-Gaussian bound has no such prefactor, and is the larger
    assert exact[1] < hadamard_incoherence_bound(1024, failure=0.01)


@given(st.integers(1, 10**6), failures)
def test_kronecker_bound_solves_its_own_equation(n, failure):
    """√s e^{(1−s)/2} = δ/(2n²), unless √n is smaller."""
    s = kronecker_incoherence_bound(n, failure=failure)
    if s < math.sqrt(n):
        assert s > 1
        # in logarithms, as the left side is exponential in s
        assert 0.5 * math.log(s) + (1 - s) / 2 == pytest.approx(math.log(failure / (2 * n**2)), rel=rounding(60))
    else:
        assert s == math.sqrt(n)
        assert 0.25 * math.log(n) + (1 - math.sqrt(n)) / 2 >= math.log(failure / (2 * n**2)) - rounding(100)


def test_kronecker_bound_survives_a_vanishing_failure_probability():
    assert kronecker_incoherence_bound(10**6, failure=1e-300) == 1000.0
    assert haar_incoherence_bound(10**4, failure=1e-300) < 100.0


@given(st.floats(1, 20))
def test_chernoff_for_one_degree_of_freedom(s):
    """P(χ²₁ ≥ s) ≤ √s e^{(1−s)/2} for s ≥ 1, on which the Kronecker bound rests."""
    assert float(scipy.stats.chi2.sf(s, 1)) <= math.sqrt(s) * math.exp((1 - s) / 2)


@pytest.mark.parametrize(
    ("kind", "n", "bound"),
    [
        ("hadamard", 8, hadamard_incoherence_bound),
        ("haar", 4, haar_incoherence_bound),
        ("haar", 8, haar_incoherence_bound),
        ("kronecker", 8, kronecker_incoherence_bound),
        ("kronecker", 256, kronecker_incoherence_bound),
    ],
)
@pytest.mark.parametrize("failure", [0.1, 0.5])
def test_bounds_fail_no_more_often_than_they_say(kind, n, bound, failure):
    """Of many rotations of fixed eigenvectors, at most a share δ has μ above the bound, to four standard errors of a binomial."""
    rng = np.random.default_rng(3)
    draws = 1500 if n < 100 else 60
    limit = bound(n, failure=failure) * (1 + rounding(20))
    starts = [np.eye(n), haar_matrix(n, int(rng.integers(2**63)))]
    above = sum(math.sqrt(n) * float(np.abs(rotate(starts[k % 2], drawn(kind, n, rng))).max()) > limit for k in range(draws))
    assert above / draws <= failure + STANDARD_ERRORS * math.sqrt(failure * (1 - failure) / draws)


def test_haar_bound_is_nearly_met():
    """The entries exceed it one at a time, so the union loses little: at δ = 0.1 between half of δ and all of it."""
    n, draws, failure = 6, 4000, 0.1
    limit = haar_incoherence_bound(n, failure=failure)
    above = np.mean([math.sqrt(n) * float(np.abs(haar_matrix(n, seed)).max()) > limit for seed in range(draws)])
    band = STANDARD_ERRORS * math.sqrt(failure * (1 - failure) / draws)
    assert failure / 2 - band <= above <= failure + band


@pytest.mark.parametrize("failure", [0.1, 0.5])
def test_weight_bound_fails_no_more_often_than_it_says(failure):
    """Randomized Hadamard rotations on both sides of the worst start, a single entry, and of a random one."""
    rng = np.random.default_rng(5)
    m, n, draws = 8, 16, 400
    spike = np.zeros((m, n))
    spike[3, 5] = 1.0
    outer = np.outer(rng.standard_normal(m), rng.standard_normal(n))
    limit = hadamard_weight_incoherence_bound(m, n, failure=failure)
    above = 0
    for k in range(draws):
        both = rotate(
            rotate((spike, outer)[k % 2], drawn("hadamard", n, rng)).T,
            drawn("hadamard", m, rng),
        )
        above += weight_incoherence(both) > limit
    assert above / draws <= failure + STANDARD_ERRORS * math.sqrt(failure * (1 - failure) / draws)


def test_measured_examples_of_a_thousand_columns():
    """Eigenvectors along the axes, n = 1024: μ 32 → 1 (Hadamard), printed 9.98 (Kronecker of 32 × 32), 4.85 (Haar)."""
    n = 1024
    rng = np.random.default_rng(6)
    axes = np.eye(n)
    assert math.sqrt(n) * np.abs(axes).max() == 32
    hadamard = math.sqrt(n) * float(np.abs(rotate(axes, drawn("hadamard", n, rng))).max())
    assert hadamard == pytest.approx(1.0, rel=rounding(n))
    # the largest entry of A ⊗ B is the product of the largest of A and of B
    kronecker = []
    for _ in range(30):
        left, right = kronecker_factors(n, int(rng.integers(2**63)))
        kronecker.append(math.sqrt(n) * float(np.abs(left).max() * np.abs(right).max()))
    assert abs(9.98 - np.mean(kronecker)) <= STANDARD_ERRORS * np.std(kronecker, ddof=1)
    assert max(kronecker) < kronecker_incoherence_bound(n, failure=0.01)
    one = drawn("kronecker", n, rng)
    left, right = kronecker_factors(n, one.seed)
    assert np.abs(rotate(axes, one)).max() == pytest.approx(np.abs(left).max() * np.abs(right).max(), rel=rounding(n))
    assert 4.3 < math.sqrt(n) * float(np.abs(haar_matrix(n, int(rng.integers(2**63)))).max()) < haar_incoherence_bound(n, failure=0.01)


def test_random_weights_stay_random_and_outliers_are_spread():
    """Printed for 1024 × 1024: Gaussian W 5.44 → about 4.8; one column times 30 and an entry of 200 deviations 146 → 5.30."""
    rng = np.random.default_rng(7)
    W = rng.standard_normal((1024, 1024))

    def both(weight):
        once = rotate(weight, drawn("hadamard", 1024, rng))
        return weight_incoherence(rotate(np.ascontiguousarray(once.T), drawn("hadamard", 1024, rng)))

    # the largest of 2^20 normal magnitudes: median 4.96, and a thousand draws in a thousand lie within these quantiles
    low, high = (float(scipy.stats.norm.isf((1 - q ** (1 / 2**20)) / 2)) for q in (3e-5, 1 - 3e-5))
    for mu in (weight_incoherence(W), both(W)):
        assert low - 0.01 <= mu <= high + 0.01
    W[:, 7] *= 30
    W[11, 13] = 200
    assert weight_incoherence(W) == pytest.approx(146, rel=0.02)
    assert both(W) < 1.2 * high
    assert both(W) < hadamard_weight_incoherence_bound(1024, 1024, failure=0.01) / 6


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(1e-12, 0.5), st.floats(1.1, 10))
def test_weight_bounds_after_haar_and_kronecker_rotations(m, n, failure, factor):
    """√s e^{(1−s)/2} = δ/(2mn) or δ/(4mn), s or s² capped at √(mn): equal in m and n, rising with both, falling with δ."""
    for bound, union, power in ((haar_weight_incoherence_bound, 2, 1), (kronecker_weight_incoherence_bound, 4, 2)):
        value = bound(m, n, failure=failure)
        assert 1 <= value <= math.sqrt(m * n)
        assert value == bound(n, m, failure=failure)
        assert value <= bound(2 * m, n, failure=failure)
        assert value >= bound(m, n, failure=min(factor * failure, 0.99))
        if value < math.sqrt(m * n):
            s = value ** (1 / power)
            assert 0.5 * math.log(s) + (1 - s) / 2 == pytest.approx(math.log(failure / (union * m * n)), rel=1e-9)


@pytest.mark.parametrize("kind", ["haar", "kronecker"])
def test_weight_bounds_fail_no_more_often_than_they_say(kind, rng):
    """At δ = ½ on the worst start, one entry: of 200 draws no more than a binomial's 1e-4 quantile pass the bound."""
    bound = {"haar": haar_weight_incoherence_bound, "kronecker": kronecker_weight_incoherence_bound}[kind](16, 24, failure=0.5)
    W = np.zeros((16, 24))
    W[3, 5] = 1.0
    passed = 0
    for _ in range(200):
        right, left = drawn(kind, 24, rng), drawn(kind, 16, rng)
        passed += weight_incoherence(rotate(np.ascontiguousarray(rotate(W, right).T), left)) > bound
    assert passed <= scipy.stats.binom.ppf(1 - 1e-4, 200, 0.5)
