from __future__ import annotations

import numpy as np
import pytest

from rdtools.evaluation.intervals import RESAMPLES, Resamples, upper_tail


def test_the_tail_has_exactly_its_share():
    """Half of three values is one and a half: the mean above is (9 + 4/2)/1.5."""
    quantile, mean = upper_tail(np.array([9.0, 4.0, 1.0]), np.ones((1, 3)), 0.5)
    assert (quantile[0], mean[0]) == (4.0, pytest.approx(11 / 1.5))


def test_weights_are_repetitions(rng):
    values, weights = -np.sort(-rng.standard_normal(50)), rng.integers(0, 4, 50)
    repeated = np.repeat(values, weights)
    weighted = upper_tail(values, weights[None].astype(float), 0.13)
    plain = upper_tail(repeated, np.ones((1, len(repeated))), 0.13)
    assert weighted[0] == plain[0]
    assert weighted[1] == pytest.approx(plain[1])


def test_the_error_of_a_mean_is_that_of_independent_clusters(rng):
    """400 clusters of 5 equal tokens: the standard error is σ/√400, not σ/√2000; within 4 standard errors of a deviation over RESAMPLES."""
    draws = rng.standard_normal(400)
    estimate = Resamples(np.repeat(np.arange(400), 5), seed=0).mean(np.repeat(draws, 5))
    assert estimate.value == pytest.approx(draws.mean())
    assert estimate.stderr == pytest.approx(draws.std() / 20, rel=4 / np.sqrt(2 * RESAMPLES))
    assert estimate.low < estimate.value < estimate.high
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * draws.std() / 20, rel=0.15)


def test_a_bootstrap_of_a_tail_is_over_clusters():
    """All clusters alike: however they are drawn, quantile and tail are the same."""
    quantile, tail = Resamples(np.repeat([7, 3, 5, 9], 100), seed=1).tail(np.tile(np.arange(100.0), 4), 0.01)
    assert (quantile.value, quantile.low, quantile.high) == (99, 99, 99)
    assert (tail.value, tail.stderr) == (99, 0)


def test_two_clusters_have_no_interval():
    estimate = Resamples(np.array([0, 0, 1, 1]), seed=0).mean(np.arange(4.0))
    assert estimate.value == 1.5
    assert np.isnan([estimate.stderr, estimate.low, estimate.high]).all()
