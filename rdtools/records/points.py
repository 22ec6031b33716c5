"""Measured points of the result table: columns of a file and its distortion, and of the activations beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from rdtools.docstrings import complete_fields
from rdtools.records.about import About
from rdtools.reprs import html_table

#: All of a file is coded, or a sample of it, with the rest counted by its entropy model.
Coding = Literal["exact", "sampled"]


@dataclass(frozen=True, repr=False)
class RDPoint:
    """A measured point: nothing in it comes from a formula that it will be compared with."""

    distortion: Annotated[
        float,
        About("", "measured", "D = E‖W x − y‖²/(mn), y of the decoded layer; tr(E H Eᵀ)/(mn), E = W − Ŵ, undamped H, for weights alone"),
    ]
    distortion_stderr: Annotated[float, About("", "measured", "standard error of D over rows, taking rows as independent")]
    relative_distortion: Annotated[float, About("", "measured", "D/D₀, D₀ = tr(W H Wᵀ)/(mn); nan where D₀ is zero", "D/D₀")]
    heldout_distortion: Annotated[
        float,
        About(
            "", "measured", "D′/D₀′ = tr(E H′ Eᵀ)/tr(W H′ Wᵀ), H′ = E[x xᵀ] over text held out; nan without such text", "D′/D₀′ held out"
        ),
    ]
    heldout_over_calibration: Annotated[
        float,
        About(
            "",
            "measured",
            "(D′/D₀′)/(D/D₀): held-out over calibrated distortion, each relative to the energy of its own text; nan where D is zero",
            "(D′/D₀′)/(D/D₀)",
        ),
    ]
    sqnr_db: Annotated[float, About("dB", "measured", "−10 log₁₀(D/D₀)", "SQNR (dB)")]
    squared_error: Annotated[
        float, About("weight²", "measured", "‖W − Ŵ‖²/(mn); with damping δ the quantizer's own loss is distortion + δ · squared_error")
    ]
    clipped_fraction: Annotated[
        float, About("", "measured", "share of the integers of a fixed-rate grid that are its min or max; nan without such a grid")
    ]
    rate_kind: Annotated[
        str,
        About(
            "",
            "setting",
            "entropy_shared: pooled frequency table; entropy_column: a Gaussian model of each column; entropy_histogram: a table of each "
            "column; entropy_trellis: a Gaussian model of each column given the trellis' state; "
            "entropy_lattice: the same given the parities of a vector of a lattice; "
            "entropy_adaptive: Gaussian models learnt from decoded rows; fixed: log₂ of the number of levels",
            "rate kind",
        ),
    ]
    symbol_bpw: Annotated[
        float, About("bpw", "measured", "ideal length of the symbols under their model, frequency tables included", "symbols")
    ]
    symbol_active_bpw: Annotated[
        float, About("bits per active weight", "measured", "symbol_bpw · columns / active_columns; meets target_bpw")
    ]
    entropy_pooled_bpw: Annotated[
        float, About("bpw", "measured", "plug-in entropy of all symbols pooled, Miller–Madow corrected; nan with too few symbols")
    ]
    entropy_per_column_bpw: Annotated[
        float, About("bpw", "measured", "mean plug-in entropy of the columns, Miller–Madow corrected; nan with too few rows")
    ]
    payload_bpw: Annotated[float, About("bpw", "measured", "coded symbols in the file, tables apart")]
    overhead_bpw: Annotated[
        float,
        About(
            "bpw",
            "measured",
            "total_bpw − symbol_bpw: scales, bias, headers, checksums, what the coder loses; less what models of several layers save",
            "overhead",
        ),
    ]
    total_bpw: Annotated[float, About("bpw", "measured", "8 × bytes of the file, all side information included", "total")]
    coded_share: Annotated[
        float | None,
        About(
            "",
            "measured",
            "share of the symbols that were coded, decoded and compared, with file_coding=sampled: payload_bpw and total_bpw count the "
            "others by their entropy model; empty where all were",
        ),
    ] = None
    container_layers: Annotated[
        int, About("", "setting", "matrices in the file; bytes that they share are counted in proportion to weights")
    ] = 1
    low_rank: Annotated[int, About("", "setting", "k: rank of the term U Vᵀ x beside the weights; 0 for none", "k")] = 0
    low_rank_bpw: Annotated[
        float, About("bpw", "measured", "bits of U and V, in overhead_bpw; the bounds at a rate count them to symbol_bpw", "factors")
    ] = 0.0

    def __repr__(self) -> str:
        rates = f"{self.total_bpw:.3f} bpw ({self.symbol_bpw:.3f} of symbols)"
        return f"RDPoint(total {rates}, D {self.distortion:.4g}, SQNR {self.sqnr_db:.2f} dB)"

    def _repr_html_(self) -> str:
        unknown = [f.name for f in fields(self) if isinstance(value := getattr(self, f.name), float) and math.isnan(value)]
        return html_table("Measured point", [(f.name, getattr(self, f.name)) for f in fields(self) if f.name not in unknown])


@dataclass(frozen=True)
class ActivationPoint:
    """Columns of a row whose activations are quantized too; their bits are no part of any rate of the weights."""

    activation_bits: Annotated[int, About("", "setting", "bits of each quantized activation; none where they are left alone", "A bits")]
    activation_grid: Annotated[str, About("", "setting", "symmetric or asymmetric, made anew for every token")]
    activation_clip: Annotated[float, About("", "setting", "range of the grid over that of the token, as set or as searched on a sample")]
    activation_group: Annotated[int, About("", "setting", "channels that share a step; 0 for all of a token")]
    activation_fine_channels: Annotated[int, About("", "setting", "first channels behind the map that have a grid of their own")]
    activation_fine_bits: Annotated[int, About("", "setting", "bits of these; 0 where there are none")]
    activation_scope: Annotated[str, About("", "setting", "which activations are quantized, and which are not")]
    activation_noise_distortion: Annotated[
        float, About("", "measured", "E‖Ŵ (T x − Q(T x))‖²/(mn): D of the rounding of activations alone")
    ]
    pred_activation_noise_distortion: Annotated[
        float, About("", "predicted", "the same by the uniform-noise model: Σ_j E[Δ²]/12 ‖ŵ_j‖²/(mn), clipped activations by their error")
    ]
    reduced_rank_bound_distortion: Annotated[
        float,
        About("", "bound", "least D of any real weights and low-rank term of this rank with these activations; nan if E[x̂ x̂ᵀ] is singular"),
    ]


for _kind in (RDPoint, ActivationPoint):
    complete_fields(_kind)
