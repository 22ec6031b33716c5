from __future__ import annotations

import numpy as np
import pytest
import torch

from rdtools.errors import BadActivations
from rdtools.evaluation.scores import check_finite, compare_logits


def test_scores_are_those_of_the_formulas(rng):
    """KL = Σ p ln(p/q), acceptance = 1 − Σ|p − q|/2, both of the token after each position, in float64."""
    logits = [torch.from_numpy(3 * rng.standard_normal((2, 150, 7))).float() for _ in range(2)]
    ids = rng.integers(0, 7, (2, 150))
    scores = compare_logits(*logits, ids)
    p, q = (np.exp(of.double().numpy()) / np.exp(of.double().numpy()).sum(-1, keepdims=True) for of in logits)
    p, q = p[:, :-1].reshape(-1, 7), q[:, :-1].reshape(-1, 7)
    target = ids[:, 1:].reshape(-1)
    np.testing.assert_allclose(scores.kl, (p * np.log(p / q)).sum(-1), rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(scores.acceptance, 1 - np.abs(p - q).sum(-1) / 2, rtol=1e-13)
    np.testing.assert_allclose(scores.reference_nll, -np.log(p[np.arange(len(p)), target]), rtol=1e-12)
    np.testing.assert_allclose(scores.nll, -np.log(q[np.arange(len(p)), target]), rtol=1e-12)
    assert np.array_equal(scores.agreement, p.argmax(-1) == q.argmax(-1))


def test_a_shift_of_all_logits_changes_nothing():
    logits = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]])
    scores = compare_logits(logits, logits + 4, np.array([[0, 1]]))
    assert (scores.kl[0], scores.acceptance[0], scores.agreement[0]) == (0, pytest.approx(1), 1)


def test_small_divergences_keep_their_digits():
    """KL of logits that are off by δ in one of two places is p(1 − p) δ²/2 + O(δ³): 1e-9."""
    first, second = torch.zeros(1, 2, 2), torch.tensor([[[1e-4, 0.0], [0.0, 0.0]]])
    assert compare_logits(first, second, np.array([[0, 1]])).kl[0] == pytest.approx(1e-8 / 8, rel=1e-6)


def test_logits_that_are_not_finite_are_counted_and_refused():
    logits = torch.zeros(1, 3, 2)
    logits[0, 1, 1] = torch.inf
    with pytest.raises(BadActivations, match="the quantized model: 1 of 3 predictions in a batch have NaN or infinite logits"):
        compare_logits(torch.zeros(1, 3, 2), logits, np.array([[0, 1, 1]]))
    with pytest.raises(BadActivations, match="the original model: 1 of 3"):
        check_finite(logits, "the original model")
