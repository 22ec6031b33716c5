"""Curves of layers between the rates that are known."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import UsageError
from rdtools.planning.rate_curves import STEP_BITS, RateCurve


def test_known_points_are_kept_and_between_them_it_falls():
    """log D is exact for D = a 4^−R; a total between two known ones lies on the line of their excess."""
    rates = [2.0, 2.5, 4.0]
    curve = RateCurve({r: 3 * 4.0**-r for r in rates}, {2.0: 2.2, 4.0: 4.0}, continuous=True)
    distortions, totals = curve.at(curve.targets)
    np.testing.assert_allclose(distortions, 3 * 4.0**-curve.targets, rtol=1e-12)
    np.testing.assert_allclose(totals, curve.targets + 0.1 * (4 - curve.targets), rtol=1e-12)
    assert set(rates) <= set(curve.targets)
    assert np.diff(curve.targets).max() <= STEP_BITS
    steep = RateCurve({2.0: 1.0, 3.0: 0.9, 4.0: 0.01}, {}, continuous=True)
    assert (np.diff(steep.at(steep.targets)[0]) < 0).all()
    np.testing.assert_array_equal(steep.at(np.array([2.5]))[1], [2.5])  # nothing known of files: the target itself


def test_a_measured_total_is_taken_and_discrete_rates_stay_alone():
    curve = RateCurve({2.0: 0.5, 4.0: 0.1}, {2.0: 2.1, 4.0: 4.1}, continuous=True).with_total(3.0, 3.3)
    np.testing.assert_allclose(curve.at(np.array([3.0, 3.5]))[1], [3.3, 3.7])
    assert RateCurve({2.0: 0.5, 4.0: 0.1}, {}, continuous=False).targets.tolist() == [2, 4]
    assert RateCurve({2.0: 0.5}, {}, continuous=True).at(np.array([2.0]))[0].tolist() == [0.5]


@pytest.mark.parametrize(("distortions", "continuous"), [({}, False), ({2.0: 0.0}, False), ({2.0: 0.1, 3.0: 0.2}, True)])
def test_what_is_no_curve_is_refused(distortions, continuous):
    with pytest.raises(UsageError, match="expected at least one, above 0, and falling"):
        RateCurve(distortions, {}, continuous)
