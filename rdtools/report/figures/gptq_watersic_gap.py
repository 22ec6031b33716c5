"""GPTQ's rate above WaterSIC's by layer type, with the same entropy coder for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import empty_figure, legend_entries, new_figure
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import method_looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THEORY_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 11,
    "markeredgewidth": 1.6,
    "alpha": 0.6,
    "zorder": 1,
}

#: Entropy model → (GPTQ, WaterSIC) that are coded with it. A difference between other pairs is of coders too, and not what G predicts.
PAIRS = {"pooled": ("hptq", "watersic-shared"), "per column": ("hptq-column", "watersic")}
_ROTATIONS = ("", "+rotation", "+hadamard", "+haar")
TABLES = ("results",)
#: Columns of the results that are drawn.
READS = (
    *("layer", "layer_type", "block", "method", "target_bpw", "status"),
    *("rate_gap_symbols_bpw", "pred_gptq_gap_as_run_bpw"),
)

#: Words around it on the page.
CAPTION = Caption(
    title="What GPTQ loses to WaterSIC",
    alt="Measured rate difference of GPTQ and WaterSIC by layer type, beside the closed form G.",
    text=(
        "Ticks: G = ½ log₂ of the arithmetic over the geometric mean of ℓ², ℓ the Cholesky diagonal of the Hessian in the basis used "
        "(WaterSIC, arXiv 2603.04956 v1, Theorem 3.3). Markers: measured difference of the symbol rates above R(D), one variance, at "
        "the highest rate, both methods with the same coder: one pooled frequency table, or one model per column. G is the difference "
        "of the quantizers alone; a pooled table costs WaterSIC most of it, because its columns differ. Hollow: rotated basis."
    ),
)


def draw(table: pd.DataFrame) -> Figure:
    """The loss of GPTQ against WaterSIC, by layer type and entropy model, rotated or not: theory as ticks, measurements as markers."""
    ok = ok_rows(table)
    at_top = ok[ok["target_bpw"] == ok["target_bpw"].max()]
    present = set(at_top["method"])
    shown = {
        coder: (watersic, [gptq + rotation for rotation in _ROTATIONS if gptq + rotation in present])
        for coder, (gptq, watersic) in PAIRS.items()
        if watersic in present
    }
    shown = {coder: pair for coder, pair in shown.items() if pair[1]}
    if not shown:
        return empty_figure(f"needs rows of {' or of '.join(' and '.join(pair) for pair in PAIRS.values())}")
    types, looks = ordered_types(at_top["layer_type"]), method_looks(table["method"])
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).ravel()
    for axis, (coder, (watersic, methods)) in zip(axes, shown.items(), strict=True):
        reference = at_top[at_top["method"] == watersic].set_index("layer")["rate_gap_symbols_bpw"]
        for i, method in enumerate(methods):
            rows = at_top[(at_top["method"] == method) & at_top["layer"].isin(reference.index)]
            offset = (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
            _draw_method(axis, rows, reference, types, offset=offset, width=0.8 / len(methods), look=looks[method])
        axis.set_title(f"{coder} coder, {at_top['target_bpw'].iloc[0]:g} bits")
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
        axis.axhline(0, color="black", linewidth=0.6)
    axes[0].set_ylabel("GPTQ − WaterSIC (bpw)")
    axes[0].plot([], [], color="black", label="G in theory", **_THEORY_TICK)
    figure.supxlabel("layer type (one mark per block, first block left)", fontsize=9)
    handles, labels = legend_entries(axes)
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _draw_method(
    axis: Axes, rows: pd.DataFrame, reference: pd.Series, types: list[str], *, offset: float, width: float, look: dict[str, Any]
) -> None:
    for j, kind in enumerate(types):
        own = rows[rows["layer_type"] == kind].sort_values("block")
        x = j + offset + (np.linspace(-0.32, 0.32, len(own)) * width if len(own) > 1 else np.zeros(len(own)))
        axis.plot(x, own["pred_gptq_gap_as_run_bpw"], color=look["color"], **_THEORY_TICK)
        axis.plot(x, own["rate_gap_symbols_bpw"].to_numpy() - reference[own["layer"]].to_numpy(), linestyle="none", **look)
    if not rows.empty:
        axis.plot([], [], linestyle="none", label=str(rows["method"].iloc[0]), **look)
