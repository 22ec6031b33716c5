"""Where theory and measurement first meet: one row for each layer, method and rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from rdtools.compare.predictions import Context, finite_rate_distortion, noise_gains, predicted_distortion, row_variances
from rdtools.measure import measure
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import spectrum_with_vectors
from rdtools.quantizers import Problem, Quantizer
from rdtools.records import QuantizedLayer, RDPoint, Spectrum
from rdtools.records.error_models import ErrorModel
from rdtools.theory import high_rate, incoherence, rotated_cholesky, sic
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy, negentropy_bits
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
        "hessian_incoherence": incoherence.hessian_incoherence(spectrum_with_vectors(layer.hessian)),
        "leading_eigenvalue_share": float(spectrum.eigenvalues[0] / spectrum.eigenvalues.sum()) if spectrum.live else math.nan,
        "least_pivot": least_pivot(spectrum),
        "critical_rate_bits": high_rate.critical_rate_bits(spectrum),
        "natural_gptq_gap_bits": sic.gptq_gap_bits(spectrum),
        "rotated_gptq_gap_bits": rotated_cholesky.rotated_gptq_gap_bits(spectrum),
        "rtn_gap_bits": sic.rtn_gap_bits(spectrum),
    }


def layer_status(layer: Layer) -> str:
    """ok; degenerate where the weights or the Hessian are all zero; undersampled where there are fewer tokens than live columns."""
    if not layer.live.any() or not np.any(layer.live_weight):
        return "degenerate"
    if 0 < layer.hessian.n_tokens < int(layer.live.sum()):
        return "undersampled"
    return "ok"


@dataclass(frozen=True, eq=False)
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


def side_information_message(model: ErrorModel, point: RDPoint, gptq_gap_bits: float) -> str:
    """Why unequal steps may lose to equal ones on this layer: their exponents are one byte or less each, but of few rows that is much."""
    if model.relative_steps is None or not point.side_info_bits > gptq_gap_bits:
        return ""
    return (
        f"side information takes {point.side_info_bits:.4f} bit, more than the {gptq_gap_bits:.4f} bit that unequal steps gain over equal "
        "ones here at high rate: GPTQ may come nearer to the limit"
    )


def high_rate_applies(layer: Layer, model: ErrorModel, distortion: float) -> bool:
    """True where high-rate theory may be used; never without a uniform grid."""
    if model.widest_steps is None:
        return False
    return sic.high_rate_applies(model.widest_steps, layer.spectrum, distortion, row_variances(model, layer.weight_variance).minimum)


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
    facts = layer_facts(layer) if facts is None else facts
    point = measure(layer, quantized)
    model, gains = quantized.error_model, noise_gains(layer, problem)
    # theory knows no histograms to be sent: at the entropy of the codes
    entropies = {"shared": point.entropy_shared_bits, "column": point.entropy_column_bits, None: point.code_rate_bits}
    predicted = predicted_distortion(layer, model, Context(problem, gains, entropies[model.histogram]))
    finite = finite_rate_distortion(layer, model, problem)
    limit = float(rate_distortion(point.distortion, facts.mean_limit).rate_bits)
    joint_limit = float(rate_distortion(point.distortion, facts.joint_limit).rate_bits)
    turn = quantized.weight.basis.rotation
    gptq_gap = math.nan if problem.shared is None else sic.noise_gap_bits(layer.spectrum, gains)
    return {
        **facts.columns,
        "method": format_method(quantizer),
        "target_rate_bits": quantized.target_rate_bits,
        "status": facts.status,
        "message": side_information_message(model, point, gptq_gap),
        **asdict(point),
        "predicted_distortion": predicted,
        "distortion_ratio": point.distortion / predicted if predicted > 0 else math.nan,
        "high_rate": high_rate_applies(layer, model, point.distortion),
        "finite_rate_distortion": finite,
        "finite_rate_ratio": point.distortion / finite if finite > 0 else math.nan,
        "limit_rate_bits": limit,
        "limit_distortion": float(distortion_rate(point.code_rate_bits, facts.mean_limit).distortion),
        "gap_bits": point.code_rate_bits - limit,
        "coded_gap_bits": point.coded_bits - limit,
        "joint_limit_rate_bits": joint_limit,
        "joint_coded_gap_bits": point.coded_bits - joint_limit,
        "gptq_gap_bits": gptq_gap,
        "rotation": "none" if turn is None else turn.kind,
        "damping": quantized.damping,
        "seed": quantized.seed,
        "backend": quantized.backend,
    }
