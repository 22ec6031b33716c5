"""Theory, and the run's own methods, beside a matrix that somebody else quantized."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from rdtools.arrays import Float64Array
from rdtools.compare.bounds import BOUNDS
from rdtools.compare.facts import LayerFacts
from rdtools.compare.rows import diagonal_message, outlier_message
from rdtools.foreign.matching import check_related, correlation
from rdtools.foreign.stored import ForeignModel, StoredMatrix
from rdtools.measure.distortion import errors_of_matrix, mean_square
from rdtools.model.layer_names import CapturedLayer
from rdtools.moments.layer import Layer
from rdtools.records.foreign_rows import BesideRow, ForeignRow

#: Rates that differ by less are the same.
_SAME_RATE = 1e-9


def best_beside(results: pd.DataFrame, layer: str, total_bpw: float) -> BesideRow | None:
    """The method with the least distortion on a layer at a total rate, from the rows of a run.

    Between two measured rates of a method, log D is interpolated linearly, which overstates D where log D is convex, as that of R(D) is.
    A method that was run below the rate alone counts with its highest rate, one that was run above it alone does not count.

    Parameters
    ----------
    results : table of the run
    layer : name
    total_bpw : rate of the foreign matrix

    Returns
    -------
    BesideRow or None
        None where no method was run on the layer at such a rate. Rows with quantized activations do not count.
    """
    rows = results[(results["layer"] == layer) & (results["status"] == "ok") & (results["relative_distortion"] > 0)]
    if "activation_bits" in rows:
        rows = rows[rows["activation_bits"].isna()]
    candidates = []
    for method, points in rows.groupby("method"):
        points = points.sort_values("total_bpw")
        rates, logs = points["total_bpw"].to_numpy(), np.log(points["relative_distortion"].to_numpy())
        if rates[0] > total_bpw + _SAME_RATE:
            continue
        rate = min(total_bpw, float(rates[-1]))
        candidates.append((float(np.interp(rate, rates, logs)), str(method), rate))
    if not candidates:
        return None
    least, method, rate = min(candidates)
    return BesideRow(method, rate, math.exp(least))


def _db(ratio: float) -> float:
    return -10 * math.log10(ratio) if ratio > 0 else math.inf if ratio == 0 else math.nan


def foreign_row(
    layer: Layer,
    facts: LayerFacts,
    captured: CapturedLayer,
    model: ForeignModel,
    stored: StoredMatrix,
    values: Float64Array,  # (m, n)
    *,
    reading: str,
    results: pd.DataFrame | None = None,
    bias: Float64Array | None = None,
    bias_bits: float = 0.0,
) -> ForeignRow:
    """Measure a decoded matrix of a foreign file under the Hessian of a run.

    Parameters
    ----------
    layer, facts : of the original
    captured : the layer as it stands in the original's files
    model, stored : the foreign file and its matrix
    values : decoded
    reading : of the layout, with which it was decoded
    results : table of the run, for the best method beside; None for none
    bias : (m,) that the file adds to the outputs beyond the original's own; None for none. Without a mean of the input D leaves it out,
        which the message says
    bias_bits : of a bias that the original has not

    Raises
    ------
    DataError
        If the matrix has nothing to do with the layer.
    """
    H, mean = layer.hessian.matrix, layer.hessian.mean
    without = mean is None
    beside = "the run no mean of the input: D leaves it out" if without else "R(D) is of the covariance of the input, below that of H"
    biased = "" if bias is None else f"the file has another bias, and {beside}"
    bias = None if without else bias
    errors = errors_of_matrix(layer.weight, values, H, facts.heldout, bias=bias, mean=mean)
    error, known = errors.distortion, facts if bias is None else facts.centred
    energy, square = layer.statistics.energy, float(np.mean(np.square(layer.weight)))
    relative = error.mean / energy if energy > 0 else math.nan
    correlated = correlation(layer.weight, values)
    check_related(stored, captured, correlated, relative)
    per_weight = 1 / math.prod(stored.shape)
    other = stored.bits.other + bias_bits
    total = (stored.bits.codes + stored.bits.scales + other) * per_weight
    outlier = outlier_message(facts)
    bounds = {name: bound.rate(known, error.mean) for name, bound in BOUNDS.items()}
    gaps = {name: math.nan if outlier or not math.isfinite(rate) else total - rate for name, rate in bounds.items()}
    equal = "" if error.mean > 0 else "the decoded weights have no error: R(D) is infinite, and no gap is given"
    return ForeignRow(
        facts=facts.row,
        file=str(model.path),
        format=model.format,
        tensor=stored.label,
        stored_type=stored.type,
        named_type=model.named_type,
        fallback=stored.fallback,
        reading=reading,
        status=facts.status,
        message="; ".join(filter(None, (outlier, diagonal_message(layer, feedback=False), biased, equal, facts.message, stored.note))),
        code_bpw=stored.bits.codes * per_weight,
        scale_bpw=stored.bits.scales * per_weight,
        other_bpw=other * per_weight,
        total_bpw=total,
        distortion=error.mean,
        distortion_stderr=error.stderr,
        relative_distortion=relative,
        heldout_distortion=_heldout(layer, facts, errors.heldout),
        sqnr_db=_db(relative),
        weight_sqnr_db=_db(mean_square(layer.weight, values) / square) if square > 0 else math.nan,
        weight_correlation=correlated,
        rd_bound_rate_bpw=bounds["rd_bound"],
        rd_bound_rowvar_rate_bpw=bounds["rd_bound_rowvar"],
        rd_bound_aligned_rate_bpw=bounds["rd_bound_aligned"],
        rd_bound_covariance_rate_bpw=bounds["rd_bound_covariance"],
        rate_gap_total_bpw=gaps["rd_bound"],
        rate_gap_total_rowvar_bpw=gaps["rd_bound_rowvar"],
        rate_gap_total_aligned_bpw=gaps["rd_bound_aligned"],
        rate_gap_total_covariance_bpw=gaps["rd_bound_covariance"],
        beside=None if results is None else best_beside(results, layer.key.name, total),
    )


def _heldout(layer: Layer, facts: LayerFacts, distortion: float) -> float:
    if facts.heldout is None:
        return math.nan
    energy = facts.heldout.energy(layer)
    return distortion / energy if energy > 0 else math.nan
