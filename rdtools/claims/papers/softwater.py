"""SoftWater: steps of the rows of an output head by how much their class matters to the prediction."""

from __future__ import annotations

import math

import numpy as np

from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.output_head import SMOOTHING, OutputHead
from rdtools.claims.papers.terms import ours
from rdtools.claims.record import Source, Statement
from rdtools.theory.output_head import class_gain_bits, kl_proxy_nats, largest_step_ratio, smoothed_variances

_EPSILON, _ONE = SMOOTHING
_SOFTWATER = Source("SoftWater 2608.12026", "", "class-aware row steps, from notes")
_OURS = ours("row steps of an output head")


def _rounding(e: Evidence) -> float:
    return 64 * len(e[OutputHead].mean) * float(np.finfo(np.float64).eps)


def _ratio(e: Evidence, smoothing: float) -> float:
    steps = e[OutputHead].steps[smoothing]
    return float(steps.max() / steps.min())


def _gain(e: Evidence) -> float:
    """Bits by which the proxy of the smoothed classes falls from equal steps to steps β, less those that β cost by their mean logarithm."""
    lam, steps = e[OutputHead].smoothed[_EPSILON], e[OutputHead].steps[_EPSILON]
    return 0.5 * math.log2(float(np.sum(lam)) / float(np.sum(lam * steps**2))) + float(np.mean(np.log2(steps)))


def _expected_gain(e: Evidence) -> float:
    return class_gain_bits(smoothed_variances(e[OutputHead].mean, e[OutputHead].variances, _EPSILON))


def _floor(e: Evidence) -> float:
    share = _EPSILON / len(e[OutputHead].mean)
    return share * (1 - share)


CLAIMS = (
    Statement(
        "softwater.class-gain", "½ log2(Σ λ̃/Σ λ̃ β²) = ½ log2(AM/GM of λ̃), what row steps β ∝ λ̃^−½ gain over equal ones at high rate", _OURS
    ).equal(_gain, _expected_gain, "bit", tolerance=_rounding),
    Statement("softwater.floor", "λ̃ ≥ (ε/K)(1 − ε/K) for every class, so that none gets a step without end", _OURS).at_least(
        lambda e: float(e[OutputHead].smoothed[_EPSILON].min()), _floor, "variance", tolerance=_rounding
    ),
    Statement("softwater.step-ratio", "max β/min β ≤ ½ ((ε/K)(1 − ε/K))^−½, about ½ √(K/ε)", _OURS).at_most(
        lambda e: _ratio(e, _EPSILON), lambda e: largest_step_ratio(_EPSILON, len(e[OutputHead].mean)), "ratio", tolerance=_rounding
    ),
    Statement("softwater.equal-steps", "max β/min β = 1 at ε = 1, where the method is WaterSIC", _SOFTWATER).equal(
        lambda e: _ratio(e, _ONE), 1.0, "ratio", tolerance=_rounding
    ),
    Statement(
        "softwater.proxy",
        "mean KL within 10 % of ½ Σ λ E δ², for errors δ of the logits that are small, independent and of mean zero",
        _SOFTWATER,
    ).equal(
        lambda e: e[OutputHead].kl.scaled(1 / kl_proxy_nats(e[OutputHead].errors, e[OutputHead].variances)), 1.0, "ratio", tolerance=0.1
    ),
)
