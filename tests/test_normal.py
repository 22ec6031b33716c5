from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from rdtools.normal import gain_of_mean_square, lmmse_gain, normal_cdf, normal_density
from rdtools.rounded import rounded_gaussian


def test_normal_cdf_is_within_its_stated_error():
    x = np.linspace(-12, 12, 10_001)
    assert np.abs(normal_cdf(x) - scipy.stats.norm.cdf(x)).max() < 1.5e-7


def test_normal_cdf_is_monotone_and_symmetric():
    x = np.linspace(-40, 40, 10_001)
    assert (np.diff(normal_cdf(x)) >= 0).all()
    np.testing.assert_allclose(normal_cdf(x) + normal_cdf(-x), 1.0, rtol=0, atol=2**-52)


def test_normal_density_is_within_its_stated_error():
    x = np.linspace(-14, 14, 10_001)
    np.testing.assert_allclose(normal_density(x), scipy.stats.norm.pdf(x), rtol=1e-11)


# Printed values of the table in the WaterSIC notes: step over deviation and gain.
@pytest.mark.parametrize(
    ("ratio", "gain"),
    [(0.25, 0.9948), (0.5, 0.9796), (1, 0.9231), (1.5, 0.8423), (2, 0.7572), (2.5, 0.6911), (3, 0.6462), (4, 0.5933)],
)
def test_lmmse_gain_table(ratio, gain):
    assert round(float(lmmse_gain(np.array(ratio))), 4) == gain


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.2, 5.0])
def test_lmmse_gain_is_the_regression_coefficient(ratio):
    """γ = E[y z]/(Δ E[z²]) by quadrature over each cell."""
    cells = range(-80, 81)
    cross = power = 0.0
    for z in cells:
        low, high = (z - 0.5) * ratio, (z + 0.5) * ratio
        cross += z * scipy.integrate.quad(lambda y: y * scipy.stats.norm.pdf(y), low, high)[0]
        power += z * z * (scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low))
    # the distribution function's error of 1.3e-7 on each of a handful of boundaries that matter, over E[z²] ≥ P(z ≠ 0)
    assert float(lmmse_gain(np.array(ratio))) == pytest.approx(cross / (ratio * power), abs=2e-6 / min(1, power))


def test_lmmse_gain_is_continuous_falls_and_stays_in_range():
    r = np.geomspace(1e-6, 1e6, 5_001)
    gain = lmmse_gain(r)
    assert ((gain > 0.5) & (gain <= 1)).all()
    assert (np.diff(gain) < 1e-5).all()
    assert abs(float(lmmse_gain(np.array(0.25))) - 1 / (1 + 0.25**2 / 12)) < 3e-6
    assert math.isclose(float(lmmse_gain(np.array(1e-9))), 1.0)


def test_the_gain_of_a_mean_square_is_that_of_the_step_that_has_it():
    """By the exact moments, for steps from 1e-3 to 12 standard deviations: the table is linear between 753 steps."""
    exact = [(r, rounded_gaussian(float(r))) for r in np.geomspace(1e-3, 12, 400)]
    gains = gain_of_mean_square(np.array([q.power / r**2 for r, q in exact]))
    np.testing.assert_allclose(gains, [q.gain for _, q in exact], rtol=0, atol=3e-5)
    assert gain_of_mean_square(np.zeros(1))[0] == pytest.approx(rounded_gaussian(12.0).gain, abs=1e-9)
