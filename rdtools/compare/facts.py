"""Facts of a layer that every one of its rows needs and no method changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.moments.layer import Layer, active_columns
from rdtools.moments.spectrum import spectrum_of, spectrum_with_vectors
from rdtools.records import LayerKey, LayerRow, Spectrum
from rdtools.records.rows import Status
from rdtools.theory import high_rate, incoherence, rotated_cholesky, sic
from rdtools.theory.shannon import ATOM_SHARE, differential_entropy, negentropy_bits
from rdtools.theory.waterfilling import Components


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """Facts of a layer that all its rows share, worked out once.

    Attributes
    ----------
    row : columns that depend on the layer alone
    status : ok; degenerate where the weights or the Hessian are all zero; undersampled where there are fewer tokens than active columns
    spectrum : of H
    row_variances : (m,) mean squares of the active weights of each row; `row.weight_variance` is their mean
    components : of bounds by name, each kept when it is first asked for
    """

    row: LayerRow
    status: Status
    spectrum: Spectrum
    row_variances: Float64Array
    components: dict[str, Components] = field(default_factory=dict, repr=False)

    @property
    def eigenvalues(self) -> Float64Array:
        """(n,) of H, zeros for columns that are not active."""
        return np.concatenate([self.spectrum.eigenvalues, np.zeros(self.spectrum.columns - self.spectrum.live)])


def key_row(key: LayerKey, rows: int, columns: int) -> LayerRow:
    """Row of a layer that cannot be read or has no spectrum: its names and shape."""
    return LayerRow(model=key.model, layer=key.name, layer_type=key.type, block=key.block, rows=rows, columns=columns)


def layer_facts(layer: Layer) -> LayerFacts:
    """Facts of a layer."""
    spectrum, statistics = spectrum_of(layer.hessian), layer.statistics
    weight = active_columns(layer.weight, layer.live)
    m, n = layer.weight.shape
    row = LayerRow(
        model=layer.key.model,
        layer=layer.key.name,
        layer_type=layer.key.type,
        block=layer.key.block,
        rows=m,
        columns=n,
        active_columns=spectrum.live,
        rank=spectrum.rank,
        n_tokens=layer.hessian.n_tokens,
        dropped_tokens=layer.hessian.dropped_tokens,
        weight_variance=statistics.weight_variance,
        weight_negentropy_bpw=weight_negentropy(weight, statistics.weight_variance),
        weight_incoherence=incoherence.weight_incoherence(weight),
        hessian_incoherence=incoherence.hessian_incoherence(spectrum_with_vectors(layer.hessian)),
        top_eigenvalue_fraction=float(spectrum.eigenvalues[0] / spectrum.eigenvalues.sum()) if spectrum.live else math.nan,
        min_conditional_variance_ratio=min_conditional_variance_ratio(spectrum),
        critical_rate_bpw=high_rate.critical_rate_bits(spectrum),
        pred_gptq_gap_bpw=sic.gptq_gap_bits(spectrum),
        pred_gptq_gap_haar_bpw=rotated_cholesky.rotated_gptq_gap_bits(spectrum),
        pred_rtn_gap_bpw=sic.rtn_gap_bits(spectrum),
    )
    return LayerFacts(row, layer_status(layer), spectrum, statistics.row_variances)


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
    if spectrum.live == 0:
        return math.nan
    return float(np.min(spectrum.cholesky_diagonal**2 / spectrum.diagonal)) if spectrum.rank == spectrum.live else 0.0


def layer_status(layer: Layer) -> Status:
    """Status of a layer as in `LayerFacts`."""
    if not np.any(active_columns(layer.weight, layer.live)):
        return "degenerate"
    if 0 < layer.hessian.n_tokens < int(layer.live.sum()):
        return "undersampled"
    return "ok"
