"""Predictions of theory for a quantizer's answer: one formula for each kind of error model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rdtools.arrays import Float64Array, on_host, row_absmax
from rdtools.coding import spread_groups
from rdtools.compare.heldout import predicted_heldout_ratio
from rdtools.compare.stored_grid import stored_grid_distortion
from rdtools.quantizers import Problem
from rdtools.records import Spectrum
from rdtools.records.error_models import (
    AbsmaxRows,
    BlockCode,
    ColumnSteps,
    CriticalGroups,
    ErrorModel,
    LatticeSteps,
    NoErrorModel,
    StoredGrid,
    TrellisSteps,
    UnbiasedRounding,
)
from rdtools.rounded import rounded_gaussian
from rdtools.theory import ldlq, sic
from rdtools.theory.critical_channels import residual_error
from rdtools.theory.finite_rate import FINITE_RATE_COLUMNS, sic_at_finite_rate
from rdtools.theory.trellis_channel import granular_gain_db, trellis_channel


@dataclass(frozen=True, eq=False)
class Context:
    """Facts of a layer and its preparation that formulas use.

    Attributes
    ----------
    problem : the prepared layer, for its weights and factor
    spectrum : of H
    gains : (r,) distortion per unit of squared step over 12, by column, in the basis and with the damping that the quantizer used; without
        a factor (rounding to nearest) the diagonal of H, whose mean a rotation leaves as it is
    energies : (r,) diagonal of H by column, in that basis without damping
    rate_bits : of the integers, bits per weight of the full matrix
    """

    problem: Problem
    spectrum: Spectrum
    gains: Float64Array
    energies: Float64Array
    rate_bits: float

    @property
    def share(self) -> float:
        """Active input channels over all, r/n."""
        return self.problem.active_fraction


@dataclass(frozen=True)
class RowVariances:
    """Variances of rows under Gaussian entropy models: their geometric mean, and the minimum."""

    geometric_mean: float
    minimum: float


def row_variances(model: ErrorModel, variance: float) -> RowVariances:
    """Variances that the row exponents of a model stand for, `variance` being that of all weights; `variance` itself without them."""
    if model.row_exponents is None:
        return RowVariances(variance, variance)
    logs = model.row_exponents / 4.0
    arithmetic = float(np.mean(np.exp2(logs)))
    return RowVariances(variance * 2.0 ** float(np.mean(logs)) / arithmetic, variance * 2.0 ** float(np.min(logs)) / arithmetic)


def _none(model: NoErrorModel, context: Context) -> float:
    return math.nan


def _column_steps(model: ColumnSteps, context: Context) -> float:
    """By the steps up to a factor and the rate; nan where one histogram mixes unequal columns, a column is under the water, or models are
    learnt.
    """
    if model.learnt or model.waterfilled or (model.relative_steps is not None and model.histogram == "shared"):
        return math.nan
    steps = np.ones_like(context.gains) if model.relative_steps is None else model.relative_steps
    variance = row_variances(model, context.problem.weight_std**2).geometric_mean
    return sic.sic_distortion(context.gains, steps, context.rate_bits, variance, active_fraction=context.share)


def _trellis_steps(model: TrellisSteps | LatticeSteps, context: Context) -> float:
    """By the steps up to a factor and the rate, less the granular gain; nan where models are learnt."""
    if model.learnt:
        return math.nan
    variance = row_variances(model, context.problem.weight_std**2).geometric_mean
    assert model.relative_steps is not None
    scalar = sic.sic_distortion(context.gains, model.relative_steps, context.rate_bits, variance, active_fraction=context.share)
    return scalar * 10 ** (-granular_gain_db(_shape(model)) / 10)


def _shape(model: TrellisSteps | LatticeSteps) -> int | str:
    """States of the trellis or name of the lattice, as theory has them."""
    return model.states if isinstance(model, TrellisSteps) else model.lattice


def _absmax_rows(model: AbsmaxRows, context: Context) -> float:
    """By the ranges of the rows alone."""
    feedback = context.problem.shared is not None
    return sic.absmax_distortion(
        context.gains, row_absmax(context.problem.weight), model.levels, feedback=feedback, active_fraction=context.share
    )


def _stored_grid(model: StoredGrid, context: Context) -> float:
    """By rounding the weights themselves to the grids that were stored; error made by clipping before rounding is not fed back, and
    costs H_ii per unit.
    """
    target, grid, rows = on_host(context.problem.target), model.grid, model.grid.rows
    r = target.shape[1]
    scales, shifts = np.broadcast_to(grid.column_steps(r), target.shape), np.full(target.shape, grid.offset)
    if rows is not None:
        scales = spread_groups(rows.scales, rows.group_size, r) * scales
    if rows is not None and rows.zero_points is not None:
        shifts -= spread_groups(rows.zero_points, rows.group_size, r)
    inside = target if model.reach is None else np.clip(target, -model.reach, model.reach)
    lost = stored_grid_distortion(inside, scales, shifts, grid.column_levels(r), context.gains, active_fraction=context.share)
    if model.reach is not None:
        lost += context.share * float(np.mean(context.energies * np.mean((target - inside) ** 2, axis=0)))
    return lost


def _unbiased_rounding(model: UnbiasedRounding, context: Context) -> float:
    return context.share * model.step**2 / 6 * float(np.mean(context.gains))


def _block_code(model: BlockCode, context: Context) -> float:
    shared = context.problem.shared
    assert shared is not None  # a block code is decided with feedback
    error = model.error * context.problem.weight_std**2
    return context.share * ldlq.block_distortion(on_host(shared.factor), model.block, error, damping=shared.added)


def _critical_groups(model: CriticalGroups, context: Context) -> float:
    """By the errors of codebooks on normal weights."""
    basic = residual_error(model.bits, model.basic)
    extended = residual_error(model.bits, model.basic + model.extended) if model.critical.any() else basic
    errors = np.where(model.critical, extended, basic)
    return context.share * context.problem.weight_std**2 * float(np.mean(errors * context.energies))


#: High-rate formula of each kind of error model: (model, context) → distortion per weight.
FORMULAS: dict[type[ErrorModel], Callable[[Any, Context], float]] = {
    NoErrorModel: _none,
    ColumnSteps: _column_steps,
    TrellisSteps: _trellis_steps,
    LatticeSteps: _trellis_steps,
    AbsmaxRows: _absmax_rows,
    StoredGrid: _stored_grid,
    UnbiasedRounding: _unbiased_rounding,
    BlockCode: _block_code,
    CriticalGroups: _critical_groups,
}


#: From so many bits of feedback on, what columns are given are the errors of few others, which are not normal: there is no prediction.
MAX_FEEDBACK_BITS = 1.0


def _column_steps_at_finite_rate(model: ColumnSteps, context: Context) -> float:
    """With feedback by the covariance recursion, without by the scalar quantizer alone."""
    if model.fitted:  # to the integers, which the recursion does not know
        return math.nan
    if context.problem.shared is None:
        std = context.problem.weight_std
        scalar = rounded_gaussian(float(model.steps[0]) / std)
        return context.share * std**2 * float(np.mean(context.spectrum.diagonal)) * scalar.distortion
    return _with_feedback(context, model.steps, lmmse=model.lmmse)


def _trellis_steps_at_finite_rate(model: TrellisSteps | LatticeSteps, context: Context) -> float:
    """By the covariance recursion with the channel of the trellis or the lattice."""
    return _with_feedback(context, model.steps, channel=trellis_channel(_shape(model)))


def _with_feedback(context: Context, steps: Float64Array, *, lmmse: bool = False, channel: Float64Array | None = None) -> float:
    """By the covariance recursion of `rdtools.theory.finite_rate`."""
    shared = context.problem.shared
    assert shared is not None
    if len(steps) > FINITE_RATE_COLUMNS:
        return math.nan
    point = sic_at_finite_rate(
        on_host(shared.factor),
        steps[shared.order],
        context.problem.weight_std**2,
        lmmse=lmmse,
        damping=shared.damping_added,
        ridge=shared.penalty,
        channel=channel,
    )
    return context.share * point.distortion if point.feedback_bits < MAX_FEEDBACK_BITS else math.nan


#: Formula at the very steps that were used, for the kinds that have one.
FINITE_RATE_FORMULAS: dict[type[ErrorModel], Callable[[Any, Context], float]] = {
    ColumnSteps: _column_steps_at_finite_rate,
    TrellisSteps: _trellis_steps_at_finite_rate,
    LatticeSteps: _trellis_steps_at_finite_rate,
}


@dataclass(frozen=True)
class Predictions:
    """The promises of theory for a quantizer's answer, from its error model and the prepared layer.

    Attributes
    ----------
    high_rate_distortion : per weight; nan where there is no formula: a shared histogram of unequal columns (the mixture costs what this
        theory does not count), a ridge or dropped columns, whose targets are not independent, a singular H, greedy passes, and feedback
        that clipping shapes
    finite_rate_distortion : per weight at the very steps that were used, for iid Gaussian weights; nan for a fixed rate, above
        `rdtools.theory.finite_rate.FINITE_RATE_COLUMNS`, and from MAX_FEEDBACK_BITS of feedback on
    heldout_over_calibration : ratio of relative distortions at high rate if all tokens are independent and normal of one distribution;
        1 without feedback, nan for an exact Hessian, with damping, a ridge or a bias, and where `predicted_heldout_ratio` has no formula
    gptq_gap_bits : rate over R(D) of equal steps at high rate, in the basis and with the damping that were used; nan without feedback
    """

    high_rate_distortion: float
    finite_rate_distortion: float
    heldout_over_calibration: float
    gptq_gap_bits: float


def predict(problem: Problem, spectrum: Spectrum, model: ErrorModel, *, rate_bits: float, tokens: int) -> Predictions:
    """The predictions for an answer.

    Parameters
    ----------
    problem : the prepared layer
    spectrum : of its Hessian
    model : of the answer's error
    rate_bits : of the integers, bits per weight of the full matrix
    tokens : distinct ones behind the Hessian; 0 for an exact one
    """
    shared = problem.shared
    gains, energies = (spectrum.diagonal,) * 2 if shared is None else (shared.noise_weights, shared.energies)
    context = Context(problem, spectrum, gains, energies, rate_bits)
    singular = shared is not None and spectrum.rank < spectrum.active
    retargeted = problem.ideal is not problem.weight
    if spectrum.active == 0:
        high_rate = 0.0
    elif problem.preparation.ridge > 0 or singular or retargeted:
        high_rate = math.nan
    else:
        high_rate = FORMULAS[type(model)](model, context)
    formula = FINITE_RATE_FORMULAS.get(type(model))
    finite_rate = math.nan if formula is None or problem.weight_std == 0 or retargeted else formula(model, context)
    heldout = math.nan
    if problem.preparation.centred:  # the error of the mean counts too
        pass
    elif tokens and shared is None:
        heldout = 1.0
    elif tokens and shared is not None and not (shared.added or retargeted):
        heldout = predicted_heldout_ratio(model, on_host(shared.factor), shared.order, tokens)
    return Predictions(high_rate, finite_rate, heldout, math.nan if shared is None else sic.noise_gap_bits(spectrum, gains))
