from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from tolerances import STANDARD_ERRORS, rounding

from rdtools.testing import spectra
from rdtools.theory.allocation import marginal_gain_db
from rdtools.theory.critical_channels import critical_groups, critical_share, relaxed_distortion, two_level_allocation
from rdtools.theory.vector_code_rate import vector_code_rate
from rdtools.theory.waterfilling import distortion_rate

fractions = st.floats(0, 1)


@given(st.integers(1, 20_000), st.integers(0, 1000), st.integers(1, 16))
@example(800, 290, 8)
def test_groups_are_rounded_down_exactly(columns, thousandths, group):
    """⌊λ n/g⌋ in rational arithmetic, where floating point has 0.29 · 800/8 = 28.999…"""
    assert critical_groups(columns, thousandths / 1000, group=group) == (thousandths * columns) // (1000 * group)


def test_groups_of_known_layers():
    assert [critical_groups(n, 0.02) for n in (4096, 5120, 768, 3072, 256)] == [10, 12, 1, 7, 0]
    assert (critical_groups(64, 1.0), critical_groups(64, 0.0)) == (8, 0)


def test_share_by_hand():
    h = [1.0, 0.0, 6.0, 3.0]
    assert [critical_share(h, f) for f in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([0, 0.6, 0.9, 1, 1], rel=rounding(4))
    assert critical_share(h, 0.125) == pytest.approx(0.3, rel=rounding(4))


@given(spectra(), fractions, fractions, st.floats(1e-3, 1e3), st.randoms())
def test_share_is_a_concentration_curve(diagonal, a, b, scale, random):
    """φ(λ) ≥ λ, monotone, concave, blind to scale and order; λ of a flat diagonal."""
    n = len(diagonal)
    phi = critical_share(diagonal, a)
    assert min(a, 1.0) * (1 - rounding(4 * n)) <= phi <= 1
    low, middle, high = (critical_share(diagonal, f) for f in (min(a, b), (a + b) / 2, max(a, b)))
    assert low <= high * (1 + rounding(4 * n))
    assert middle >= (low + high) / 2 - rounding(4 * n)
    shuffled = list(scale * diagonal)
    random.shuffle(shuffled)
    assert critical_share(shuffled, a) == pytest.approx(phi, rel=rounding(4 * n), abs=rounding(4 * n))
    assert critical_share(np.full(n, scale), a) == pytest.approx(a, abs=rounding(4 * n))


@given(spectra(max_size=10), st.integers(0, 10))
def test_share_is_the_largest_of_any_set(diagonal, count):
    """Second route: the greatest sum over subsets of that size is the sum of the largest."""
    count = min(count, len(diagonal), 4)
    best = max(sum(c) for c in combinations(diagonal.tolist(), count)) / diagonal.sum()
    assert critical_share(diagonal, count / len(diagonal)) == pytest.approx(best, rel=rounding(100), abs=rounding(100))


def test_share_of_a_zero_diagonal_and_of_one_channel():
    assert critical_share(np.zeros(4), 0.3) == 0.3
    assert critical_share([5.0], 0.4) == pytest.approx(0.4, rel=rounding(2))


@given(spectra(), fractions, st.floats(0, 1), st.floats(0, 1), st.floats(0, 100))
@example(np.array([1.77827941]), 0.375, 0.375, 0.0, 5e-324)
def test_relaxed_distortion_interpolates(diagonal, fraction, a, b, variance):
    """c_b tr(H) σ²/n at λ = 0, c_e tr(H) σ²/n at λ = 1, the printed ratio in between."""
    extended, basic = sorted((a, b))
    whole = variance * diagonal.mean()
    # products below the normal range are rounded to multiples of 2^−1074, a few times over
    slack = rounding(4 * len(diagonal)) * whole + 8 * len(diagonal) * 2.0**-1074
    settings = {"basic": basic, "extended": extended, "variance": variance}
    start, end = (relaxed_distortion(diagonal, f, **settings) for f in (0.0, 1.0))
    assert start == pytest.approx(basic * whole, abs=slack)
    assert end == pytest.approx(extended * whole, abs=slack)
    found = relaxed_distortion(diagonal, fraction, **settings)
    assert end - slack <= found <= start + slack
    # not better than relaxing channels at random
    assert found <= (1 - fraction) * start + fraction * end + slack
    if basic > 1e-3:
        assert found == pytest.approx(start * (1 - (1 - extended / basic) * critical_share(diagonal, fraction)), abs=slack)


def test_relaxed_distortion_of_a_flat_diagonal():
    found = relaxed_distortion(np.full(64, 3.0), 0.25, basic=0.3, extended=0.1, variance=2.0)
    assert found == pytest.approx(6 * (0.75 * 0.3 + 0.25 * 0.1), rel=rounding(100))


def lognormal_layer(seed, n=512, m=1024):
    rng = np.random.default_rng(seed)
    return np.sort(rng.lognormal(0, 1, n))[::-1], rng.standard_normal((m, n)), rng


def assert_relaxed(squares, h, fraction, basic, extended):
    """Mean of Σ_j h_j e_kj² over rows against the formula, within standard errors over rows and those of the constants."""
    rows = squares @ h / len(h)
    predicted = relaxed_distortion(h, fraction, basic=basic, extended=extended)
    assert rows.mean() == pytest.approx(predicted, abs=STANDARD_ERRORS * math.sqrt(2 * rows.var() / len(rows)))


@pytest.mark.parametrize("count", [0, 8, 40, 512])
def test_relaxed_distortion_by_simulation_with_scalar_codes(count):
    """Lloyd–Max on one bit, and one more bit for the residual in the critical channels.

    With a = √(2/π): c_b = 1 − a², and the residual's two words are ±E|r|, E|r| = 4 (φ(a) − a Q(a)), so that c_e = c_b − (E|r|)².
    """
    h, W, _ = lognormal_layer(0)
    a = math.sqrt(2 / math.pi)
    second = 4 * (norm.pdf(a) - a * norm.sf(a))
    basic = 1 - a * a
    residual = W - a * np.sign(W)
    residual[:, :count] -= second * np.sign(residual[:, :count])
    assert_relaxed(residual**2, h, count / 512, basic, basic - second**2)


def nearest(x, words):
    return words[np.argmin(np.sum(words**2, axis=1) - 2 * x @ words.T, axis=1)]


def k_means(x, words, rounds=25):
    for _ in range(rounds):
        label = np.argmin(np.sum(words**2, axis=1) - 2 * x @ words.T, axis=1)
        sums = np.zeros_like(words)
        np.add.at(sums, label, x)
        counts = np.bincount(label, minlength=len(words))
        words = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], words)
    return words


def test_relaxed_distortion_by_simulation_with_vector_codes():
    """Two stages of 16 words in 4 dimensions, trained apart; errors 0.342 at one bit, as such codes have, and about 0.12 at two."""
    h, W, rng = lognormal_layer(1)
    sample = rng.standard_normal((20_000, 4))
    first = k_means(sample, sample[:16])
    left = sample - nearest(sample, first)
    second = k_means(left, left[:16])

    def residuals(vectors):
        one = vectors - nearest(vectors, first)
        return one, one - nearest(one, second)

    basic, extended = (float(np.mean(r**2)) for r in residuals(rng.standard_normal((100_000, 4))))
    assert basic == pytest.approx(0.342, rel=0.02)
    assert 4.0**-2 < extended < basic**2 * 1.1
    one, two = (r.reshape(W.shape) ** 2 for r in residuals(W.reshape(-1, 4)))
    for count in (0, 8, 64):
        squares = np.concatenate([two[:, :count], one[:, count:]], axis=1)
        assert_relaxed(squares, h, count / 512, basic, extended)


def test_examples_of_a_lognormal_diagonal():
    """Of 4096 channels 80 at four bits, the others at one: 0.217, beside 0.142 by waterfilling and 0.2305 at an equal rate of 1.0586 bits.

    The share depends on the draw: 0.1357 here, Φ(1 − z) = 0.1438 in the limit, z the quantile of the others, and then 0.2146.
    """
    h = np.random.default_rng(0).lognormal(0, 1, 4096)
    h /= h.mean()
    fraction = 80 / 4096
    rate = 1 + 3 * fraction
    given_rates = relaxed_distortion(h, fraction, basic=4.0**-1, extended=4.0**-4)
    bound = float(distortion_rate(rate, h).distortion)
    assert (round(given_rates, 3), round(bound, 3), round(4.0**-rate, 4)) == (0.217, 0.142, 0.2305)
    limit = norm.cdf(1 - norm.ppf(1 - fraction))
    # a sum of 80 of 4096 terms; its spread was taken from 20 other draws
    assert critical_share(h, fraction) == pytest.approx(limit, abs=STANDARD_ERRORS * 0.0073)
    best = two_level_allocation(h, fraction, rate)
    assert bound < best.distortion < given_rates
    # the best two rates for these channels are not 4 and 1: with a larger rate for the others there is less in the critical ones
    assert best.critical_rate_bits < 4
    assert best.basic_rate_bits > 1


def test_two_levels_by_hand():
    """16 and 1 in equal parts: R_c − R_b = 2 from R = 1 on, all to the critical part below."""
    high, low = two_level_allocation([16.0, 1.0], 0.5, 3.0), two_level_allocation([16.0, 1.0], 0.5, 0.5)
    assert high.critical_rate_bits - high.basic_rate_bits == pytest.approx(2, abs=rounding(10))
    assert high.distortion == pytest.approx(4.0 * 4.0**-3, rel=rounding(10))
    assert (low.critical_rate_bits, low.basic_rate_bits) == (pytest.approx(1, abs=rounding(10)), 0)
    assert low.distortion == pytest.approx((16 / 4 + 1) / 2, rel=rounding(10))


@given(spectra(min_size=2), fractions, st.floats(0, 8))
@example(np.full(2, 10**0.5), 5e-324, 1.0)
def test_two_levels_lie_between_waterfilling_and_one_rate(diagonal, fraction, rate):
    """Joining channels into two parts at their means raises D(R); any split is at least as good as none."""
    best = two_level_allocation(diagonal, fraction, rate)
    slack = 1 + rounding(100 * len(diagonal))
    assert best.distortion * slack >= float(distortion_rate(rate, diagonal).distortion)
    assert best.distortion <= diagonal.mean() * 4.0**-rate * slack
    assert best.critical_rate_bits * slack + rounding(100 * len(diagonal)) >= best.basic_rate_bits
    # the rates spend the budget and give the distortion
    spent = fraction * best.critical_rate_bits + (1 - fraction) * best.basic_rate_bits
    assert spent == pytest.approx(rate, abs=rounding(1000 * len(diagonal)))
    phi = critical_share(diagonal, fraction)
    again = diagonal.mean() * (phi * 4.0**-best.critical_rate_bits + (1 - phi) * 4.0**-best.basic_rate_bits)
    # 1 − φ is good to rounding of φ, and the same in both
    assert best.distortion == pytest.approx(again, rel=rounding(1000 * len(diagonal)), abs=rounding(10) * diagonal.mean())


@given(st.integers(1, 6), st.integers(1, 6), st.floats(1, 1e4), st.floats(0, 8))
def test_two_levels_are_waterfilling_where_the_diagonal_has_two(high, low, ratio, rate):
    diagonal = np.concatenate([np.full(high, ratio), np.ones(low)])
    best = two_level_allocation(diagonal, high / (high + low), rate)
    # a fraction that is off by rounding mixes the parts by as much
    expected = float(distortion_rate(rate, diagonal).distortion)
    assert best.distortion == pytest.approx(expected, rel=rounding(1000), abs=rounding(20) * diagonal.mean())


@given(spectra(min_size=2, max_condition=1e3), st.floats(0.02, 0.98), st.floats(0.1, 5))
def test_two_rates_by_minimization(diagonal, fraction, rate):
    """Second route: minimize over R_c on a line, R_b from the budget."""
    phi = critical_share(diagonal, fraction)

    def loss(critical):
        return phi * 4.0**-critical + (1 - phi) * 4.0 ** -((rate - fraction * critical) / (1 - fraction))

    found = minimize_scalar(loss, bounds=(0, rate / fraction), method="bounded", options={"xatol": 1e-9 * rate / fraction, "maxiter": 500})
    numeric = min(found.fun, loss(rate / fraction), loss(0.0)) * diagonal.mean()
    exact = two_level_allocation(diagonal, fraction, rate).distortion
    assert exact <= numeric * (1 + rounding(1000))
    # a minimum found to about √eps of its range, along which the loss changes by the square
    assert numeric == pytest.approx(exact, rel=1e-9)


def test_two_levels_at_the_ends():
    h = np.array([4.0, 2.0, 1.0])
    for fraction in (0.0, 1.0):
        best = two_level_allocation(h, fraction, 1.5)
        assert best.critical_rate_bits == best.basic_rate_bits == pytest.approx(1.5, abs=rounding(10))
        assert best.distortion == pytest.approx(h.mean() / 8, rel=rounding(10))
    nothing = two_level_allocation(h, 1 / 3, 0.0)
    assert (nothing.critical_rate_bits, nothing.basic_rate_bits) == (0, 0)
    assert nothing.distortion == pytest.approx(h.mean(), rel=rounding(10))
    endless = two_level_allocation(h, 1 / 3, math.inf)
    assert (endless.critical_rate_bits, endless.distortion) == (math.inf, 0)
    assert two_level_allocation(np.zeros(3), 1 / 3, 1.0).distortion == 0


def test_bad_arguments_are_refused():
    for diagonal in ([], [-1.0], [math.nan], [[1.0]]):
        with pytest.raises(ValueError, match="diagonal"):
            critical_share(diagonal, 0.5)
    for fraction in (-0.1, 1.1, math.nan):
        for call in (
            lambda f: critical_share([1.0], f),
            lambda f: critical_groups(8, f),
            lambda f: two_level_allocation([1.0], f, 1.0),
            lambda f: relaxed_distortion([1.0], f, basic=1.0, extended=0.5),
        ):
            with pytest.raises(ValueError, match="fraction"):
                call(fraction)
    with pytest.raises(ValueError, match="columns"):
        critical_groups(0, 0.5)
    with pytest.raises(ValueError, match="errors"):
        relaxed_distortion([1.0], 0.5, basic=-1.0, extended=0.5)
    with pytest.raises(ValueError, match="rate"):
        two_level_allocation([1.0], 0.5, -1.0)
    for bad in ((0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan)):
        with pytest.raises(ValueError, match="marginal"):
            marginal_gain_db(*bad)
    for settings in ({"rows": 0}, {"codebook_bits": ()}, {"codebook_bits": (-1,)}, {"columns": 12}, {"float_bits": math.nan}):
        with pytest.raises(ValueError, match="vector code"):
            vector_code_rate(**{"rows": 1, "columns": 16, "fraction": 0.5, **settings})
