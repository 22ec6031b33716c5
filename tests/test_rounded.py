from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.errors import UsageError
from rdtools.normal import cell_probability, lmmse_gain
from rdtools.rounded import RoundedGaussian, cell_probabilities, column_error, entropy_bits, rounded_gaussian

STEPS = np.geomspace(0.05, 30, 25)
#: Rounding of sums of terms of order one, each good to a few units in the last place.
BUDGET = 1e-14


def _by_quadrature(step, points):
    """(correlation, power, error) cell by cell, and the probabilities of the points."""
    ends = np.concatenate([[-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]])
    totals, probabilities = np.zeros(3), []
    for q, low, high in zip(points, ends[:-1], ends[1:], strict=True):
        moments = [
            scipy.integrate.quad(lambda x, p=p: x**p * scipy.stats.norm.pdf(x), max(low, -12), min(high, 12), epsabs=1e-13)[0]
            for p in (0, 1)
        ]
        error = scipy.integrate.quad(lambda x, q=q: (x - q) ** 2 * scipy.stats.norm.pdf(x), max(low, -12), min(high, 12), epsabs=1e-13)[0]
        totals += q * moments[1], q * q * moments[0], error
        probabilities.append(moments[0])
    return totals, np.array(probabilities)


@pytest.mark.parametrize("step", [0.6, 1.0, 2.3, 6.0])
@pytest.mark.parametrize("levels", [None, 1, 2, 3, 4, 7, 8])
def test_rounded_gaussian_by_quadrature_over_each_cell(step, levels):
    count = 2 * math.ceil(12 / step) + 1 if levels is None else levels
    points = step * (np.arange(count) - (count - 1) / 2)
    (correlation, power, error), p = _by_quadrature(step, points)
    q = rounded_gaussian(step, levels)
    assert q.correlation == pytest.approx(correlation, abs=1e-11)
    assert q.power == pytest.approx(power, abs=1e-11)
    assert q.distortion == pytest.approx(error, abs=1e-11)
    assert q.entropy_bits == pytest.approx(-(p[p > 0] * np.log2(p[p > 0])).sum(), abs=1e-10)
    inside = np.abs(points).max() + step / 2
    beyond = 2 * scipy.integrate.quad(lambda x: (x - points[-1]) ** 2 * scipy.stats.norm.pdf(x), inside, 50)[0]
    assert q.overload == pytest.approx(0.0 if levels is None else beyond, abs=1e-11)


@pytest.mark.parametrize("levels", [None, 2, 5, 16, 1001])
def test_the_error_is_that_of_the_moments(levels):
    """``E(x − x̂)² = 1 − 2 E[x x̂] + E[x̂²]``, and with the gain ``1 − E[x x̂]²/E[x̂²]``, the least over gains."""
    for step in STEPS:
        q = rounded_gaussian(step, levels)
        scale = 1 + q.power
        assert abs(q.distortion - (1 - 2 * q.correlation + q.power)) <= BUDGET * scale
        assert abs(q.lmmse_distortion - (1 - 2 * q.gain * q.correlation + q.gain**2 * q.power)) <= BUDGET
        assert q.lmmse_distortion <= q.distortion + BUDGET


def test_fine_steps_without_end():
    """As r → 0: entropy ½ log2(2πe) − log2 r, distortion r²/12 to all its digits, and no jump where the expansion takes over."""
    for step in (1e-12, 1e-6, 0.1):
        q = rounded_gaussian(step)
        assert q.entropy_bits + math.log2(step) == pytest.approx(0.5 * math.log2(2 * math.pi * math.e), abs=step**2 + BUDGET)
        assert q.distortion == pytest.approx(step**2 / 12, rel=BUDGET)
        assert (q.correlation, q.overload) == (1.0, 0.0)
    fine, coarse = rounded_gaussian(math.nextafter(0.5, 0)), rounded_gaussian(0.5)
    for name in ("correlation", "power", "distortion", "gain"):
        assert getattr(fine, name) == pytest.approx(getattr(coarse, name), rel=1e-13)
    assert fine.entropy_bits == pytest.approx(coarse.entropy_bits, abs=1e-8)


@pytest.mark.parametrize("levels", [None, 1, 3, 101])
@pytest.mark.parametrize("step", [79.0, 1e6, 1e300])
def test_coarse_steps_leave_nothing_but_the_zero_cell(step, levels):
    assert rounded_gaussian(step, levels) == RoundedGaussian(0.0, 0.0, 0.0, 1.0, 0.0)
    assert rounded_gaussian(step, levels).gain == 0.5


def test_the_gain_of_coarse_steps_tends_to_half():
    """``γ → ½``: what leaves the zero cell lies at its boundary, half a step out."""
    gains = [rounded_gaussian(step).gain for step in (4.0, 10.0, 30.0, 60.0)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(0.5, abs=0.001)


def test_an_even_grid_without_a_zero_level():
    """As r → ∞ a sign is left, one bit, at ±r/2: distortion 1 − 2 r φ(0) + r²/4. As r → 0 too, and all points are at zero."""
    for levels in (2, 4, 100):
        q = rounded_gaussian(200.0, levels)
        assert q.entropy_bits == 1.0
        assert q.distortion == pytest.approx(1 - 200.0 * math.sqrt(2 / math.pi) + 200.0**2 / 4, rel=1e-12)
        narrow = rounded_gaussian(1e-9, levels)
        assert narrow.entropy_bits == pytest.approx(1.0, abs=1e-7 * levels)  # some r log2(1/r) for each level
        assert narrow.distortion == pytest.approx(1.0, abs=1e-6)
    assert rounded_gaussian(1e-9, 3).distortion == pytest.approx(1.0, abs=1e-6)


def test_many_levels_are_no_end():
    for step in (0.5, 1.0, 3.0):
        end, none = rounded_gaussian(step, 201), rounded_gaussian(step)
        for name in ("entropy_bits", "correlation", "power", "distortion"):
            assert getattr(end, name) == pytest.approx(getattr(none, name), rel=BUDGET)


#: Max, IRE Trans. Inf. Theory 6 (1960), Table II: levels, step, error, to the digits printed.
MAX = [(2, 1.596, 0.3634, 5e-5), (4, 0.9957, 0.1188, 5e-5), (8, 0.5860, 0.03744, 5e-6), (32, 0.1881, 0.003495, 5e-7)]


@pytest.mark.parametrize(("levels", "step", "error", "digit"), MAX)
def test_the_best_uniform_grids_of_max(levels, step, error, digit):
    assert abs(rounded_gaussian(step, levels).distortion - error) <= digit
    for other in (0.97, 1.03):
        assert rounded_gaussian(step * other, levels).distortion > rounded_gaussian(step, levels).distortion


def test_cell_probabilities_portable_and_exact():
    """Both agree to the error of the portable distribution function, and sum to one."""
    steps = np.array([0.3, 1.0, 4.0, 100.0])
    exact = cell_probabilities(steps, 60)
    assert exact.shape == (4, 60)
    np.testing.assert_allclose(2 * exact.sum(axis=1) - exact[:, 0], 1.0, rtol=0, atol=BUDGET)
    z = np.arange(60)
    np.testing.assert_allclose(cell_probability(z, 1 / steps[:, None]), exact, rtol=0, atol=3e-7)
    assert (cell_probability(-z, 1 / steps[:, None]) == cell_probability(z, 1 / steps[:, None])).all()
    assert exact[2, 3] == pytest.approx(scipy.stats.norm.sf(10) - scipy.stats.norm.sf(14), rel=1e-10)  # far out to all digits
    both = np.concatenate([exact[:, :0:-1], exact], axis=1)
    assert entropy_bits(both[1]) == pytest.approx(rounded_gaussian(1.0).entropy_bits, rel=1e-13)


@pytest.mark.parametrize(("step", "levels"), [(0.0, None), (-1.0, 4), (math.nan, None), (math.inf, 3), (1.0, 0), (1.0, 2.5)])
def test_what_is_no_grid_is_refused(step, levels):
    with pytest.raises(UsageError, match="expected a positive finite step"):
        rounded_gaussian(step, levels)


# Step over deviation: entropy, and bits above ½ log2(1/D) without and with LMMSE reconstruction. The notes this was planned from print
# 1.587 and 1.242 (and gaps larger by 0.001) at 1.5 and 2; the entropies are 1.58575 and 1.24120.
TABLE = {
    1: (2.105, 0.312, 0.255),
    1.5: (1.586, 0.378, 0.255),
    2: (1.241, 0.442, 0.252),
    2.5: (0.957, 0.448, 0.235),
    3: (0.701, 0.388, 0.198),
}


@pytest.mark.parametrize("r", TABLE)
def test_table_of_gaps(r):
    q = rounded_gaussian(r)
    gaps = (q.entropy_bits + 0.5 * math.log2(q.distortion), q.entropy_bits + 0.5 * math.log2(q.lmmse_distortion))
    assert (round(q.entropy_bits, 3), *(round(g, 3) for g in gaps)) == TABLE[r]


@given(st.floats(1e-6, 30))
def test_order_of_distortions(r):
    """0 < LMMSE ≤ plain distortion, LMMSE ≤ 1, and the entropy is above the rate–distortion function."""
    q = rounded_gaussian(r)
    assert 0 < q.lmmse_distortion <= min(q.distortion, 1) * (1 + rounding(100)) + rounding(100)
    assert q.entropy_bits >= -0.5 * math.log2(q.lmmse_distortion) - rounding(100)
    # differences of 1 lose digits where the distortion is small
    assert q.distortion == pytest.approx(1 - 2 * q.correlation + q.power, abs=rounding(10))


@pytest.mark.parametrize("r", [0.4, 1e-3, 1e-6, 1e-8, 1e-12])
def test_errors_of_fine_steps_keep_their_digits(r):
    """r²/12 and, with the gain 1/(1 + r²/12), r²/12/(1 + r²/12): 1 − 2c + p was 0 from 1e-8 down."""
    q = rounded_gaussian(r)
    assert q.distortion == pytest.approx(r**2 / 12, rel=rounding(4))
    # the gain next to 1 is rounded by ε, which counts twice its excess over the best gain: nothing
    assert q.lmmse_distortion == pytest.approx(r**2 / 12 / (1 + r**2 / 12), rel=rounding(10))


@given(st.floats(0.01, 8), st.floats(0.3, 1.2))
def test_error_with_any_gain(r, gain):
    q = rounded_gaussian(r)
    error = float(column_error(q.distortion, q.correlation, q.power, gain))
    assert error == pytest.approx(1 - 2 * gain * q.correlation + gain**2 * q.power, abs=rounding(10))


@given(st.floats(0.05, 8))
def test_the_decoders_gain_is_the_same_function(r):
    """`rdtools.normal.lmmse_gain` is written apart, in portable arithmetic: power = 2 r² Σ (2k−1) Q with tails Q good to 1.5e-7 each.

    The (2k−1) of the boundaries within five deviations, where a tail is not below its own error, add up to at most (5/r + 1)².
    """
    q = rounded_gaussian(r)
    assert float(lmmse_gain(np.array(r))) == pytest.approx(q.gain, rel=1.5e-7 * (5 / r + 1) ** 2 * 2 * r * r / q.power)
