from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import ShapeMismatch
from rdtools.moments.paired import PairedAccumulator


def test_moments_are_weighted_means_over_tokens(rng):
    """Batches in float32 against sums over the tokens one by one; the first batch is equal in both models. 1e-12: eps times 60 terms."""
    x, weights = rng.standard_normal((60, 3)).astype(np.float32), rng.random(60)
    actual, lacking = x.copy(), rng.standard_normal((60, 2)).astype(np.float32)
    actual[20:] += 0.5 * rng.standard_normal((40, 3)).astype(np.float32)
    x[50, 1] = np.nan
    sums = PairedAccumulator(3, 2)
    for some in (slice(0, 20), slice(20, 60)):
        sums.add(x[some], actual[some], lacking[some], weights[some])
    found = sums.finish(name="x", distinct=7)
    kept = np.delete(np.arange(60), 50)
    expected = dict.fromkeys(("reference", "actual", "cross", "residual", "mean"), 0.0)
    for k in kept:
        a, b, d, p = (array[k].astype(np.float64) for array in (x, actual, lacking, weights))
        for name, value in zip(expected, (np.outer(a, a), np.outer(b, b), np.outer(a, b), np.outer(d, b), a), strict=True):
            expected[name] = expected[name] + p * value / weights[kept].sum()
    for name, value in expected.items():
        assert np.abs(getattr(found, name) - value).max() < 1e-12
    assert (found.tokens, found.dropped_tokens, found.distinct_tokens) == (59, 1, 7)
    assert found.weight_sum == pytest.approx(weights[kept].sum())


def test_equal_inputs_give_plain_moments_and_others_are_refused(rng):
    x = rng.standard_normal((20, 3))
    sums = PairedAccumulator(3)
    sums.add(x, x.copy())
    assert sums.finish(name="x").is_plain
    with pytest.raises(ShapeMismatch, match="20 tokens of the original beside 19 of the quantized model"):
        sums.add(x, x[1:])
