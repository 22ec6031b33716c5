"""GPTQ's rate above WaterSIC's by the order of columns and the basis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.methods.table import BLUE, GREEN, PURPLE, VERMILLION
from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.rows import ok_rows, ordered_types

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLES = ("orders",)
#: Order → colour and marker; hollow where the basis is rotated.
ORDERS = {"natural": (BLUE, "o"), "reversed": (PURPLE, "v"), "act-order": (VERMILLION, "D"), "min-pivot": (GREEN, "s")}
#: Coding of GPTQ → what the figure calls it.
CODINGS = {"shared": "one pooled table", "column": "WaterSIC's code"}

_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 9,
    "markeredgewidth": 1.6,
    "alpha": 0.6,
    "zorder": 1,
}


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


def _draw_types(axis: Axes, own: pd.DataFrame) -> None:
    types = ordered_types(own["layer_type"])
    looks = [(order, rotated) for rotated in (False, True) for order in ORDERS]
    for i, (order, rotated) in enumerate(looks):
        color, marker = ORDERS[order]
        by_type = own[(own["order"] == order) & (own["rotated"] == rotated)].groupby("layer_type")
        above, theory = by_type["above_watersic_bpw"], by_type["pred_gptq_gap_as_run_bpw"].mean().reindex(types)
        mean, least, most = above.mean().reindex(types), above.min().reindex(types), above.max().reindex(types)
        x = np.arange(len(types)) + (i - (len(looks) - 1) / 2) * 0.1
        axis.plot(x, theory, color=color, **_TICK)
        axis.errorbar(
            x,
            mean,
            yerr=[mean - least, most - mean],
            color=color,
            marker=marker,
            markerfacecolor="white" if rotated else color,
            linestyle="none",
            elinewidth=0.7,
            label=order + ", rotated" * rotated,
        )
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xticks(range(len(types)), types)


def draw(rows: pd.DataFrame) -> Figure:
    """Bits above WaterSIC at the highest rate by layer type: marks at the mean over blocks, bars from min to max, ticks at mean G."""
    own = gptq_rows(rows)
    top = own["target_bpw"].max()
    own = own[own["target_bpw"] == top]
    models = list(dict.fromkeys(own["model"]))
    figure = new_figure(10.4, 2.7 * len(models) + 0.6)
    axes = figure.subplots(len(models), len(CODINGS), squeeze=False)
    for model, line in zip(models, axes, strict=True):
        for (coding, label), axis in zip(CODINGS.items(), line, strict=True):
            _draw_types(axis, own[(own["model"] == model) & (own["coding"] == coding)])
            axis.set_title(f"{model}, {label}, {top:g} bits")
        line[0].set_ylabel("GPTQ − WaterSIC (bits)")
    handles, labels = legend_entries(axes.flat)
    tick = axes[0, 0].plot([], [], color="black", **_TICK)
    figure.legend([*handles, *tick], [*labels, "G in theory"], loc="outside upper center", ncols=5)
    return figure
