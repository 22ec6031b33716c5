"""Classes of an output head."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import TheoryError
from rdtools.theory import output_head as head


def _predictions(rng, tokens=200, classes=12):
    logits = 3 * rng.standard_normal((tokens, classes)) + 2 * rng.standard_normal(classes)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7, 1.0])
def test_smoothed_variances_are_those_of_smoothed_predictions(rng, smoothing):
    _, p = _predictions(rng)
    mixed = (1 - smoothing) * p + smoothing / 12
    found = head.smoothed_variances(p.mean(axis=0), (p * (1 - p)).mean(axis=0), smoothing)
    np.testing.assert_allclose(found, (mixed * (1 - mixed)).mean(axis=0), rtol=1e-12)
    if smoothing > 0:
        steps = head.row_steps(found)
        assert steps.max() / steps.min() <= head.largest_step_ratio(smoothing, 12) * (1 + 1e-12)
        assert (smoothing / 12) * (1 - smoothing / 12) - 1e-15 <= found.min()
        assert found.max() <= 0.25
    if smoothing == 1:
        np.testing.assert_allclose(steps, 1, rtol=1e-12)


def test_row_steps_are_best_and_gain_what_they_should(rng):
    """Σ λ β² at Σ log β = 0: least at the steps, below equal ones by 4^gain, which is AM/GM; any other steps are no better."""
    lam = rng.lognormal(0, 2, 30)
    steps = head.row_steps(lam)
    assert np.log2(steps).sum() == pytest.approx(0, abs=1e-10)
    assert np.log2(np.mean(lam) / np.mean(lam * steps**2)) / 2 == pytest.approx(head.class_gain_bits(lam), rel=1e-10)
    for _ in range(20):
        other = rng.normal(0, 0.3, 30)
        assert np.mean(lam * (steps * np.exp(other - other.mean())) ** 2) >= np.mean(lam * steps**2)
    assert head.class_gain_bits(np.ones(5)) == 0


def test_proxy_is_the_divergence_of_small_independent_errors(rng):
    """Mean KL over tokens and 400 draws of errors of 0.01: within 4 standard errors, about 1 %, of ½ Σ λ E δ²."""
    logits, p = _predictions(rng)
    energies = 1e-4 * rng.uniform(0.2, 2, 12)
    draws = []
    for _ in range(400):
        q = np.exp(logits + np.sqrt(energies) * rng.standard_normal(logits.shape))
        q /= q.sum(axis=1, keepdims=True)
        draws.append(np.mean(np.sum(p * np.log(p / q), axis=1)))
    proxy = head.kl_proxy_nats(energies, (p * (1 - p)).mean(axis=0))
    assert np.mean(draws) == pytest.approx(proxy, abs=4 * np.std(draws) / 20 + 1e-3 * proxy)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: head.row_steps([0.1, 0.0]),
        lambda: head.smoothed_variances([0.5, 0.5], [0.6, 0.1], 0.1),
        lambda: head.smoothed_variances([0.5, 0.5], [0.1, 0.1], 1.1),
        lambda: head.largest_step_ratio(0.0, 5),
        lambda: head.kl_proxy_nats([1.0], [0.1, 0.1]),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(TheoryError, match="output head: "):
        wrong()
