"""Predictions of an output head, and what errors of its logits do to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate
from rdtools.claims.evidence.case import MomentCase
from rdtools.theory.output_head import row_steps

#: Classes and tokens that are drawn, standard deviation of their logits, and of errors that are small.
_CLASSES, _TOKENS, _SPREAD, _SMALL = 128, 1024, 2.0, 0.05
#: Smoothings that are looked at: SoftWater's, and that which makes all classes equal.
SMOOTHING = (0.1, 1.0)


@dataclass(frozen=True, eq=False)
class OutputHead:
    """Predictions p of tokens, drawn as the softmax of normal logits whose means differ by class, and independent errors of the logits.

    Attributes
    ----------
    mean, variances : (K,) E[p] and E[p (1 − p)]
    smoothed : ε → (K,) E[p̃ (1 − p̃)], of ``p̃ = (1 − ε) p + ε/K`` themselves
    steps : ε → (K,) row steps of these
    errors : (K,) E δ² that were drawn with
    kl : mean KL of p from the softmax of the logits with errors, in nats
    """

    mean: Float64Array
    variances: Float64Array
    smoothed: Mapping[float, Float64Array]
    steps: Mapping[float, Float64Array]
    errors: Float64Array
    kl: Estimate


def gather_output_head(case: MomentCase) -> OutputHead:
    """Draw predictions and errors by the seed and the input's name; nothing of the moment takes part."""
    rng = case.generator("output head")
    logits = _SPREAD * (rng.standard_normal((_TOKENS, _CLASSES)) + rng.standard_normal(_CLASSES))
    scales = _SMALL * rng.uniform(0.5, 2.0, _CLASSES)
    before, after = (log_softmax(z, axis=1) for z in (logits, logits + scales * rng.standard_normal(logits.shape)))
    p = np.exp(before)
    kl = np.sum(p * (before - after), axis=1)
    mixed = {epsilon: (1 - epsilon) * p + epsilon / _CLASSES for epsilon in SMOOTHING}
    smoothed = {epsilon: np.mean(q * (1 - q), axis=0) for epsilon, q in mixed.items()}
    steps = {epsilon: row_steps(lam) for epsilon, lam in smoothed.items()}
    return OutputHead(p.mean(0), np.mean(p * (1 - p), axis=0), smoothed, steps, scales**2, Estimate.of(kl))
