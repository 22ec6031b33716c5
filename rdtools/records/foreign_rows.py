"""Rows of the table of foreign files: matrices that others quantized, measured under a run's Hessians."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from rdtools.records.about import About
from rdtools.records.rows import NO_GAP, LayerRow, Provenance, Status, cells_of, columns_of


@dataclass(frozen=True)
class BesideRow:
    """The best method of the run at the rate of a foreign matrix."""

    best_method: Annotated[
        str,
        About(
            "", "setting", "method of this run with the least D at total_bpw, or at the highest rate below that it was run at", "best here"
        ),
    ]
    best_method_bpw: Annotated[
        float,
        About("bpw", "measured", "its total rate: total_bpw where D is interpolated between two of its rates, log D linear", "its rate"),
    ]
    best_method_relative_distortion: Annotated[float, About("", "measured", "its D/D₀ there", "its D/D₀")]


@dataclass(frozen=True)
class ForeignRow:
    """A matrix of a foreign file: what is stored, what it costs, and bounds and the best method of the run beside it."""

    facts: LayerRow
    file: Annotated[str, About("", "setting", "path as given", "file")]
    format: Annotated[str, About("", "setting", "gguf, gptq, awq, compressed-tensors or dense")]
    tensor: Annotated[str, About("", "setting", "file and tensor that hold the matrix")]
    stored_type: Annotated[str, About("", "setting", "type of what is stored, such as Q4_K, BF16 or int4 g128", "type")]
    named_type: Annotated[str, About("", "setting", "type in the file's name or configuration", "named")]
    fallback: Annotated[
        bool,
        About("", "setting", "whether the quantizer took another type than the named one because that does not fit the shape", "fallback"),
    ]
    reading: Annotated[str, About("", "setting", "how the layout is read, where it leaves a choice")]
    status: Annotated[Status, About("", "setting", "as in the table of results", "status")]
    message: Annotated[str, About("", "setting", "what a reader of this row should know")]
    code_bpw: Annotated[float, About("bpw", "measured", "quantized integers, or indices of codewords", "codes")]
    scale_bpw: Annotated[float, About("bpw", "measured", "scales, minima, shifts and zero points", "scales")]
    other_bpw: Annotated[float, About("bpw", "measured", "orders of columns, shapes, and bits of words that no integer fills", "other")]
    total_bpw: Annotated[float, About("bpw", "measured", "8 × bytes of the tensors in the file that hold the matrix", "total")]
    distortion: Annotated[float, About("", "measured", "D = tr(E H Eᵀ)/(mn), E = W − Ŵ, undamped H of the run")]
    distortion_stderr: Annotated[float, About("", "measured", "standard error of D over rows, taking rows as independent")]
    relative_distortion: Annotated[float, About("", "measured", "D/D₀, D₀ = tr(W H Wᵀ)/(mn)", "D/D₀")]
    heldout_distortion: Annotated[float, About("", "measured", "D′/D₀′ over held-out text; nan without such text")] = math.nan
    sqnr_db: Annotated[float, About("dB", "measured", "−10 log₁₀(D/D₀)", "SQNR (dB)")] = math.nan
    weight_sqnr_db: Annotated[float, About("dB", "measured", "−10 log₁₀(‖W − Ŵ‖²/‖W‖²)", "of weights (dB)")] = math.nan
    weight_correlation: Annotated[float, About("", "measured", "cosine of the angle between W and Ŵ")] = math.nan
    rd_bound_rate_bpw: Annotated[float, About("bpw", "bound", "R(D), one variance, as in the table of results")] = math.nan
    rd_bound_rowvar_rate_bpw: Annotated[float, About("bpw", "bound", "R(D), row variances")] = math.nan
    rd_bound_aligned_rate_bpw: Annotated[float, About("bpw", "bound", "R(D), aligned with H")] = math.nan
    rd_bound_covariance_rate_bpw: Annotated[float, About("bpw", "bound", "R(D), covariance of rows")] = math.nan
    rate_gap_total_bpw: Annotated[
        float, About("bpw", "measured", f"total_bpw − rd_bound_rate_bpw; {NO_GAP}, and for D = 0", "total − R(D), one variance")
    ] = math.nan
    rate_gap_total_rowvar_bpw: Annotated[
        float, About("bpw", "measured", "total_bpw − rd_bound_rowvar_rate_bpw, likewise", "total − R(D), row variances")
    ] = math.nan
    rate_gap_total_aligned_bpw: Annotated[float, About("bpw", "measured", "total_bpw − rd_bound_aligned_rate_bpw, likewise")] = math.nan
    rate_gap_total_covariance_bpw: Annotated[float, About("bpw", "measured", "total_bpw − rd_bound_covariance_rate_bpw, likewise")] = (
        math.nan
    )
    beside: BesideRow | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def to_row(self) -> dict[str, Any]:
        """Columns by name; those that are None are left out."""
        return dict(cells_of(self))


#: Every column of the table of foreign files, in order.
FOREIGN_COLUMNS = tuple(columns_of(ForeignRow))
