"""GPTQ's rate above WaterSIC's by layer type, with the same entropy coder for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, empty_figure, new_figure
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import FULL, SCALAR, ZERO, method_looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_THEORY_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 8,
    "markeredgewidth": 1.4,
    "alpha": 0.6,
    "zorder": 1,
}

#: Entropy model → (GPTQ, WaterSIC) that are coded with it. A difference between other pairs is of coders too, and not what G predicts.
PAIRS = {"pooled": ("hptq", "watersic-shared"), "per column": ("hptq-column", "watersic")}
#: Marks of blocks side by side; of more, the mean is drawn and a bar from min to max.
MOST_MARKS = 8
#: Loss of GPTQ in a rotated basis on Hessians of Llama (High-rate quantized MatMul II, arXiv 2605.13768).
ROTATED_GAP_BITS = 0.1
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
        "of the quantizers alone; a pooled table costs WaterSIC most of it, because its columns differ. Hollow: rotated basis. "
        "One mark for each block, of more than eight the mean and a bar from min to max."
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
    figure = new_figure(FULL, 2.6)
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False).ravel()
    for axis, (coder, (watersic, methods)) in zip(axes, shown.items(), strict=True):
        reference = at_top[at_top["method"] == watersic].set_index("layer")["rate_gap_symbols_bpw"]
        for i, method in enumerate(methods):
            rows = at_top[(at_top["method"] == method) & at_top["layer"].isin(reference.index)]
            offset = (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
            _draw_method(axis, rows, reference, types, offset=offset, width=0.8 / len(methods), look=looks[method])
        axis.set_title(f"{coder} coder, {at_top['target_bpw'].iloc[0]:g} bits")
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
        axis.axhline(0, **ZERO)
        axis.axhline(ROTATED_GAP_BITS, label=f"{ROTATED_GAP_BITS} bit", **SCALAR)
    axes[0].set_ylabel("GPTQ − WaterSIC (bpw)")
    axes[0].plot([], [], color="black", label="G in theory", **_THEORY_TICK)
    many = at_top.groupby("layer_type")["block"].nunique().max() > MOST_MARKS
    for axis in axes:
        axis.set_xlabel(f"layer type ({'mean over blocks, bar from min to max' if many else 'one mark per block, first block left'})")
    add_legend(figure, 5)
    return figure


def _draw_method(
    axis: Axes, rows: pd.DataFrame, reference: pd.Series, types: list[str], *, offset: float, width: float, look: dict[str, Any]
) -> None:
    if rows.groupby("layer_type")["block"].nunique().max() > MOST_MARKS:
        measured = rows["rate_gap_symbols_bpw"] - rows["layer"].map(reference)
        draw_means(axis, measured, rows["layer_type"], order=types, shift=offset, **look)
        theory = rows.groupby("layer_type")["pred_gptq_gap_as_run_bpw"].mean().reindex(types)
        axis.plot(np.arange(len(types)) + offset, theory, color=look["color"], **_THEORY_TICK)
        types = []
    for j, kind in enumerate(types):
        of_type = rows[rows["layer_type"] == kind].sort_values("block")
        x = j + offset + (np.linspace(-0.32, 0.32, len(of_type)) * width if len(of_type) > 1 else np.zeros(len(of_type)))
        axis.plot(x, of_type["pred_gptq_gap_as_run_bpw"], color=look["color"], **_THEORY_TICK)
        axis.plot(x, of_type["rate_gap_symbols_bpw"].to_numpy() - reference[of_type["layer"]].to_numpy(), linestyle="none", **look)
    if not rows.empty:
        axis.plot([], [], linestyle="none", label=str(rows["method"].iloc[0]), **look)
