"""Predictions of theory for a quantizer's answer: one formula for each kind of error model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import spread_groups
from rdtools.compare.stored_grid import stored_grid_distortion
from rdtools.moments.layer import Layer
from rdtools.quantizers import Problem
from rdtools.records.error_models import (
    AbsmaxRows,
    BlockCode,
    ColumnSteps,
    ErrorModel,
    NoErrorModel,
    StoredGrid,
    TrellisSteps,
    UnbiasedRounding,
)
from rdtools.theory import ldlq, sic
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.scalar import uniform_quantizer
from rdtools.theory.trellis_channel import granular_gain_db, trellis_channel


@dataclass(frozen=True, eq=False)
class Context:
    """Facts of a layer and its preparation that formulas use.

    Attributes
    ----------
    problem : the prepared layer, for its weights and factor
    gains : (r,) distortion per unit of squared step over 12, from `noise_gains`
    rate_bits : of the integers, bits per weight of the full matrix
    """

    problem: Problem
    gains: NDArray[np.float64]
    rate_bits: float

    @property
    def share(self) -> float:
        """Active input channels over all, r/n."""
        return self.problem.live_fraction


def noise_gains(layer: Layer, problem: Problem) -> NDArray[np.float64]:
    """Distortion per unit of squared step over 12, by column, in the basis and with the damping that the quantizer used.

    Without a factor (rounding to nearest) the diagonal of H, whose mean a rotation leaves as it is.
    """
    return layer.spectrum.diagonal if problem.shared is None else problem.shared.noise_weights


@dataclass(frozen=True)
class RowVariances:
    """Variances of rows under Gaussian entropy models: their geometric mean, and the minimum."""

    geometric_mean: float
    minimum: float


def row_variances(model: ErrorModel, variance: float) -> RowVariances:
    """Those that the row exponents of a model stand for, `variance` being that of all weights; itself without them."""
    if model.row_exponents is None:
        return RowVariances(variance, variance)
    logs = model.row_exponents / 4.0
    arithmetic = float(np.mean(np.exp2(logs)))
    return RowVariances(variance * 2.0 ** float(np.mean(logs)) / arithmetic, variance * 2.0 ** float(np.min(logs)) / arithmetic)


def _none(model: NoErrorModel, context: Context) -> float:
    return math.nan


def _column_steps(model: ColumnSteps, context: Context) -> float:
    """By the steps up to a factor and the rate; nan where one histogram mixes unequal columns, or a column is under the water."""
    if model.waterfilled or (model.relative_steps is not None and model.histogram == "shared"):
        return math.nan
    steps = np.ones_like(context.gains) if model.relative_steps is None else model.relative_steps
    variance = row_variances(model, context.problem.weight_std**2).geometric_mean
    return sic.sic_distortion(context.gains, steps, context.rate_bits, variance, live_fraction=context.share)


def _trellis_steps(model: TrellisSteps, context: Context) -> float:
    """By the steps up to a factor and the rate, less the granular gain."""
    variance = row_variances(model, context.problem.weight_std**2).geometric_mean
    assert model.relative_steps is not None
    scalar = sic.sic_distortion(context.gains, model.relative_steps, context.rate_bits, variance, live_fraction=context.share)
    return scalar * 10 ** (-granular_gain_db(model.states) / 10)


def _absmax_rows(model: AbsmaxRows, context: Context) -> float:
    """By the ranges of the rows alone."""
    row_absmax = np.abs(context.problem.weight).max(axis=1, initial=0.0)
    feedback = context.problem.shared is not None
    return sic.absmax_distortion(context.gains, row_absmax, model.levels, feedback=feedback, live_fraction=context.share)


def _stored_grid(model: StoredGrid, context: Context) -> float:
    """By rounding the weights themselves to the grids that were stored; error made by clipping before rounding is not fed back, and
    costs H_ii per unit.
    """
    target, r = context.problem.target, len(model.column_steps)
    scales = np.broadcast_to(model.column_steps, target.shape)
    if model.row_scales is not None:
        scales = spread_groups(model.row_scales, model.group_size, r) * model.column_steps
    shifts = np.full(target.shape, model.offset)
    if model.zero_points is not None:
        shifts -= spread_groups(model.zero_points, model.group_size, r)
    inside = target if model.reach is None else np.clip(target, -model.reach, model.reach)
    lost = stored_grid_distortion(inside, scales, shifts, model.levels, context.gains, live_fraction=context.share)
    if model.reach is not None:
        energies = context.problem.prepared_input.energies
        lost += context.share * float(np.mean(energies * np.mean((target - inside) ** 2, axis=0)))
    return lost


def _unbiased_rounding(model: UnbiasedRounding, context: Context) -> float:
    return context.share * model.step**2 / 6 * float(np.mean(context.gains))


def _block_code(model: BlockCode, context: Context) -> float:
    shared = context.problem.prepared_input
    error = model.error * context.problem.weight_std**2
    return context.share * ldlq.block_distortion(shared.factor, model.block, error, damping=shared.added)


#: High-rate formula of each kind of error model: (model, context) → distortion per weight.
FORMULAS: dict[type[ErrorModel], Callable[[Any, Context], float]] = {
    NoErrorModel: _none,
    ColumnSteps: _column_steps,
    TrellisSteps: _trellis_steps,
    AbsmaxRows: _absmax_rows,
    StoredGrid: _stored_grid,
    UnbiasedRounding: _unbiased_rounding,
    BlockCode: _block_code,
}


def predicted_distortion(layer: Layer, model: ErrorModel, context: Context) -> float:
    """Distortion that high-rate theory promises for an answer; nan where it has no formula.

    It has none for a shared histogram of unequal columns (the mixture costs what this theory does not count), nor with a ridge or dropped
    columns, whose targets are not independent, nor for a singular H, nor for greedy passes or feedback that clipping shapes.

    Parameters
    ----------
    layer : the original
    model : of the answer's error
    context : what the formulas use
    """
    problem = context.problem
    if layer.spectrum.live == 0:
        return 0.0
    singular = problem.shared is not None and layer.spectrum.rank < layer.spectrum.live
    if problem.preparation.ridge > 0 or singular or problem.ideal is not problem.weight:
        return math.nan
    return FORMULAS[type(model)](model, context)


#: The finite-rate prediction costs n³ and is left out above this many live columns.
FINITE_RATE_COLUMNS = 1024


def _column_steps_at_finite_rate(model: ColumnSteps, layer: Layer, problem: Problem) -> float:
    """With feedback by the covariance recursion of `rdtools.theory.finite_rate`, without by the scalar quantizer alone."""
    variance, steps, shared = problem.weight_std**2, model.steps, problem.shared
    if model.fitted:  # to the integers, which the recursion does not know
        return math.nan
    if shared is None:
        scalar = uniform_quantizer(float(steps[0]) / problem.weight_std)
        mean_diagonal = float(np.mean(layer.spectrum.diagonal))
        return problem.live_fraction * variance * mean_diagonal * (scalar.lmmse_distortion if model.shrunk else scalar.distortion)
    if len(steps) > FINITE_RATE_COLUMNS:
        return math.nan
    ridge, ordered = shared.penalty, steps[shared.order]
    point = sic_at_finite_rate(shared.factor, ordered, variance, lmmse=model.shrunk, damping=shared.damping_added, ridge=ridge)
    return problem.live_fraction * point.distortion


def _trellis_steps_at_finite_rate(model: TrellisSteps, layer: Layer, problem: Problem) -> float:
    """By the covariance recursion with the channel of the trellis."""
    shared = problem.prepared_input
    if len(model.steps) > FINITE_RATE_COLUMNS:
        return math.nan
    point = sic_at_finite_rate(
        shared.factor,
        model.steps[shared.order],
        problem.weight_std**2,
        lmmse=False,
        damping=shared.damping_added,
        ridge=shared.penalty,
        channel=trellis_channel(model.states),
    )
    return problem.live_fraction * point.distortion


#: Formula at the very steps that were used, for the kinds that have one: (model, layer, problem) → distortion per weight.
FINITE_RATE_FORMULAS: dict[type[ErrorModel], Callable[[Any, Layer, Problem], float]] = {
    ColumnSteps: _column_steps_at_finite_rate,
    TrellisSteps: _trellis_steps_at_finite_rate,
}


def finite_rate_distortion(layer: Layer, model: ErrorModel, problem: Problem) -> float:
    """Distortion predicted at the very steps that were used, for iid Gaussian weights; nan for a fixed rate and above
    FINITE_RATE_COLUMNS.
    """
    formula = FINITE_RATE_FORMULAS.get(type(model))
    if formula is None or problem.weight_std == 0 or problem.ideal is not problem.weight:
        return math.nan
    return formula(model, layer, problem)
