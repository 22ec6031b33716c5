"""Facts of a layer that every one of its rows needs and no method changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import spectrum_with_vectors
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
    eigenvalues : (n,) of H, zeros for columns that are not active
    row_variances : (m,) mean squares of the active weights of each row; `row.weight_variance` is their mean
    components : of bounds by name, each kept when it is first asked for
    """

    row: LayerRow
    status: Status
    eigenvalues: NDArray[np.float64]
    row_variances: NDArray[np.float64]
    components: dict[str, Components] = field(default_factory=dict, repr=False)


def layer_facts(layer: Layer) -> LayerFacts:
    """Facts of a layer."""
    spectrum = layer.spectrum
    return LayerFacts(
        row=_layer_row(layer),
        status=layer_status(layer),
        eigenvalues=np.concatenate([spectrum.eigenvalues, np.zeros(spectrum.columns - spectrum.live)]),
        row_variances=layer.row_variances,
    )


def key_row(key: LayerKey, rows: int, columns: int) -> LayerRow:
    """Row of a layer that cannot be read or has no spectrum: its names and shape."""
    return LayerRow(model=key.model, layer=key.name, layer_type=key.type, block=key.block, rows=rows, columns=columns)


def _layer_row(layer: Layer) -> LayerRow:
    spectrum = layer.spectrum
    m, n = layer.weight.shape
    return LayerRow(
        model=layer.key.model,
        layer=layer.key.name,
        layer_type=layer.key.type,
        block=layer.key.block,
        rows=m,
        columns=n,
        active_columns=spectrum.live,
        nearly_dead_columns=high_rate.nearly_dead_channels(spectrum),
        rank=spectrum.rank,
        n_tokens=layer.hessian.n_tokens,
        dropped_tokens=layer.hessian.dropped_tokens,
        weight_variance=layer.weight_variance,
        weight_negentropy_bpw=weight_negentropy(layer),
        weight_incoherence=incoherence.weight_incoherence(layer.live_weight),
        hessian_incoherence=incoherence.hessian_incoherence(spectrum_with_vectors(layer.hessian)),
        top_eigenvalue_fraction=float(spectrum.eigenvalues[0] / spectrum.eigenvalues.sum()) if spectrum.live else math.nan,
        min_conditional_variance_ratio=min_conditional_variance_ratio(spectrum),
        critical_rate_bpw=high_rate.critical_rate_bits(spectrum),
        pred_gptq_gap_bpw=sic.gptq_gap_bits(spectrum),
        pred_gptq_gap_haar_bpw=rotated_cholesky.rotated_gptq_gap_bits(spectrum),
        pred_rtn_gap_bpw=sic.rtn_gap_bits(spectrum),
    )


def weight_negentropy(layer: Layer) -> float:
    """Bits by which the Shannon lower bound for i.i.d. weights of this layer's empirical distribution is below R(D) at high rate.

    nan for weights that have no density: a single one, or one value that makes up more than ATOM_SHARE of them, as zeros of pruned ones.
    """
    live = layer.live_weight
    if live.size < 2:
        return math.nan
    estimate = differential_entropy(live)
    return negentropy_bits(estimate.entropy_bits, layer.weight_variance) if estimate.largest_share <= ATOM_SHARE else math.nan


def min_conditional_variance_ratio(spectrum: Spectrum) -> float:
    """Min of ``ℓ_ii²/H_ii``, the part of a column's energy that those before it do not explain; 0 for a singular H, nan without columns."""
    if spectrum.live == 0:
        return math.nan
    return float(np.min(spectrum.cholesky_diagonal**2 / spectrum.diagonal)) if spectrum.rank == spectrum.live else 0.0


def layer_status(layer: Layer) -> Status:
    """Status of a layer as in `LayerFacts`."""
    if not layer.live.any() or not np.any(layer.live_weight):
        return "degenerate"
    if 0 < layer.hessian.n_tokens < int(layer.live.sum()):
        return "undersampled"
    return "ok"
