"""What theory predicts for what a quantizer did: the one place where a method's settings meet the formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import column_levels, spread_groups
from rdtools.hessians.layer import Layer
from rdtools.quantizers import Problem, Quantizer, QuIP, ScalarQuantizer, VectorQuantizer, WaterfilledGPTQ
from rdtools.records import QuantizedLayer, ScalarCodes
from rdtools.stored_grid import stored_grid_distortion
from rdtools.theory import ldlq, sic
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.theory.scalar import uniform_quantizer


def added_energy(problem: Problem) -> float:
    """What damping and ridge put on the diagonal of the Hessian, absolute, in the basis of the factor."""
    if problem.factor is None or len(problem.factor) == 0:
        return 0.0
    larger = (1 + problem.damping) * (1 + problem.ridge)
    return float(np.sum(problem.factor**2)) / len(problem.factor) * (1 - 1 / larger)


def noise_gains(layer: Layer, problem: Problem) -> NDArray[np.float64]:
    """Distortion per unit of squared step over 12, by column, in the basis and with the damping that the quantizer used.

    Without a factor (rounding to nearest) the diagonal of H, whose mean a rotation leaves as it is.
    """
    if problem.factor is None:
        return layer.spectrum.diagonal
    return problem.by_column(damped_noise_gains(problem.factor, added_energy(problem)))


def fixed_grid_prediction(quantizer: ScalarQuantizer, problem: Problem, codes: ScalarCodes, gains: NDArray[np.float64]) -> float:
    """With one absmax grid a row by its range alone, else by rounding the weights themselves to the grids that were stored."""
    share, levels, r = problem.live_fraction, codes.model.levels, problem.weight.shape[1]
    if quantizer.absmax_rows:
        row_absmax = np.abs(problem.weight).max(axis=1, initial=0.0)
        return sic.absmax_distortion(gains, row_absmax, levels, feedback=problem.factor is not None, live_fraction=share)
    assert codes.row_scales is not None
    scales = spread_groups(codes.row_scales, codes.group_size, r) * codes.column_steps
    shifts = np.full(problem.weight.shape, codes.offset)
    if codes.zero_points is not None:
        shifts -= spread_groups(codes.zero_points, codes.group_size, r)
    return stored_grid_distortion(problem.target, scales, shifts, column_levels(codes), gains, live_fraction=share)


def quip_prediction(quantizer: QuIP, problem: Problem, codes: ScalarCodes, gains: NDArray[np.float64]) -> float:
    """LDLQ's loss for the roundings of the weights themselves; what is clamped beforehand is fed back to nobody and loses H_ii.

    nan for other feedback and greedy passes, and for stochastic rounding that clamps.
    """
    assert problem.factor is not None
    if not quantizer.feeds_back:
        return math.nan
    weight, share, levels = problem.target, problem.live_fraction, column_levels(codes)
    reach = 0.5 * (codes.model.levels - 1) * codes.step
    inside = np.clip(weight, -reach, reach) if quantizer.clamps_first else weight
    if quantizer.stochastic:
        return share * codes.step**2 / 6 * float(np.mean(gains)) if np.abs(weight).max(initial=0.0) <= reach else math.nan
    ones = np.ones_like(weight)
    lost = stored_grid_distortion(inside, codes.step * ones, codes.offset * ones, levels, gains, live_fraction=share)
    if quantizer.clamps_first:
        energies = problem.by_column(np.sum(problem.factor**2, axis=1) - added_energy(problem))
        lost += share * float(np.mean(energies * np.mean((weight - inside) ** 2, axis=0)))
    return lost


@dataclass(frozen=True)
class RowVariances:
    """What normal laws take the variances of rows to be, that of all weights being given: their geometric mean, and the least."""

    geometric_mean: float
    least: float


def coded_variances(codes: ScalarCodes, variance: float) -> RowVariances:
    """Those that row exponents stand for; the variance itself without them."""
    if codes.row_exponents is None:
        return RowVariances(variance, variance)
    logs = codes.row_exponents / 4.0
    arithmetic = float(np.mean(np.exp2(logs)))
    return RowVariances(variance * 2.0 ** float(np.mean(logs)) / arithmetic, variance * 2.0 ** float(np.min(logs)) / arithmetic)


def predicted_distortion(
    layer: Layer, quantizer: Quantizer, quantized: QuantizedLayer, problem: Problem, gains: NDArray[np.float64], *, rate_bits: float
) -> float:
    """What high-rate theory promises for a method at a rate; nan where it has no formula.

    It has none for a shared histogram of unequal columns (the mixture costs what this theory does not count), nor with a ridge or dropped
    columns, whose targets are not independent, nor for a singular H, nor for greedy passes or feedback that clamping shapes.

    Parameters
    ----------
    layer : the original
    quantizer : the method
    quantized : its answer
    problem : the prepared layer, for the weights' variance and row ranges
    gains : from `noise_gains`
    rate_bits : of the codes, bits per weight of the full matrix
    """
    share, codes = problem.live_fraction, quantized.weight.codes
    if layer.spectrum.live == 0:
        return 0.0
    singular = problem.factor is not None and layer.spectrum.rank < layer.spectrum.live
    if problem.ridge > 0 or singular or problem.ideal is not problem.weight:
        return math.nan
    if isinstance(quantizer, VectorQuantizer):
        assert problem.factor is not None
        error = quantizer.error * problem.weight_std**2
        return share * ldlq.block_distortion(problem.factor, quantizer.block, error, damping=added_energy(problem))
    assert isinstance(codes, ScalarCodes)
    if isinstance(quantizer, QuIP):
        return quip_prediction(quantizer, problem, codes, gains)
    assert isinstance(quantizer, ScalarQuantizer)
    if codes.model.levels:
        return fixed_grid_prediction(quantizer, problem, codes, gains)
    steps = quantizer.relative_steps(problem)
    if steps is not None and quantizer.coding == "shared":
        return math.nan
    steps = np.ones_like(gains) if steps is None else steps
    if isinstance(quantizer, WaterfilledGPTQ) and steps.size and np.ptp(np.log2(steps**2 * problem.noise_gains)) > 1e-6:
        return math.nan  # a column under the water has no high-rate theory
    return sic.sic_distortion(gains, steps, rate_bits, coded_variances(codes, problem.weight_std**2).geometric_mean, live_fraction=share)


#: The finite-rate prediction costs n³ and is left out above this many live columns.
FINITE_RATE_COLUMNS = 1024


def finite_rate_distortion(layer: Layer, quantized: QuantizedLayer, problem: Problem) -> float:
    """What is predicted at the very steps that were used, for iid normal weights; nan for a fixed rate and above FINITE_RATE_COLUMNS.

    With feedback by the covariance recursion of `rdtools.theory.finite_rate`, without by the scalar quantizer alone.
    """
    codes = quantized.weight.codes
    variance = problem.weight_std**2
    if not isinstance(codes, ScalarCodes) or codes.model.kind == "fixed" or variance == 0 or problem.ideal is not problem.weight:
        return math.nan
    if codes.column_gains is not None or codes.row_scales is not None:
        return math.nan  # fitted to the codes, which the recursion does not know
    share, steps, lmmse = problem.live_fraction, codes.column_steps, codes.gain_std > 0
    mean_diagonal = float(np.mean(layer.spectrum.diagonal))
    if problem.factor is None:
        scalar = uniform_quantizer(codes.step / problem.weight_std)
        return share * variance * mean_diagonal * (scalar.lmmse_distortion if lmmse else scalar.distortion)
    if len(steps) > FINITE_RATE_COLUMNS:
        return math.nan
    ridge = problem.penalty
    damping = max(added_energy(problem) - ridge, 0.0)  # of sums that rounding may leave below
    point = sic_at_finite_rate(problem.factor, steps[problem.order], variance, lmmse=lmmse, damping=damping, ridge=ridge)
    return share * point.distortion


def applied_steps(codes: ScalarCodes) -> NDArray[np.float64]:
    """(r,) distance of neighbouring points of each column, gains that are fitted to codes included."""
    return codes.column_steps if codes.column_gains is None else codes.column_steps * codes.column_gains
