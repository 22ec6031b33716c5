from __future__ import annotations

import numpy as np
import pytest

from rdtools.corrections.mixing import Mixture, golden_section, mixed, search_mixture
from rdtools.records import InputMoments


def _moments(seed):
    x = np.random.default_rng(seed).standard_normal((50, 4))
    actual = x + np.random.default_rng(seed + 1).standard_normal((50, 4))
    return InputMoments.drifted(*(a.T @ b / 50 for a, b in ((x, x), (actual, actual), (x, actual))), tokens=50)


@pytest.mark.parametrize(("q", "a"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.6), (1.0, 0.5), (0.2, 1.0)])
def test_moments_are_mixed_as_the_paper_has_it(q, a):
    """First the share of the original's, in both kinds, then the share of the unweighted; the reference has only the second."""
    plain, weighted = _moments(0), _moments(5)
    found = mixed(plain, weighted, Mixture(q, a))
    for which in ("actual", "cross"):
        kinds = [(1 - q) * getattr(kind, which) + q * kind.reference for kind in (weighted, plain)]
        assert np.allclose(getattr(found, which), (1 - a) * kinds[0] + a * kinds[1], rtol=1e-14, atol=1e-14)
    assert np.allclose(found.reference, (1 - a) * weighted.reference + a * plain.reference, rtol=1e-14, atol=1e-14)
    alone = mixed(plain, None, Mixture(q, 0.0))
    assert np.allclose(alone.cross, (1 - q) * plain.cross + q * plain.reference, rtol=1e-14, atol=1e-14)


def test_golden_section_is_the_least_of_what_it_tried():
    """Against a grid: within the last bracket, 0.618^(steps − 2) wide; each step costs one value."""
    for best in (0.0, 0.17, 0.5, 0.93, 1.0):
        calls = []

        def value(t, best=best, calls=calls):
            calls.append(t)
            return (t - best) ** 2

        found = golden_section(value, 10)
        assert abs(found - best) <= 0.618**8
        assert len(calls) == len(set(calls)) == 12
        assert value(found) == min(map(value, calls[:12]))


def test_the_search_goes_along_one_share_and_then_the_other():
    calls = []

    def value(mixture):
        calls.append(mixture)
        return (mixture.original - 0.4) ** 2 + (mixture.unweighted - 0.7) ** 2

    found = search_mixture(value, drift=True, attention=True, steps=12)
    assert abs(found.original - 0.4) < 0.01
    assert abs(found.unweighted - 0.7) < 0.01
    assert len(calls) == len(set(calls))
    assert search_mixture(value, drift=False, attention=True, steps=2).original == 0
