"""Power laws with bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import UsageError
from rdtools.evaluation.power_law import PowerLaw


def test_exact_power_laws_are_found_without_uncertainty():
    law = PowerLaw(np.geomspace(0.1, 10, 6), 0.2 * np.geomspace(0.1, 10, 6) ** 1.3, seed=0)
    for estimate, value in ((law.power, 1.3), (law.factor, 0.2), (law.at(3.0), 0.2 * 3**1.3)):
        np.testing.assert_allclose([estimate.value, estimate.low, estimate.high], value, rtol=1e-9)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """60 laws of 25 noisy points: 95 % intervals of b and of a new point miss at most 10 times (P < 1e-3 for a miss rate of 0.07)."""
    missed = np.zeros(2)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = np.exp(rng.uniform(-2, 2, 26))
        y = 0.3 * x**1.1 * np.exp(0.1 * rng.standard_normal(26))
        law = PowerLaw(x[1:], y[1:], seed=seed)
        for k, (estimate, truth) in enumerate(((law.power, 1.1), (law.at(x[0]), y[0]))):
            missed[k] += not estimate.low <= truth <= estimate.high
    assert (missed <= 10).all()


def test_intervals_of_a_new_point_hold_through_three_points_already():
    """400 laws of 3 noisy points: the 95 % interval misses 20 times on average, and 5 to 40 of them (P < 1e-4)."""
    missed = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        x = np.exp(rng.uniform(-2, 2, 4))
        y = 0.3 * x**1.1 * np.exp(0.3 * rng.standard_normal(4))
        found = PowerLaw(x[1:], y[1:], seed=seed).at(x[0])
        missed += not found.low <= y[0] <= found.high
    assert 5 <= missed <= 40


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 0], [1, 2, 3]), ([1, 2, 3], [1, 2])])
def test_too_little_is_refused(x, y):
    with pytest.raises(UsageError, match="expected at least three pairs above 0, of two different x"):
        PowerLaw(np.array(x, float), np.array(y, float), seed=0)
