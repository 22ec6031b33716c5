"""Where theory and measurement first meet: one row for each layer, method and rate."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from rdtools.hessians.layer import Layer
from rdtools.measure import measure
from rdtools.quantizers import GPTQ, RTN, Problem, ScalarQuantizer, WaterSIC
from rdtools.records import QuantizedLayer, RDPoint, Spectrum
from rdtools.theory import high_rate, incoherence, rotation, sic
from rdtools.theory.waterfilling import distortion_rate, joint_variances, rate_distortion

#: Components of the joint limit up to which all of them are sorted; above, rows are pooled into equal groups.
_JOINT_COMPONENTS = 4_000_000


#: What `compare` adds to the columns of the layer, in order.
RESULT_COLUMNS = (
    "method",
    "target_rate_bits",
    "status",
    "message",
    *(f.name for f in fields(RDPoint)),
    "predicted_distortion",
    "distortion_ratio",
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


def basis_spectrum(layer: Layer, problem: Problem) -> Spectrum:
    """The layer's spectrum with the Cholesky diagonal of the basis that the quantizer worked in."""
    if problem.rotation is None:
        return layer.spectrum
    return replace(layer.spectrum, cholesky_diagonal=np.diagonal(problem.factor).copy(), damping=problem.damping)


def predicted_distortion(quantizer: ScalarQuantizer, problem: Problem, spectrum: Spectrum, *, rate_bits: float, levels: int) -> float:
    """What high-rate theory promises for a method at a rate, in the basis of `spectrum`; nan where it has no formula.

    Parameters
    ----------
    quantizer : the method
    problem : the prepared layer, for the weights' variance and row ranges
    spectrum : from `basis_spectrum`
    rate_bits : of the codes, bits per weight of the full matrix
    levels : of a fixed-rate grid, else 0
    """
    variance = problem.weight_std**2
    if levels:
        row_absmax = np.abs(problem.weight).max(axis=1, initial=0.0)
        return sic.absmax_distortion(spectrum, row_absmax, levels, feedback=isinstance(quantizer, GPTQ))
    if isinstance(quantizer, RTN):
        return sic.rtn_distortion(spectrum, rate_bits, variance)
    if isinstance(quantizer, GPTQ):
        return sic.gptq_distortion(spectrum, rate_bits, variance)
    # a shared histogram costs WaterSIC a mixture term that this formula does not have
    if isinstance(quantizer, WaterSIC) and quantizer.coding == "column" and spectrum.rank == spectrum.live:
        return sic.watersic_distortion(spectrum, rate_bits, variance)
    return math.nan


def limit_variances(layer: Layer, *, joint: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Component variances of the limit: ``σ² λ_i`` with the mean variance σ², or ``σ_k² λ_i`` over rows k and directions i.

    Dead columns are components of variance zero. A joint spectrum of more than 4·10⁶ components is pooled over neighbouring rows of the
    sorted row variances, which moves the limit up, by less than the spread of variances inside a pool.
    """
    spectrum = layer.spectrum
    eigenvalues = np.concatenate([spectrum.eigenvalues, np.zeros(spectrum.columns - spectrum.live)])
    rows = np.mean(layer.weight[:, layer.live] ** 2, axis=1) if spectrum.live else np.zeros(len(layer.weight))
    if not joint:
        return float(rows.mean()) * eigenvalues
    pools = max(1, _JOINT_COMPONENTS // spectrum.columns)
    if len(rows) > pools:
        rows = np.concatenate([np.full(len(part), part.mean()) for part in np.array_split(np.sort(rows), pools)])
    return joint_variances(rows, eigenvalues)


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
        "weight_variance": float(np.mean(layer.weight[:, layer.live] ** 2)) if spectrum.live else 0.0,
        "weight_incoherence": incoherence.weight_incoherence(layer.weight),
        "hessian_incoherence": incoherence.hessian_incoherence(spectrum),
        "critical_rate_bits": high_rate.critical_rate_bits(spectrum),
        "natural_gptq_gap_bits": sic.gptq_gap_bits(spectrum),
        "rotated_gptq_gap_bits": rotation.rotated_gptq_gap_bits(spectrum),
        "rtn_gap_bits": sic.rtn_gap_bits(spectrum),
    }


def layer_status(layer: Layer) -> str:
    """ok; degenerate where the weights or the Hessian are all zero; undersampled where there are fewer tokens than live columns."""
    if not layer.live.any() or not np.any(layer.weight[:, layer.live]):
        return "degenerate"
    if 0 < layer.hessian.n_tokens < int(layer.live.sum()):
        return "undersampled"
    return "ok"


def compare(layer: Layer, quantizer: ScalarQuantizer, quantized: QuantizedLayer, problem: Problem | None = None) -> dict[str, Any]:
    """Measure a quantized layer and put theory beside it.

    Parameters
    ----------
    layer : the original
    quantizer : the method with its settings
    quantized : its answer
    problem : the prepared layer it worked on; made again if not given

    Returns
    -------
    dict
        ``predicted_distortion`` of the method at the rate of its codes; ``limit_rate_bits``, the least rate of any method at the
        measured distortion for iid N(0, σ²) weights of the same mean variance, and ``joint_limit_rate_bits`` for independent rows of the
        measured row variances; ``gap_bits`` = code rate − limit rate and ``coded_gap_bits`` = coded − limit rate.
    """
    problem = quantizer.prepare(layer, seed=quantized.seed) if problem is None else problem
    point = measure(layer, quantized)
    spectrum = basis_spectrum(layer, problem)
    levels = quantized.weight.code_model.levels
    predicted = predicted_distortion(quantizer, problem, spectrum, rate_bits=point.code_rate_bits, levels=levels)
    mean, joint = limit_variances(layer, joint=False), limit_variances(layer, joint=True)
    limit = float(rate_distortion(point.distortion, mean).rate_bits)
    joint_limit = float(rate_distortion(point.distortion, joint).rate_bits)
    turn = quantized.weight.rotation
    return {
        **layer_columns(layer),
        "method": quantized.method,
        "target_rate_bits": quantized.target_rate_bits,
        "status": layer_status(layer),
        "message": "",
        **asdict(point),
        "predicted_distortion": predicted,
        "distortion_ratio": point.distortion / predicted if predicted > 0 else math.nan,
        "limit_rate_bits": limit,
        "limit_distortion": float(distortion_rate(point.code_rate_bits, mean).distortion),
        "gap_bits": point.code_rate_bits - limit,
        "coded_gap_bits": point.coded_bits - limit,
        "joint_limit_rate_bits": joint_limit,
        "joint_coded_gap_bits": point.coded_bits - joint_limit,
        "gptq_gap_bits": sic.gptq_gap_bits(spectrum),
        "rotation": "none" if turn is None else turn.kind,
        "damping": quantized.damping,
        "seed": quantized.seed,
        "backend": quantized.backend,
    }
