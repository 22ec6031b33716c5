from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tolerances import EPS, STANDARD_ERRORS, rounding

from rdtools.moments.spectrum import compute_spectrum
from rdtools.records import Spectrum
from rdtools.testing import generators, second_moments
from rdtools.theory.high_rate import bound_rate_bits
from rdtools.theory.shannon import EntropyEstimate, differential_entropy, negentropy_bits, shannon_lower_bound_bits
from rdtools.units import SCALAR_LOSS_BITS

#: Two-sided confidence of a band of STANDARD_ERRORS.
CONFIDENCE = 1 - 2 * float(scipy.stats.norm.sf(STANDARD_ERRORS))
NORMAL_BITS = 0.5 * math.log2(2 * math.pi * math.e)


def _mixture_bits():
    """Entropy of half N(0, 1), half N(0, 0.2²), by adaptive quadrature."""

    def term(x):
        f = 0.5 * (scipy.stats.norm.pdf(x) + scipy.stats.norm.pdf(x, scale=0.2))
        return -f * math.log2(f) if f > 0 else 0.0

    return 2 * sum(scipy.integrate.quad(term, a, b, epsabs=1e-12)[0] for a, b in [(0, 0.2), (0.2, 1), (1, 5), (5, 30)])


LAWS = {
    "normal": (lambda rng, n: rng.standard_normal(n), NORMAL_BITS),
    "laplace": (lambda rng, n: rng.laplace(size=n), math.log2(2 * math.e)),
    "uniform": (lambda rng, n: rng.random(n), 0.0),
    "student": (lambda rng, n: rng.standard_t(5, n), float(scipy.stats.t(5).entropy()) / math.log(2)),
    "mixture": (lambda rng, n: rng.standard_normal(n) * rng.choice([1.0, 0.2], n), _mixture_bits()),
    "cauchy": (lambda rng, n: rng.standard_cauchy(n), math.log2(4 * math.pi)),
    "pole": (lambda rng, n: rng.gamma(0.5, size=n), float(scipy.stats.gamma(0.5).entropy()) / math.log(2)),
}


def _bfloat16(x):
    """Nearest, ties to even, by the bits of float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) & np.uint32(0xFFFF0000)).view(np.float32)


FORMATS = {"float64": lambda x: x, "float16": lambda x: x.astype(np.float16), "bfloat16": _bfloat16}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("size", [300, 10_000, 1_000_000])
def test_closed_forms_lie_in_the_interval(name, size):
    draw, expected = LAWS[name]
    low, high = differential_entropy(draw(np.random.default_rng(size), size)).interval(CONFIDENCE)
    assert low <= expected <= high


@pytest.mark.parametrize("name", [law for law in LAWS if law != "pole"])
@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_rounded_samples_have_the_same_entropy(name, storage, size):
    """Spacings of 2^−8 of a value repeat most values a thousand times; the estimate hardly moves."""
    draw, expected = LAWS[name]
    samples = draw(np.random.default_rng(size), size)
    if storage == "float16":
        samples = np.clip(samples, -6e4, 6e4)
    rounded = differential_entropy(FORMATS[storage](samples))
    low, high = rounded.interval(CONFIDENCE)
    assert low <= expected <= high
    plain = differential_entropy(samples)
    # the same samples: what rounding adds is what the bounds on bias are for, and a change of cells, below a standard error
    slack = rounded.bias_bound_bits + plain.bias_bound_bits + rounded.stderr_bits
    assert rounded.entropy_bits == pytest.approx(plain.entropy_bits, abs=slack)


@pytest.mark.parametrize("storage", FORMATS)
def test_over_many_draws_the_bias_is_below_its_bound_and_the_spread_is_the_standard_error(storage):
    draw, expected = LAWS["student"]
    estimates = [differential_entropy(FORMATS[storage](draw(np.random.default_rng(k), 20_000))) for k in range(200)]
    errors = np.array([e.entropy_bits for e in estimates]) - expected
    stderr = np.mean([e.stderr_bits for e in estimates])
    bound = np.mean([e.bias_bound_bits for e in estimates])
    assert abs(errors.mean()) < bound + STANDARD_ERRORS * stderr / math.sqrt(200)
    # the deviation of 200 normal errors is known to 1/√400 of itself
    assert errors.std() == pytest.approx(stderr, rel=STANDARD_ERRORS / math.sqrt(400))


def test_error_falls_as_the_root_of_the_sample():
    draw, _ = LAWS["laplace"]
    small, large = (differential_entropy(draw(np.random.default_rng(1), size)) for size in (10_000, 1_000_000))
    # Var ln f = 1 for this distribution; its estimate is itself noisy, by √(8/N)/2 of it
    for estimate in (small, large):
        expected = math.log2(math.e) / math.sqrt(estimate.samples)
        assert estimate.stderr_bits == pytest.approx(expected, rel=STANDARD_ERRORS * math.sqrt(2 / estimate.samples) + 0.02)
    assert large.bias_bound_bits < 0.25 * small.bias_bound_bits


def test_second_route_spacings_of_scipy():
    """Overlapping spacings of 2m = 100 without ties: their logarithm is too small by ln 2m − ψ(2m)."""
    draw, _ = LAWS["mixture"]
    samples, m = draw(np.random.default_rng(2), 50_000), 50
    ours = differential_entropy(samples)
    theirs = scipy.stats.differential_entropy(samples, base=2, method="ebrahimi", window_length=m)
    expected = float(theirs) + (math.log(2 * m) - float(scipy.special.digamma(2 * m))) * math.log2(math.e)
    # both smooth over about m samples and leave the noise of log f; the noise of spacings is 1/√(mN) nats
    slack = ours.bias_bound_bits + STANDARD_ERRORS * math.log2(math.e) / math.sqrt(m * samples.size)
    assert ours.entropy_bits == pytest.approx(expected, abs=slack)


def test_second_route_nearest_neighbours():
    """``h = mean ln(N (x_{i+1} − x_i)) + γ``: single spacings, exponential up to their sum, add noise of variance (π²/6 − 1)/N."""
    draw, _ = LAWS["student"]
    samples = draw(np.random.default_rng(9), 200_000)
    gaps = np.diff(np.sort(samples))
    expected = float(np.mean(np.log2(samples.size * gaps))) + np.euler_gamma * math.log2(math.e)
    ours = differential_entropy(samples)
    slack = ours.bias_bound_bits + STANDARD_ERRORS * math.log2(math.e) * math.sqrt((math.pi**2 / 6 - 1) / samples.size)
    assert ours.entropy_bits == pytest.approx(expected, abs=slack)


def test_second_route_histogram_of_fixed_width():
    """On bfloat16: a histogram of 0.25, some ten spacings wide, and Sheppard's term Δ²/24 · E (f'/f)² of a normal distribution."""
    samples = _bfloat16(np.random.default_rng(3).standard_normal(400_000)).astype(np.float64)
    width = 0.25
    # a bin from −w/2 + spacing cells: count by interpolating the distribution function, each value spread over its cell
    values, counts = np.unique(samples, return_counts=True)
    edges = np.concatenate([[values[0]], 0.5 * (values[1:] + values[:-1]), [values[-1]]])
    bins = np.arange(-6, 6 + width / 2, width)
    p = np.diff(np.interp(bins, edges, np.concatenate([[0], np.cumsum(counts)]) / samples.size))
    p = p[p > 0]
    plug_in = float(-(p * np.log2(p)).sum()) + math.log2(width) + (len(p) - 1) / (2 * samples.size) * math.log2(math.e)
    sheppard = width**2 / 24 * math.log2(math.e)
    estimate = differential_entropy(samples)
    # the next term of Sheppard's is of order width⁴
    assert estimate.entropy_bits == pytest.approx(plug_in - sheppard, abs=estimate.bias_bound_bits + width**4 / 100)


@given(generators(), st.integers(2, 400), st.integers(-400, 400), st.integers(-1000, 1000))
def test_scaling_adds_its_logarithm_and_shifting_nothing(rng, size, exponent, shift):
    """h(2^k (x + b)) = h(x) + k; with samples on a grid of 2^−20 the shift is exact."""
    x = np.rint(rng.standard_normal(size) * 2**20) / 2**20
    base, moved = differential_entropy(x), differential_entropy(np.ldexp(x + shift, exponent))
    assert moved.entropy_bits == pytest.approx(base.entropy_bits + exponent, abs=rounding(size) + 500 * EPS)
    assert moved.bias_bound_bits == pytest.approx(base.bias_bound_bits, abs=rounding(size))
    assert moved.stderr_bits == pytest.approx(base.stderr_bits, abs=rounding(size))


@given(generators(), st.integers(2, 400))
def test_order_and_shape_do_not_matter_and_input_is_left_alone(rng, size):
    x = rng.standard_normal((2, size))
    before = x.copy()
    a, b = differential_entropy(x), differential_entropy(rng.permutation(x.ravel()).astype(np.float64))
    assert a == b
    assert a.samples == 2 * size
    assert (x == before).all()


@given(generators(), st.integers(100, 2000), st.sampled_from(["normal", "laplace", "uniform"]))
def test_never_above_the_normal_entropy_of_the_same_variance(rng, size, name):
    """Negentropy ≥ 0 within six standard errors of h and of the sample variance, whose relative variance is at most 5/N (Laplace)."""
    x = LAWS[name][0](rng, size)
    estimate = differential_entropy(x)
    slack = 6 * (estimate.stderr_bits + 0.5 * math.log2(math.e) * math.sqrt(5 / size)) + estimate.bias_bound_bits
    assert negentropy_bits(estimate.entropy_bits, float(x.var())) > -slack


def test_extreme_scales_and_spreads():
    rng = np.random.default_rng(4)
    base = differential_entropy(rng.standard_normal(5000)).entropy_bits
    for scale in (1e-290, 1e300):
        rescaled = differential_entropy(scale * np.random.default_rng(4).standard_normal(5000)).entropy_bits
        assert rescaled == pytest.approx(base + math.log2(scale), abs=rounding(5000))
    # ln x uniform over 16 decades: h = log2 ln 1e16 + mean log2 x
    span = math.log(1e16)
    wide = differential_entropy(np.exp(span * rng.random(200_000)))
    low, high = wide.interval(CONFIDENCE)
    assert low <= math.log2(span) + 0.5 * span * math.log2(math.e) <= high
    # the two largest finite numbers do not overflow
    assert math.isfinite(differential_entropy(np.array([-1.7e308, 1.7e308])).entropy_bits)
    # neighbouring floats have a middle that is one of them
    low, high = differential_entropy(1 + EPS * rng.integers(0, 50, 4000)).interval(CONFIDENCE)
    assert low <= math.log2(50 * EPS) <= high


def test_equal_single_and_bad_samples():
    equal = differential_entropy(np.full(9, 0.3))
    assert equal == EntropyEstimate(-math.inf, 0.0, 0.0, 9, 1.0)
    assert equal.interval() == (-math.inf, -math.inf)
    assert differential_entropy(np.zeros(4)).entropy_bits == -math.inf
    for few in ([], [1.0]):
        with pytest.raises(ValueError, match="at least two"):
            differential_entropy(np.array(few))
    with pytest.raises(ValueError, match="NaN or infinite"):
        differential_entropy(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="confidence"):
        equal.interval(1.0)


def test_an_atom_shows_in_most_bounds_and_in_the_fall_with_the_sample():
    """Pruned weights have no density: the cell of zeros is as narrow as its neighbours allow, and half as wide as a pair."""
    bounds, entropies = [], []
    for size in (1_000, 100_000):
        for k in range(9):
            rng = np.random.default_rng(k)
            estimate = differential_entropy(rng.standard_normal(size) * (rng.random(size) > 0.3))
            bounds.append(estimate.bias_bound_bits)
            entropies.append(estimate.entropy_bits)
    assert np.median(bounds) > 0.3 / 2
    # cells narrow as N^{−1/3} or faster: a hundred times the samples take at least log2 100^{1/3} bits off the share of the atom
    assert np.mean(entropies[9:]) < np.mean(entropies[:9]) - 0.3 * math.log2(100) / 3


def test_few_levels_show_in_the_bound():
    """Weights that were quantized coarsely: cells cannot be cut, and pairs of them say how much that matters."""
    x = np.rint(np.random.default_rng(7).standard_normal(100_000) / 0.8) * 0.8
    estimate = differential_entropy(x)
    low, high = estimate.interval(CONFIDENCE)
    assert low <= NORMAL_BITS <= high
    assert estimate.bias_bound_bits > 10 * estimate.stderr_bits


def test_ten_million_samples_take_seconds_at_most():
    samples = np.random.default_rng(8).standard_normal(10**7, dtype=np.float32)
    began = time.process_time()
    estimate = differential_entropy(samples)
    assert time.process_time() - began < 4
    low, high = estimate.interval(CONFIDENCE)
    assert low <= NORMAL_BITS <= high
    assert estimate.bias_bound_bits < estimate.stderr_bits


def test_interval_by_hand():
    low, high = EntropyEstimate(2.0, 0.1, 0.01, 100, 0.01).interval(0.95)
    assert (low, high) == pytest.approx((2 - 0.01 - 0.1959964, 2 + 0.01 + 0.1959964), abs=1e-7)


# Entropy in bits and variance of distributions of scale 1.
NEGENTROPIES = {
    "normal": (NORMAL_BITS, 1.0, 0.0),
    "uniform": (0.0, 1 / 12, SCALAR_LOSS_BITS),
    "laplace": (math.log2(2 * math.e), 2.0, 0.5 * math.log2(math.pi / math.e)),
}


@pytest.mark.parametrize("name", NEGENTROPIES)
def test_negentropy_closed_forms(name):
    entropy, variance, expected = NEGENTROPIES[name]
    assert negentropy_bits(entropy, variance) == pytest.approx(expected, abs=rounding(10))


@given(st.floats(2.1, 200), st.floats(-30, 30))
def test_negentropy_is_positive_and_scale_free(freedom, exponent):
    law = scipy.stats.t(freedom)
    entropy, variance = float(law.entropy()) / math.log(2), float(law.var())
    base = negentropy_bits(entropy, variance)
    assert base > 0
    assert negentropy_bits(entropy + exponent, variance * 4.0**exponent) == pytest.approx(base, abs=rounding(60))


def test_negentropy_limits():
    assert negentropy_bits(-math.inf, 0.0) == 0
    assert negentropy_bits(-math.inf, 1.0) == math.inf
    # a Student distribution of many degrees of freedom is normal: kurtosis 6/ν, negentropy κ²/48 nats
    law = scipy.stats.t(1e4)
    assert negentropy_bits(float(law.entropy()) / math.log(2), float(law.var())) == pytest.approx(0, abs=1e-7)
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="negentropy"):
            negentropy_bits(1.0, bad)


@given(second_moments(max_condition=1e6), st.floats(1e-12, 1e3), st.floats(1e-6, 1e6))
def test_for_normal_weights_it_is_the_limit_at_high_rate(H, distortion, variance):
    s = compute_spectrum(H)
    entropy = NORMAL_BITS + 0.5 * math.log2(variance)
    # three logarithms of magnitude at most 60
    assert shannon_lower_bound_bits(s, distortion, entropy) == pytest.approx(bound_rate_bits(s, distortion, variance), abs=rounding(200))


@given(second_moments(max_condition=1e6), st.floats(1e-9, 10), st.floats(-5, 5))
def test_falls_with_distortion_and_rises_with_entropy(H, distortion, entropy):
    s = compute_spectrum(H)
    base = shannon_lower_bound_bits(s, distortion, entropy)
    assert shannon_lower_bound_bits(s, 4 * distortion, entropy) == pytest.approx(base - 1, abs=rounding(100))
    assert shannon_lower_bound_bits(s, distortion, entropy + 1) == pytest.approx(base + 1, abs=rounding(100))
    scaled = compute_spectrum(4 * H)
    assert shannon_lower_bound_bits(scaled, 4 * distortion, entropy) == pytest.approx(base, abs=rounding(100))


def test_dead_columns_singular_and_empty():
    active = Spectrum(np.array([2.0, 1.0]), np.sqrt([2.0, 1.0]), np.array([2.0, 1.0]), columns=2, rank=2)
    padded = Spectrum(active.eigenvalues, active.cholesky_diagonal, active.diagonal, columns=4, rank=2)
    expected = 0.5 * shannon_lower_bound_bits(active, 0.02, 1.5)
    assert shannon_lower_bound_bits(padded, 0.01, 1.5) == pytest.approx(expected, rel=rounding(20))
    singular = Spectrum(np.array([1.0, 0.0]), np.ones(2), np.ones(2), columns=2, rank=1)
    nothing = np.zeros(0)
    assert shannon_lower_bound_bits(singular, 0.1, 2.0) == shannon_lower_bound_bits(singular, 0.0, 2.0) == -math.inf
    assert shannon_lower_bound_bits(active, 0.1, -math.inf) == -math.inf
    assert shannon_lower_bound_bits(active, 0.0, 2.0) == math.inf
    assert shannon_lower_bound_bits(active, math.inf, 2.0) == -math.inf
    assert shannon_lower_bound_bits(Spectrum(nothing, nothing, nothing, columns=3, rank=0), 0.1, 2.0) == 0
    for bad in (-0.1, math.nan):
        with pytest.raises(ValueError, match="distortion"):
            shannon_lower_bound_bits(active, bad, 2.0)


def test_columns_sixteen_decades_apart():
    s = compute_spectrum(np.diag([1.0, 1e-16, 1e-8]))
    assert s.rank == 3
    expected = 1.0 + 0.5 * (math.log2(1e-8) - math.log2(2 * math.pi * math.e * 1e-20))
    assert shannon_lower_bound_bits(s, 1e-20, 1.0) == pytest.approx(expected, rel=rounding(20))


def _rounded_laplace(step):
    """Entropy in bits and squared error of rint(x/Δ) Δ, from the distribution function and a fine grid of one cell."""
    law = scipy.stats.laplace()
    k = np.arange(1, math.ceil(45 / step))
    p = law.sf((k - 0.5) * step) - law.sf((k + 0.5) * step)
    p = np.concatenate([p, p, [1 - 2 * law.sf(0.5 * step)]])
    p = p[p > 0]
    u = (np.arange(4000) + 0.5) / 4000 * step
    folded = sum(np.exp(-(j * step + u)) for j in range(math.ceil(45 / step)))
    return float(-(p * np.log2(p)).sum()), float((folded * np.minimum(u, step - u) ** 2).sum()) * step / 4000


@pytest.mark.parametrize("step", [0.02, 0.1, 0.5, 1.0, 2.0, 4.0])
def test_scalar_quantizers_of_laplace_weights_stay_above_it_and_reach_it_but_for_their_cell(step):
    """Second route: rounding of two columns of unequal energy at steps Δ/√H_ii, exactly; 0.2546 bit above the bound as Δ → 0."""
    scales = np.array([3.0, 0.5])
    rates, errors = np.transpose([_rounded_laplace(step / c) for c in scales])
    distortion = float(np.mean(scales**2 * errors))
    gap = rates.mean() - shannon_lower_bound_bits(compute_spectrum(np.diag(scales**2)), distortion, math.log2(2 * math.e))
    assert gap > 0
    if step <= 0.1:
        # E (f'/f)² = 1: a coarser density adds Δ²/24 nats to the entropy, and the noise of a cell changes by a share of the same order
        assert gap == pytest.approx(SCALAR_LOSS_BITS, abs=(step / scales.min()) ** 2 / 4)


@pytest.mark.parametrize(("zeros", "share"), [(0, 1e-4), (2500, 0.25)])
def test_an_atom_is_seen(zeros, share, rng):
    samples = rng.standard_normal(10_000)
    samples[:zeros] = 0.0
    assert differential_entropy(samples).largest_share == share
