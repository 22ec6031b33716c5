"""Rounding on a unit grid, with and without feedback, written like QuIP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.ops import sic_sweep
from rdtools.theory.ldlq import ERROR_VARIANCE, Rounding, feedback_matrix, nearest_worst_signs

#: Weights are uniform over so many steps, a whole number.
_RANGE = 8
#: The largest rounding error that is sure to break the way it is meant to.
_INSIDE = 0.5 - 1e-6


@dataclass(frozen=True, eq=False)
class UnitRounding:
    """Rounding on a unit grid without clamping.

    Attributes
    ----------
    feedback : loss of LDLQ for weights uniform modulo the grid, by rounding
    plain : loss of rounding without feedback, likewise
    corner : loss of nearest LDLQ for weights that put every rounding at its worst
    stochastic_worst : loss of stochastic LDLQ at half-integers; None if H is singular
    stochastic_half : loss of stochastic rounding without feedback at half-integers
    nearest_attained : loss of rounding to nearest at weights ½ s with the signs s found by ascent
    identity_error : largest difference of ``E H Eᵀ`` and ``Σ η_i² D_ii`` over rows, any rounding, in units of tr D
    diagonal_mismatches : integers in which LDLQ and rounding differ under diag(λ)
    """

    feedback: Mapping[Rounding, Estimate]
    plain: Mapping[Rounding, Estimate]
    corner: float
    stochastic_worst: Estimate | None
    stochastic_half: Estimate
    nearest_attained: float
    identity_error: float
    diagonal_mismatches: int


def round_with_feedback(
    weight: Float64Array,  # (m, n)
    feedback: Float64Array | None,  # (n, n), strictly lower triangular
    rounding: Rounding,
    generator: np.random.Generator,
) -> tuple[Float64Array, Float64Array]:
    """``Ŵ_:i = Q(W_:i + Σ_{j>i} (W − Ŵ)_:j U_ji)`` from the last column to the first; None for U = 0.

    Returns
    -------
    rounded : (m, n) integers as float64
    error : (m, n) η, what each rounding was given minus what it gave
    """
    m, n = weight.shape
    rounded, error, change = np.empty_like(weight), np.empty_like(weight), np.zeros_like(weight)
    for i in range(n - 1, -1, -1):
        target = weight[:, i] if feedback is None else weight[:, i] + change[:, i + 1 :] @ feedback[i + 1 :, i]
        rounded[:, i] = np.rint(target) if rounding == "nearest" else np.floor(target + generator.random(m))
        error[:, i] = target - rounded[:, i]
        change[:, i] = weight[:, i] - rounded[:, i]
    return rounded, error


def _row_losses(error: Float64Array, moment: Float64Array) -> Float64Array:
    return np.asarray(np.einsum("ij,ij->i", error @ moment, error))


def gather_unit_rounding(case: MomentCase) -> UnitRounding:
    """Losses of rounding weights that are uniform modulo the grid, and of the worst ones; without feedback if H is singular."""
    H, L = case.matrix, case.factor
    n = len(H)
    generator = case.generator("rounding")
    W = _RANGE * generator.random((budget(n), n))
    feedback, plain = {}, {}
    identity = corner = math.nan
    stochastic_worst = None
    for rounding in ERROR_VARIANCE:
        rounded, _ = round_with_feedback(W, None, rounding, generator)
        plain[rounding] = Estimate.of(_row_losses(W - rounded, H))
    if L is not None:
        U, D = feedback_matrix(L), np.diagonal(L) ** 2
        identity, corner = 0.0, _corner_loss(U, H, generator)
        for rounding in ERROR_VARIANCE:
            rounded, error = round_with_feedback(W, U, rounding, generator)
            losses = _row_losses(W - rounded, H)
            feedback[rounding] = Estimate.of(losses)
            identity = max(identity, float(np.abs(losses - error**2 @ D).max() / D.sum()))
    halves = np.full_like(W, 0.5)
    if L is not None:
        rounded, _ = round_with_feedback(halves, feedback_matrix(L), "stochastic", generator)
        stochastic_worst = Estimate.of(_row_losses(halves - rounded, H))
    rounded, _ = round_with_feedback(halves, None, "stochastic", generator)
    signs = _INSIDE * nearest_worst_signs(H)[None, :]
    axes = case.eigen.values[case.eigen.values > 0]
    some = np.ascontiguousarray(W[:, : len(axes)])
    under_axes, _ = sic_sweep(some, np.diag(np.sqrt(axes)), np.ones(len(axes)))
    return UnitRounding(
        feedback=feedback,
        plain=plain,
        corner=corner,
        stochastic_worst=stochastic_worst,
        stochastic_half=Estimate.of(_row_losses(halves - rounded, H)),
        nearest_attained=float(_row_losses(signs - np.rint(signs), H)[0]),
        identity_error=identity,
        diagonal_mismatches=int((under_axes != np.rint(some)).sum()),
    )


def _corner_loss(U: Float64Array, H: Float64Array, generator: np.random.Generator) -> float:
    """Mean loss of LDLQ on weights for which every rounding is given a number just inside half a step from what it gives."""
    n = len(U)
    integers = generator.integers(-4, 5, (8, n)).astype(np.float64)
    # what is given is W + (W − Ŵ) U, so W = Ŵ + η (I+U)⁻¹ gives η
    eta = _INSIDE * generator.choice([-1.0, 1.0], (8, n))
    W = integers + np.linalg.solve((np.eye(n) + U).T, eta.T).T
    rounded, _ = round_with_feedback(W, U, "nearest", generator)
    return float(_row_losses(W - rounded, H).mean())
