"""Facts of a layer that every one of its rows needs and no method changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import counted
from rdtools.moments.heldout import HeldoutMoment, is_resolved, mean_ratio
from rdtools.moments.layer import Layer, active_columns
from rdtools.moments.per_hessian import per_hessian
from rdtools.moments.spectrum import active_channels, spectrum_of, spectrum_with_vectors
from rdtools.records import Hessian, LayerKey, LayerRow, Spectrum
from rdtools.records.rows import Status
from rdtools.theory import calibration, high_rate, incoherence, rotated_cholesky, sic
from rdtools.theory.row_covariance import RowCovariance, estimate_row_covariance
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy, negentropy_bits
from rdtools.theory.waterfilling import Components
from rdtools.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """Facts of a layer that all its rows share, worked out once.

    Attributes
    ----------
    row : columns that depend on the layer alone
    status : ok; degenerate where the weights or the Hessian are all zero; undersampled where the tokens do not resolve every active column
    spectrum : of H
    row_variances : (m,) mean squares of the active weights of each row; `row.weight_variance` is their mean
    message : why the status is not ok
    heldout : a held-out moment of the layer's input; None without one
    row_covariance : of the rows on active columns; None where it cannot be estimated
    components : of bounds by name, each kept when it is first asked for; None for one that cannot be estimated
    layer : that they are of, for bounds that look at its weights
    """

    row: LayerRow
    status: Status
    spectrum: Spectrum
    row_variances: Float64Array
    message: str = ""
    heldout: HeldoutMoment | None = None
    row_covariance: RowCovariance | None = field(default=None, repr=False)
    components: dict[str, Components | None] = field(default_factory=dict, repr=False)
    layer: Layer | None = field(default=None, repr=False)

    @cached_property
    def centred(self) -> LayerFacts:
        """The facts beside a bias per row: of the covariance of the input in place of H, without a held-out moment.

        Raises
        ------
        UsageError
            If the Hessian has no mean.
        """
        assert self.layer is not None
        return layer_facts(self.layer.centred)

    @property
    def eigenvalues(self) -> Float64Array:
        """(n,) of H, zeros for columns that are not active; only where H has them."""
        return np.concatenate([self.spectrum.eigenvalues, np.zeros(self.spectrum.columns - self.spectrum.active)])


def key_row(key: LayerKey, rows: int, columns: int) -> LayerRow:
    """Row of a layer that cannot be read or has no spectrum: its names and shape."""
    return LayerRow(model=key.model, layer=key.name, layer_type=key.type, block=key.block, rows=rows, columns=columns)


def layer_facts(layer: Layer, heldout: HeldoutMoment | None = None) -> LayerFacts:
    """Facts of a layer, and of a held-out moment of its input where there is one."""
    spectrum, statistics = spectrum_of(layer.hessian), layer.statistics
    weight, tokens = active_columns(layer.weight, layer.active), counted_tokens(layer.hessian)
    effective = math.nan if heldout is None else _effective_tokens(layer.hessian, heldout)
    m, n = layer.weight.shape
    with one_blas_thread():
        covariance = estimate_row_covariance(weight)
    row = LayerRow(
        model=layer.key.model,
        layer=layer.key.name,
        layer_type=layer.key.type,
        block=layer.key.block,
        rows=m,
        columns=n,
        active_columns=spectrum.active,
        nearly_dead_columns=high_rate.nearly_dead_channels(spectrum),
        rank=spectrum.rank,
        n_tokens=layer.hessian.n_tokens,
        dropped_tokens=layer.hessian.dropped_tokens,
        distinct_tokens=layer.hessian.distinct_tokens,
        heldout_tokens=None if heldout is None else heldout.n_tokens,
        effective_tokens=effective,
        pred_calibration_penalty_bpw=_penalty(spectrum, float(tokens)) if tokens else math.nan,
        heldout_calibration_penalty_bpw=_penalty(spectrum, effective),
        weight_variance=statistics.weight_variance,
        weight_negentropy_bpw=weight_negentropy(weight, statistics.weight_variance),
        row_covariance_saving_bpw=math.nan if covariance is None else spectrum.active / n * covariance.saving_bits,
        row_covariance_saving_stderr_bpw=math.nan if covariance is None else spectrum.active / n * covariance.saving_stderr_bits,
        weight_incoherence=incoherence.weight_incoherence(weight),
        hessian_incoherence=incoherence.hessian_incoherence(spectrum_with_vectors(layer.hessian)),
        top_eigenvalue_fraction=float(spectrum.eigenvalues[0] / spectrum.eigenvalues.sum()) if len(spectrum.eigenvalues) else math.nan,
        min_conditional_variance_ratio=min_conditional_variance_ratio(spectrum),
        critical_rate_bpw=high_rate.critical_rate_bits(spectrum),
        pred_gptq_gap_bpw=sic.gptq_gap_bits(spectrum),
        pred_gptq_gap_haar_bpw=rotated_cholesky.rotated_gptq_gap_bits(spectrum),
        pred_rtn_gap_bpw=sic.rtn_gap_bits(spectrum),
    )
    status, message = layer_status(layer, heldout)
    return LayerFacts(row, status, spectrum, statistics.row_variances, message, heldout, covariance, layer=layer)


def weight_negentropy(weight: Float64Array, variance: float) -> float:
    """Bits by which the Shannon lower bound for i.i.d. weights of the empirical distribution is below R(D) at high rate.

    nan for weights that have no density: a single one, or one value that makes up more than ATOM_SHARE of them, as zeros of pruned ones.
    """
    if weight.size < 2:
        return math.nan
    estimate = differential_entropy(weight)
    return negentropy_bits(estimate.entropy_bits, variance) if estimate.largest_share <= ATOM_SHARE else math.nan


def min_conditional_variance_ratio(spectrum: Spectrum) -> float:
    """Min of ``ℓ_ii²/H_ii``, the part of a column's energy that those before it do not explain; 0 for a singular H, nan without columns."""
    if spectrum.active == 0:
        return math.nan
    return float(np.min(spectrum.cholesky_diagonal**2 / spectrum.diagonal)) if spectrum.rank == spectrum.active else 0.0


def counted_tokens(hessian: Hessian) -> int:
    """Distinct tokens behind a Hessian, all tokens where they were not counted, 0 for an exact one."""
    return hessian.n_tokens if hessian.distinct_tokens is None else hessian.distinct_tokens


@per_hessian
def _effective_tokens(hessian: Hessian, heldout: HeldoutMoment) -> float:
    ratio = mean_ratio(hessian, heldout)
    return calibration.effective_tokens_from_holdout(ratio, int(active_channels(hessian.matrix).sum())) if ratio > 0 else math.nan


def _penalty(spectrum: Spectrum, tokens: float) -> float:
    """Bits per weight that too few tokens cost WaterSIC at high rate; infinite for no more tokens than active columns."""
    if spectrum.active == 0 or math.isnan(tokens):
        return math.nan
    ratio = min(1.0, spectrum.active / tokens)
    return spectrum.active / spectrum.columns * calibration.calibration_penalty_bits(ratio)


@per_hessian
def _sampling_fault(hessian: Hessian, rank: int, channels: int, heldout: HeldoutMoment | None) -> str:
    """The reason why a sample does not resolve the active columns of its second moment; "" if it does, or H is exact."""
    known, total = counted_tokens(hessian), counted(hessian.n_tokens, "token")
    if hessian.n_tokens == 0:
        return ""
    tokens = f"{known} distinct among {total}" if known < hessian.n_tokens else total
    columns = counted(channels, "active column")
    if known < channels:
        return f"{tokens} for {columns}, expected at least as many, better ten times: give more, or more varied, text"
    if rank == channels or (heldout is not None and is_resolved(hessian, heldout, rank)):
        return ""
    cause = "text held out has more: give more, or more varied, text"
    if heldout is None:
        cause = "either too little text, or a relation that all inputs of this layer obey: `evaluation_text` tells which"
    return f"{tokens} resolve {rank} directions of {columns}; {cause}"


def layer_status(layer: Layer, heldout: HeldoutMoment | None = None) -> tuple[Status, str]:
    """Status of a layer as in `LayerFacts`, and why it is not ok.

    A sampled Hessian of less than full rank is undersampled unless held-out inputs have no energy in the directions that it lacks.
    """
    if layer.hessian.distinct_tokens == 0:  # it was captured; of an exact Hessian they are not counted
        return "undersampled", "no token of the calibration data reached this layer: give more, or more varied, text"
    if not np.any(active_columns(layer.weight, layer.active)):
        return "degenerate", ""
    spectrum = spectrum_of(layer.hessian)
    fault = _sampling_fault(layer.hessian, spectrum.rank, spectrum.active, heldout)
    return ("undersampled", fault) if fault else ("ok", "")
