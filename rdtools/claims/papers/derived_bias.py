"""Statements on a bias per row in place of the mean of the error; derived for this project."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.mean_input import MeanInput
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.papers.terms import REGULAR, factor_rounding, ours, sum_rounding
from rdtools.claims.record import Assumption, Statement
from rdtools.theory.bias_correction import limit_saving_bits, saving_bound_bits
from rdtools.theory.waterfilling import distortion_rate

#: Rate in bits per component at which water stands for the claim on interlacing.
_RATE = 3.0
_OURS = ours("a bias that takes the mean of the error")
#: What is left of a mean that nearly is a linear function of the input must be resolved.
_RESIDUAL = Assumption("1 − s is resolved to 0.1 %", lambda e: 1 - e[MeanInput].share > 1e3 * factor_rounding(e, 1.0))


def _level(e: Evidence) -> float:
    return float(distortion_rate(_RATE, e[Moment].spectrum.eigenvalues).water_level)


def _rate(eigenvalues: Float64Array, level: float) -> float:
    return float(np.sum(0.5 * np.log2(np.maximum(eigenvalues / level, 1.0)))) / len(eigenvalues)


def _top(e: Evidence) -> float:
    return float(e[Moment].spectrum.eigenvalues[0])


CLAIMS = (
    Statement(
        "bias.determinant",
        "mean of ½ log2(ℓ_i²/ℓ̃_i²) of H and H − μμᵀ = −log2(1 − μᵀH⁻¹μ)/(2r), what WaterSIC gains by a bias at high rate",
        _OURS,
    ).equal(
        lambda e: 0.5 * float(np.mean(np.log2(e[Moment].pivots / e[MeanInput].pivots))),
        lambda e: limit_saving_bits(e[MeanInput].share, e[Moment].columns),
        "bit",
        *REGULAR,
        _RESIDUAL,
        tolerance=lambda e: factor_rounding(e, 1.0) / (1 - e[MeanInput].share) + sum_rounding(e, 1.0),
    ),
    Statement("bias.conditional-variances", "ℓ̃_i² ≤ ℓ_i² in every column: with the mean known no error of GPTQ is larger", _OURS).at_most(
        lambda e: float(np.max(e[MeanInput].pivots / e[Moment].pivots)),
        1.0,
        "ratio",
        *REGULAR,
        tolerance=lambda e: factor_rounding(e, 1.0),
    ),
    Statement(
        "bias.one-component",
        "Σ ½ log2⁺(λ_i/τ) − Σ ½ log2⁺(λ̃_i/τ) ≤ ½ log2⁺(λ_1/τ) at the water level of 3 bits: at most one component's rate is saved",
        _OURS,
    ).at_most(
        lambda e: _rate(e[Moment].spectrum.eigenvalues, _level(e)) - _rate(e[MeanInput].eigenvalues, _level(e)),
        lambda e: saving_bound_bits(_top(e), _level(e), e[Moment].columns),
        "bit",
        *REGULAR,
        # eigenvalues are off by parts of the largest one, which counts near the water level
        tolerance=lambda e: sum_rounding(e, math.log2(math.e) * _top(e) / _level(e)),
    ),
)
