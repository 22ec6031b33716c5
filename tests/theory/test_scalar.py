from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.normal import lmmse_gain
from rdtools.theory.scalar import column_error, uniform_quantizer

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
    q = uniform_quantizer(r)
    gaps = (q.entropy_bits + 0.5 * math.log2(q.distortion), q.entropy_bits + 0.5 * math.log2(q.lmmse_distortion))
    assert (round(q.entropy_bits, 3), *(round(g, 3) for g in gaps)) == TABLE[r]


@pytest.mark.parametrize("r", [0.7, 1.5, 3.0, 6.0])
def test_moments_by_quadrature(r):
    correlation = power = entropy = 0.0
    for z in range(-40, 41):
        low, high = (z - 0.5) * r, (z + 0.5) * r
        p = scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low)
        correlation += z * r * scipy.integrate.quad(lambda y: y * scipy.stats.norm.pdf(y), low, high, epsabs=1e-14)[0]
        power += (z * r) ** 2 * p
        entropy -= p * math.log2(p) if p > 0 else 0
    q = uniform_quantizer(r)
    # quadrature is asked for 1e-14 a cell; differences of distribution functions lose eps a cell, times log2 of it
    assert (q.correlation, q.power, q.entropy_bits) == pytest.approx((correlation, power, entropy), abs=1e-11)


@given(st.floats(1e-6, 30))
def test_order_of_distortions(r):
    """0 < LMMSE ≤ plain distortion, LMMSE ≤ 1, and the entropy is above the rate–distortion function."""
    q = uniform_quantizer(r)
    assert 0 < q.lmmse_distortion <= min(q.distortion, 1) * (1 + rounding(100)) + rounding(100)
    assert q.entropy_bits >= -0.5 * math.log2(q.lmmse_distortion) - rounding(100)
    # differences of 1 lose digits where the distortion is small
    assert q.distortion == pytest.approx(1 - 2 * q.correlation + q.power, abs=rounding(10))


def test_limits():
    fine = uniform_quantizer(1e-5)
    assert fine.entropy_bits == pytest.approx(0.5 * math.log2(2 * math.pi * math.e) + math.log2(1e5), abs=1e-10)
    assert fine.gain == pytest.approx(1, abs=1e-10)
    coarse = uniform_quantizer(60.0)
    # what leaves the zero cell is the tail beyond 30 deviations
    assert max(coarse.entropy_bits, coarse.correlation, coarse.power) < 1e-190
    assert coarse.lmmse_distortion == 1
    with pytest.raises(ValueError, match="positive"):
        uniform_quantizer(0.0)


@pytest.mark.parametrize("r", [0.4, 1e-3, 1e-6, 1e-8, 1e-12])
def test_errors_of_fine_steps_keep_their_digits(r):
    """r²/12 and, with the gain 1/(1 + r²/12), r²/12/(1 + r²/12): 1 − 2c + p was 0 from 1e-8 down."""
    q = uniform_quantizer(r)
    assert q.distortion == pytest.approx(r**2 / 12, rel=rounding(4))
    # the gain next to 1 is rounded by ε, which counts twice its excess over the best gain: nothing
    assert q.lmmse_distortion == pytest.approx(r**2 / 12 / (1 + r**2 / 12), rel=rounding(10))


@given(st.floats(0.01, 8), st.floats(0.3, 1.2))
def test_error_with_any_gain(r, gain):
    q = uniform_quantizer(r)
    error = float(column_error(q.distortion, q.correlation, q.power, gain))
    assert error == pytest.approx(1 - 2 * gain * q.correlation + gain**2 * q.power, abs=rounding(10))


def test_continuous_where_the_sums_take_over():
    below, above = uniform_quantizer(0.5 * (1 - 1e-12)), uniform_quantizer(0.5)
    assert below.entropy_bits == pytest.approx(above.entropy_bits, abs=1e-8)
    assert below.power == pytest.approx(above.power, abs=1e-11)


@given(st.floats(0.05, 8))
def test_the_decoders_gain_is_the_same_function(r):
    """`rdtools.normal.lmmse_gain` is written apart, in portable arithmetic: power = 2 r² Σ (2k−1) Q with tails Q good to 1.5e-7 each.

    The (2k−1) of the boundaries within five deviations, where a tail is not below its own error, add up to at most (5/r + 1)².
    """
    q = uniform_quantizer(r)
    assert float(lmmse_gain(np.array(r))) == pytest.approx(q.gain, rel=1.5e-7 * (5 / r + 1) ** 2 * 2 * r * r / q.power)
