"""GPTQ's rate above WaterSIC's by the order of columns and the basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.methods.table import BLUE, GREEN, PURPLE, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, new_figure
from rdtools.report.figures.gptq_watersic_gap import ROTATED_GAP_BITS
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import FULL, SCALAR, ZERO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLES = ("orders",)
#: Words around it.
CAPTION = Caption(
    title="GPTQ against WaterSIC by order and basis",
    alt="Bits by which GPTQ is above WaterSIC by layer type, for four orders of columns, rotated or not, beside the closed form G.",
    text=(
        "Symbol rate of GPTQ above that of WaterSIC at equal distortion, each relative to R(D), one variance, at 4 bits, by the order "
        "of its columns and the basis (hollow: rotated), {{ layers }} matrices. Left: GPTQ with one pooled table; right: both with "
        "WaterSIC’s coder, a Gaussian model per column. Markers: mean over blocks, bars from min to max. Ticks: closed form G = ½ log₂"
        " of the arithmetic over the geometric mean of ℓ² in that order and basis. Dotted: 0.1 bit."
    ),
)


#: Order → colour and marker; hollow where the basis is rotated.
ORDERS = {"natural": (BLUE, "o"), "reversed": (PURPLE, "v"), "act-order": (VERMILLION, "D"), "min-pivot": (GREEN, "s")}
#: Coding of GPTQ → what the figure calls it.
CODINGS = {"shared": "one pooled table", "column": "a Gaussian per column"}
_TICK: dict[str, Any] = {"linestyle": "none", "marker": "_", "markersize": 5, "markeredgewidth": 1.3, "alpha": 0.6, "zorder": 1}


def gptq_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of GPTQ that may be averaged, with coding, order and basis as columns; any rotation is a rotation."""
    ok = ok_rows(rows)
    ok = ok[ok["method"] != "watersic"]
    base, last = ok["method"].str.partition("+")[0], ok["method"].str.rpartition("+")[2]
    return ok.assign(
        coding=base.map({"hptq": "shared", "hptq-column": "column"}),
        order=last.where(last.isin(list(ORDERS)), "natural"),
        rotated=ok["rotation"].ne("none"),
    )


def _draw_types(axis: Axes, rows: pd.DataFrame) -> None:
    types = ordered_types(rows["layer_type"])
    looks = [(order, rotated) for rotated in (False, True) for order in ORDERS]
    for i, (order, rotated) in enumerate(looks):
        color, marker = ORDERS[order]
        part, shift = rows[(rows["order"] == order) & (rows["rotated"] == rotated)], (i - (len(looks) - 1) / 2) * 0.105
        theory = part.groupby("layer_type")["pred_gptq_gap_as_run_bpw"].mean().reindex(types)
        axis.plot(np.arange(len(types)) + shift, theory, color=color, **_TICK)
        look = {"color": color, "marker": marker, "markerfacecolor": "white" if rotated else color, "label": order + ", rotated" * rotated}
        draw_means(
            axis, part["above_watersic_bpw"], part["layer_type"], order=types, shift=shift, **{**look, "markersize": 2.8, "capsize": 0}
        )
    axis.axhline(0, **ZERO)
    axis.axhline(ROTATED_GAP_BITS, label=f"{ROTATED_GAP_BITS} bit", **SCALAR)
    axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])


def draw(rows: pd.DataFrame) -> Figure:
    """Bits above WaterSIC at the highest rate by layer type: marks at the mean over blocks, bars from min to max, ticks at mean G."""
    gptq = gptq_rows(rows)
    top = gptq["target_bpw"].max()
    gptq = gptq[gptq["target_bpw"] == top]
    models = list(dict.fromkeys(gptq["model"]))
    figure = new_figure(FULL, 1.9 * len(models) + 0.6)
    axes = figure.subplots(len(models), len(CODINGS), squeeze=False, sharey="row")
    for model, line in zip(models, axes, strict=True):
        for (coding, label), axis in zip(CODINGS.items(), line, strict=True):
            _draw_types(axis, gptq[(gptq["model"] == model) & (gptq["coding"] == coding)])
            axis.set_title(f"{model}, {label}, {top:g} bits")
        line[0].set_ylabel("GPTQ − WaterSIC (bpw)")
    axes[0, 0].plot([], [], color="black", label="G in theory", **_TICK)
    add_legend(figure, 5)
    return figure
