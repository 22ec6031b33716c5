"""Theory beside measurement: one row for each layer, method and rate."""

from __future__ import annotations

import math

from rdtools.compare.activations import ActivationInputs, activation_point
from rdtools.compare.bounds import RD_BOUND, RD_BOUND_ALIGNED, RD_BOUND_COVARIANCE, RD_BOUND_ROWVAR
from rdtools.compare.facts import LayerFacts, counted_tokens, layer_facts
from rdtools.compare.predictions import predict, row_variances
from rdtools.measure import measure
from rdtools.measure.bias import bias_rounding_distortion
from rdtools.measure.point import CodedWeight
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import Problem, Quantizer
from rdtools.records import QuantizedLayer, RDPoint, ResultRow
from rdtools.records.error_models import BlockCode, ErrorModel
from rdtools.theory import sic
from rdtools.theory.incoherence import top_singular_share
from rdtools.widths import missing_spectrum_reason

#: Share of D from which on a row says that it is the rounding of its bias.
_ROUNDING_SHARE = 0.01


def _rounding_message(layer: Layer, quantized: QuantizedLayer, distortion: float) -> str:
    bias = quantized.weight.parts.bias
    if bias is None or not distortion > 0:
        return ""
    share = bias_rounding_distortion(layer, quantized.weight, bias) / distortion
    if share < _ROUNDING_SHARE:
        return ""
    return f"{100 * share:.2g} % of D is the rounding of the bias to bfloat16, beside a mean that is far larger than what varies"


def _overhead_message(model: ErrorModel, point: RDPoint, gptq_gap: float) -> str:
    """The reason why unequal steps may lose to equal ones on a layer: exponents are one byte or less each, but of few rows that is much."""
    if model.relative_steps is None or not point.overhead_bpw > gptq_gap:
        return ""
    return (
        f"overhead takes {point.overhead_bpw:.4f} bpw, more than the {gptq_gap:.4f} bpw that unequal steps gain over equal ones here at "
        "high rate: GPTQ may come nearer to R(D)"
    )


#: A weight that has this part of the squared norm, and this many times the root mean square, makes the variance: 20 standard deviations do
#: not occur in any matrix of normal weights.
_OUTLIER_SHARE, _OUTLIER_STDS = 0.1, 20.0


def outlier_message(facts: LayerFacts) -> str:
    """The reason why R(D) says nothing about a matrix; empty where no single weight makes up its variance."""
    stds, weights = facts.row.weight_incoherence, facts.row.rows * (facts.row.active_columns or 0)
    if not (stds >= _OUTLIER_STDS and stds**2 >= _OUTLIER_SHARE * weights):
        return ""
    return (
        f"one weight has {stds**2 / weights:.0%} of the squared norm, {stds:.0f} times the root mean square: R(D) of i.i.d. "
        "Gaussian weights of this variance is no bound for such a matrix, and no gap to it is given"
    )


def _nearly_dead_message(facts: LayerFacts, quantized: QuantizedLayer) -> str:
    """A sentence on how many weights of inputs that hardly occur are coded."""
    coded = int(quantized.weight.basis.active.sum())
    spare = (facts.row.nearly_dead_columns or 0) - ((facts.row.active_columns or 0) - coded)
    if spare <= 0:
        return ""
    return (
        f"{spare} of {facts.row.columns} inputs have an energy below 1e-8 of the median; their weights are coded like others, "
        f"{spare / coded:.1%} of the symbols, and hardly change D"
    )


#: Share of ‖W‖² from which a first singular pair is said to be why a code made for normal weights misses its prediction, and by how much.
_SINGULAR_SHARE, _EXCESS = 0.1, 1.05


def singular_message(layer: Layer, model: ErrorModel, excess: float, *, rotated: bool) -> str:
    """The reason why a block code of weights rotated on both sides distorts more than predicted: one singular pair that stands out.

    Parameters
    ----------
    layer : the original
    model : kind of error
    excess : measured over predicted distortion
    rotated : whether the rows were rotated
    """
    if not (rotated and isinstance(model, BlockCode) and excess > _EXCESS):
        return ""
    share = top_singular_share(layer.in_memory.weight)
    if share < _SINGULAR_SHARE:
        return ""
    return (
        f"the first singular pair of W has {share:.0%} of its energy: rotated, it is a product of two normal vectors, with heavier tails "
        f"than the code is made for, and D is {excess:.2f} times its prediction; splitting the pair off or no rotation avoids it"
    )


def diagonal_message(layer: Layer, *, feedback: bool) -> str:
    """A sentence on a Hessian of which only the diagonal is known; empty for a whole one."""
    if not layer.hessian.diagonal:
        return ""
    unused = "; this method feeds errors back along correlations of inputs, of which it is given none" if feedback else ""
    return f"H is a diagonal ({layer.hessian.origin}): D and R(D) leave correlations of inputs out{unused}"


def _high_rate_valid(facts: LayerFacts, model: ErrorModel, distortion: float) -> bool | None:
    """True where high-rate theory may be used; never without a uniform grid; None where the smallest eigenvalue is not known."""
    if model.widest_steps is None:
        return False
    if not facts.spectrum.has_eigenvalues:
        return None
    return sic.high_rate_applies(model.widest_steps, facts.spectrum, distortion, row_variances(model, facts.row.weight_variance).minimum)


def result_row(
    layer: Layer,
    quantizer: Quantizer,
    quantized: QuantizedLayer,
    problem: Problem | None = None,
    facts: LayerFacts | None = None,
    activations: ActivationInputs | None = None,
    file: CodedWeight | None = None,
) -> ResultRow:
    """Measure a quantized layer and put bounds and predictions beside it; `rdtools columns` describes every column.

    Parameters
    ----------
    layer : the original
    quantizer : the method with its settings
    quantized : its answer
    problem : the prepared layer it worked on; made again if not given
    facts : of the layer; worked out again if not given
    activations : moments that a method with quantized activations was given
    file : its weight in a file of several layers, from `rdtools.measure.point.coded`; None for a file of its own
    """
    problem = quantizer.prepare(layer, seed=quantized.seed) if problem is None else problem
    facts = layer_facts(layer.in_memory) if facts is None else facts
    heldout = None if activations is None or activations.heldout is None else activations.heldout.moments
    moments = None if activations is None else activations.calibration.moments
    point = measure(layer, quantized, facts.heldout, file=file, coding=quantizer.file_coding, moments=moments, heldout_moments=heldout)
    beside = None if activations is None else activation_point(layer, quantized.weight, activations.calibration)
    model = quantized.error_model
    # theory knows no frequency tables to be sent: at the entropy of the symbols
    entropies = {"shared": point.entropy_pooled_bpw, "column": point.entropy_per_column_bpw, None: point.symbol_bpw}
    known = facts if quantized.weight.parts.bias is None else facts.centred
    promised = predict(problem, known.spectrum, model, rate_bits=entropies[model.histogram], tokens=counted_tokens(layer.hessian))
    predicted, finite = promised.high_rate_distortion, promised.finite_rate_distortion
    heldout_ratio, rate = promised.heldout_over_calibration, point.symbol_bpw + point.low_rank_bpw
    if beside is not None:  # errors of weights and of activations are not correlated in either model
        predicted, finite, heldout_ratio = predicted + beside.pred_activation_noise_distortion, math.nan, math.nan
    bounds = (RD_BOUND, RD_BOUND_ROWVAR, RD_BOUND_ALIGNED, RD_BOUND_COVARIANCE)
    bound, rowvar, aligned, covariance = (one.rate(known, point.distortion) for one in bounds)
    rotation = quantized.weight.basis.rotation
    outlier = outlier_message(facts)
    gap_to, gap_to_rowvar = (math.nan, math.nan) if outlier else (bound, rowvar)
    overhead = _overhead_message(model, point, promised.gptq_gap_bits)
    rotated = quantized.weight.basis.row_rotation is not None
    excess = point.distortion / predicted if predicted > 0 else math.nan
    singular = singular_message(layer, model, excess, rotated=rotated)
    rounded = _rounding_message(layer, quantized, point.distortion)
    nearly_dead, width = _nearly_dead_message(facts, quantized), missing_spectrum_reason(known.spectrum.active)
    diagonal = diagonal_message(layer, feedback=not math.isnan(promised.gptq_gap_bits))
    return ResultRow(
        facts=facts.row,
        method=format_method(quantizer),
        target_bpw=quantized.target_rate_bits,
        status=facts.status,
        seed=quantized.seed,
        message="; ".join(
            filter(None, (outlier, diagonal, width, facts.message, quantized.note, nearly_dead, overhead, singular, rounded))
        ),
        point=point,
        activation=beside,
        pred_high_rate_distortion=predicted,
        measured_over_pred_high_rate=excess,
        high_rate_valid=_high_rate_valid(known, model, point.distortion),
        pred_finite_rate_distortion=finite,
        measured_over_pred_finite_rate=point.distortion / finite if finite > 0 else math.nan,
        pred_heldout_over_calibration=heldout_ratio,
        rd_bound_rate_bpw=bound,
        rd_bound_distortion=float(RD_BOUND.distortion(known, rate)),
        rd_bound_rowvar_rate_bpw=rowvar,
        rd_bound_aligned_rate_bpw=aligned,
        rd_bound_covariance_rate_bpw=covariance,
        rate_gap_symbols_bpw=rate - gap_to,
        rate_gap_total_bpw=point.total_bpw - gap_to,
        rate_gap_total_rowvar_bpw=point.total_bpw - gap_to_rowvar,
        rate_gap_total_aligned_bpw=math.nan if outlier else point.total_bpw - aligned,
        rate_gap_total_covariance_bpw=math.nan if outlier else point.total_bpw - covariance,
        pred_gptq_gap_as_run_bpw=promised.gptq_gap_bits,
        rotation="none" if rotation is None else rotation.kind,
        damping=quantized.damping,
        backend=quantized.backend,
        device=quantized.device,
        dtype=quantized.dtype,
    )
