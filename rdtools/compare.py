"""Where theory and measurement first meet: one row for each layer, method and rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import column_levels, spread_groups
from rdtools.design import MmseWaterSIC
from rdtools.hessians.layer import Layer
from rdtools.measure import measure
from rdtools.quantizers import Problem, Quantizer, QuIP, ScalarQuantizer, VectorQuantizer, WaterfilledGPTQ
from rdtools.records import QuantizedLayer, RDPoint, ScalarCodes, Spectrum
from rdtools.theory import high_rate, incoherence, ldlq, rotation, sic
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.theory.scalar import uniform_quantizer
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy, negentropy_bits
from rdtools.theory.stored_grid import stored_grid_distortion
from rdtools.theory.waterfilling import Components, components, distortion_rate, joint_components, rate_distortion

#: What `layer_columns` says of a layer, in order.
LAYER_COLUMNS = (
    "model",
    "layer",
    "layer_type",
    "block",
    "rows",
    "columns",
    "live_columns",
    "rank",
    "n_tokens",
    "dropped_tokens",
    "weight_variance",
    "weight_negentropy_bits",
    "weight_incoherence",
    "hessian_incoherence",
    "leading_eigenvalue_share",
    "least_pivot",
    "critical_rate_bits",
    "natural_gptq_gap_bits",
    "rotated_gptq_gap_bits",
    "rtn_gap_bits",
)

#: What `compare` adds to the columns of the layer, in order.
RESULT_COLUMNS = (
    "method",
    "target_rate_bits",
    "status",
    "message",
    *(f.name for f in fields(RDPoint)),
    "predicted_distortion",
    "distortion_ratio",
    "high_rate",
    "finite_rate_distortion",
    "finite_rate_ratio",
    "limit_rate_bits",
    "limit_distortion",
    "gap_bits",
    "coded_gap_bits",
    "joint_limit_rate_bits",
    "joint_coded_gap_bits",
    "gptq_gap_bits",
    "rotation",
    "damping",
    "seed",
    "backend",
)


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


def weight_negentropy_bits(layer: Layer) -> float:
    """Bits by which the Shannon lower bound for iid weights of this layer's empirical law lies below the Gaussian limit at high rate.

    nan for weights that have no density: a single one, or one value that makes up more than ATOM_SHARE of them, as zeros of pruned ones.
    """
    live = layer.live_weight
    if live.size < 2:
        return math.nan
    estimate = differential_entropy(live)
    return negentropy_bits(estimate.entropy_bits, layer.weight_variance) if estimate.largest_share <= ATOM_SHARE else math.nan


def least_pivot(spectrum: Spectrum) -> float:
    """Least share ``ℓ_ii²/H_ii`` of a column's energy that those before it do not explain; 0 where H is singular, nan without columns."""
    if spectrum.live == 0:
        return math.nan
    return float(np.min(spectrum.cholesky_diagonal**2 / spectrum.diagonal)) if spectrum.rank == spectrum.live else 0.0


def layer_columns(layer: Layer) -> dict[str, Any]:
    """The columns that depend on the layer alone."""
    spectrum = layer.spectrum
    m, n = layer.weight.shape
    return {
        "model": layer.key.model,
        "layer": layer.key.name,
        "layer_type": layer.key.type,
        "block": layer.key.block,
        "rows": m,
        "columns": n,
        "live_columns": spectrum.live,
        "rank": spectrum.rank,
        "n_tokens": layer.hessian.n_tokens,
        "dropped_tokens": layer.hessian.dropped_tokens,
        "weight_variance": layer.weight_variance,
        "weight_negentropy_bits": weight_negentropy_bits(layer),
        "weight_incoherence": incoherence.weight_incoherence(layer.live_weight),
        "hessian_incoherence": incoherence.hessian_incoherence(spectrum),
        "leading_eigenvalue_share": float(spectrum.eigenvalues[0] / spectrum.eigenvalues.sum()) if spectrum.live else math.nan,
        "least_pivot": least_pivot(spectrum),
        "critical_rate_bits": high_rate.critical_rate_bits(spectrum),
        "natural_gptq_gap_bits": sic.gptq_gap_bits(spectrum),
        "rotated_gptq_gap_bits": rotation.rotated_gptq_gap_bits(spectrum),
        "rtn_gap_bits": sic.rtn_gap_bits(spectrum),
    }


def layer_status(layer: Layer) -> str:
    """ok; degenerate where the weights or the Hessian are all zero; undersampled where there are fewer tokens than live columns."""
    if not layer.live.any() or not np.any(layer.live_weight):
        return "degenerate"
    if 0 < layer.hessian.n_tokens < int(layer.live.sum()):
        return "undersampled"
    return "ok"


@dataclass(frozen=True)
class LayerFacts:
    """What every row of a layer needs and no method changes, worked out once.

    Attributes
    ----------
    columns : from `layer_columns`
    status : from `layer_status`
    mean_limit : components ``σ² λ_i`` with σ² the mean square of the live weights
    joint_limit : components ``σ_k² λ_i`` over rows k and directions i
    """

    columns: dict[str, Any]
    status: str
    mean_limit: Components
    joint_limit: Components


def layer_facts(layer: Layer) -> LayerFacts:
    """Columns, status and the two limits of a layer; dead columns are components of variance zero."""
    spectrum = layer.spectrum
    eigenvalues = np.concatenate([spectrum.eigenvalues, np.zeros(spectrum.columns - spectrum.live)])
    return LayerFacts(
        columns=layer_columns(layer),
        status=layer_status(layer),
        mean_limit=components(layer.weight_variance * eigenvalues),
        joint_limit=joint_components(layer.row_variances, eigenvalues),
    )


def compare(
    layer: Layer,
    quantizer: Quantizer,
    quantized: QuantizedLayer,
    problem: Problem | None = None,
    facts: LayerFacts | None = None,
) -> dict[str, Any]:
    """Measure a quantized layer and put theory beside it.

    Parameters
    ----------
    layer : the original
    quantizer : the method with its settings
    quantized : its answer
    problem : the prepared layer it worked on; made again if not given
    facts : of the layer; worked out again if not given

    Returns
    -------
    dict
        ``predicted_distortion`` of the method at the rate of its codes, histograms apart, by high-rate theory, and ``high_rate``, whether
        that is where it applies; ``finite_rate_distortion`` at the steps used, by theory that holds from about 1.5 bits on;
        ``limit_rate_bits``, the least rate of any method at the measured distortion for iid N(0, σ²) weights of the same mean variance, and
        ``joint_limit_rate_bits`` for independent rows of the measured row variances; ``gap_bits`` = code rate − limit rate and
        ``coded_gap_bits`` = coded − limit rate; ``gptq_gap_bits``, what equal steps with this basis and damping lose to WaterSIC at high
        rate. Predictions with feedback are nan for a singular H.
    """
    problem = quantizer.prepare(layer, seed=quantized.seed) if problem is None else problem
    if isinstance(quantizer, MmseWaterSIC):
        quantizer = quantizer.settings(layer, seed=quantized.seed)
    facts = layer_facts(layer) if facts is None else facts
    point = measure(layer, quantized)
    spectrum = layer.spectrum
    gains = noise_gains(layer, problem)
    codes = quantized.weight.codes
    # theory knows no histograms to be sent: at the entropy of the codes
    entropies = {"shared": point.entropy_shared_bits, "histogram": point.entropy_column_bits}
    rate = entropies.get(codes.model.kind, point.code_rate_bits) if isinstance(codes, ScalarCodes) else point.code_rate_bits
    predicted = predicted_distortion(layer, quantizer, quantized, problem, gains, rate_bits=rate)
    finite = finite_rate_distortion(layer, quantized, problem)
    limit = float(rate_distortion(point.distortion, facts.mean_limit).rate_bits)
    joint_limit = float(rate_distortion(point.distortion, facts.joint_limit).rate_bits)
    turn = quantized.weight.basis.rotation
    return {
        **facts.columns,
        "method": quantized.method,
        "target_rate_bits": quantized.target_rate_bits,
        "status": facts.status,
        "message": "",
        **asdict(point),
        "predicted_distortion": predicted,
        "distortion_ratio": point.distortion / predicted if predicted > 0 else math.nan,
        "high_rate": isinstance(codes, ScalarCodes)
        and sic.high_rate_applies(applied_steps(codes), spectrum, point.distortion, coded_variances(codes, layer.weight_variance).least),
        "finite_rate_distortion": finite,
        "finite_rate_ratio": point.distortion / finite if finite > 0 else math.nan,
        "limit_rate_bits": limit,
        "limit_distortion": float(distortion_rate(point.code_rate_bits, facts.mean_limit).distortion),
        "gap_bits": point.code_rate_bits - limit,
        "coded_gap_bits": point.coded_bits - limit,
        "joint_limit_rate_bits": joint_limit,
        "joint_coded_gap_bits": point.coded_bits - joint_limit,
        "gptq_gap_bits": math.nan if problem.factor is None else sic.noise_gap_bits(spectrum, gains),
        "rotation": "none" if turn is None else turn.kind,
        "damping": quantized.damping,
        "seed": quantized.seed,
        "backend": quantized.backend,
    }
