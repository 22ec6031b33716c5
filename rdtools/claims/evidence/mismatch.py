"""Encoding with another second moment than the true one: damped, or from too few tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.linalg import cholesky
from rdtools.measure import weighted_error
from rdtools.ops import sic_sweep

_DAMPING = 1e-2
#: Integers of WaterSIC under the damped factor have about this many bits at its smallest step's column.
_FINE = 1 / 64
_TOKENS_PER_COLUMN = 4
#: A calibration costs tokens × n² and an eigenvalue problem of its own; above so many columns none is drawn.
_CALIBRATED_COLUMNS = 1024


@dataclass(frozen=True, eq=False)
class Mismatch:
    """Encoding with another second moment than the true one.

    Attributes
    ----------
    damping : relative to the mean diagonal
    damped_factor : L̃ of the damped H
    steps : (r,) WaterSIC's α under it
    distortion : measured under H, iid normal weights, fine steps
    tokens : N of the drawn calibrations; the next three are empty where none was drawn
    penalties_bits : ½ log2(AM/GM of eig(Σ̃⁻¹Σ)) of each draw
    log_determinants : ``(1/r) log2 |Σ̃|/|Σ|`` of each draw
    holdout_means : ``tr(Σ̃⁻¹Σ')/r`` of each draw, Σ' from tokens of its own
    """

    damping: float
    damped_factor: Float64Array
    steps: Float64Array
    distortion: Estimate
    tokens: int
    penalties_bits: Float64Array
    log_determinants: Float64Array
    holdout_means: Float64Array


def gather_mismatch(case: MomentCase) -> Mismatch:
    """Run WaterSIC under a damped H, and draw calibrations where H is positive definite and not too wide."""
    n = case.columns
    damped = cholesky(case.matrix, damping=_DAMPING, name=case.name)
    diagonal = np.diagonal(damped.lower)
    # steps small beside the weights in every column, so that errors are uniform on their cells
    steps = _FINE * diagonal.min() / diagonal
    W = case.generator("mismatch").standard_normal((budget(n), n))
    integers, _ = sic_sweep(W, damped.lower, steps)
    error = weighted_error(W, integers * steps, case.matrix)
    tokens = _TOKENS_PER_COLUMN * n
    none = np.zeros(0)
    penalties, determinants, holdouts = none, none, none
    if case.factor is not None and n <= _CALIBRATED_COLUMNS:
        penalties, determinants, holdouts = _calibrations(case, case.factor, tokens)
    return Mismatch(
        damping=_DAMPING,
        damped_factor=damped.lower,
        steps=steps,
        distortion=Estimate(error.mean, error.stderr, len(W) - 1),
        tokens=tokens,
        penalties_bits=penalties,
        log_determinants=determinants,
        holdout_means=holdouts,
    )


def _calibrations(case: MomentCase, factor: Float64Array, tokens: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Penalty, mean log2 determinant and held-out mean of calibrations with normal tokens of second moment H."""
    n = case.columns
    draws = budget(tokens * n * n, work=2**28, least=16, most=256)
    generator = case.generator("calibration")
    penalties, determinants, holdouts = np.empty(draws), np.empty(draws), np.empty(draws)
    true_log2 = float(np.log2(np.diagonal(factor)).mean())
    for draw in range(draws):
        x, held_out = (generator.standard_normal((tokens, n)) @ factor.T for _ in range(2))
        sample, other = x.T @ x / tokens, held_out.T @ held_out / tokens
        drawn = cholesky(sample, damping=0.0, name=case.name).lower
        determinants[draw] = 2 * (float(np.log2(np.diagonal(drawn)).mean()) - true_log2)
        # eigenvalues of Σ̃⁻¹Σ: their sum is the squared norm of L̃⁻¹L, their geometric mean that of the determinants' ratio
        turned = scipy.linalg.solve_triangular(drawn, factor, lower=True, check_finite=False)
        penalties[draw] = 0.5 * (math.log2(float(np.sum(turned**2)) / n) + determinants[draw])
        holdouts[draw] = float(np.trace(scipy.linalg.cho_solve((drawn, True), other))) / n
    return penalties, determinants, holdouts
