"""Bits by which entropy-coded GPTQ is above WaterSIC, by the order of its columns, with and without a random rotation, on every layer.

Differences in measured bits hold what coders make of the codes besides what steps and order do. WaterSIC's code has a normal law a column,
and deviations of rows where they pay; one histogram has neither, and is sent. At the highest rate GPTQ is therefore measured with
WaterSIC's code as well: for independent weights that leaves the G of theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rdtools.methods.table import BLUE, GREEN, PURPLE, VERMILLION
from rdtools.moments.layer import Layer
from rdtools.quantizers import HPTQ, Quantizer, WaterSIC
from rdtools.records import CodeModelKind
from rdtools.report.figures import legend_entries
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.runs.store import open_run
from rdtools.sweep.task import quantize_layer

#: Order → colour and marker; hollow where the basis is rotated.
ORDERS = {"natural": (BLUE, "o"), "reversed": (PURPLE, "v"), "act-order": (VERMILLION, "D"), "min-pivot": (GREEN, "s")}
_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 9,
    "markeredgewidth": 1.6,
    "alpha": 0.6,
    "zorder": 1,
}
RATES = (2.0, 3.0, 4.0)
#: Coding of GPTQ → rates, and what the figure calls it.
CODINGS: dict[CodeModelKind, tuple[tuple[float, ...], str]] = {
    "shared": (RATES, "one histogram"),
    "column": (RATES[-1:], "WaterSIC's code"),
}
#: Columns of the result table that are kept.
KEPT = (
    "model",
    "layer",
    "layer_type",
    "block",
    "method",
    "target_bpw",
    "status",
    "rotation",
    "rate_gap_symbols_bpw",
    "rate_gap_total_bpw",
    "pred_gptq_gap_as_run_bpw",
)


def measure(layer: Layer) -> pd.DataFrame:
    """Rows of one layer: WaterSIC, and GPTQ in each order and basis, with what each is above WaterSIC at the same target rate."""
    quantizers: list[Quantizer] = [WaterSIC(rate_bits=rate) for rate in RATES]
    for coding, (rates, _) in CODINGS.items():
        for rotation in (None, "auto"):
            quantizers += [HPTQ(rate_bits=rate, coding=coding, order=order, rotation=rotation) for order in ORDERS for rate in rates]
    rows = pd.DataFrame(quantize_layer(layer, tuple(quantizers), seed=0)).reindex(columns=list(KEPT))
    reference = rows[rows["method"] == "watersic"].set_index("target_bpw")["rate_gap_symbols_bpw"]
    rows["above_watersic_bpw"] = rows["rate_gap_symbols_bpw"] - rows["target_bpw"].map(reference)
    return rows


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of every layer of runs of `rdtools report` or `rdtools hessians collect`, one run a model."""
    opened = [open_run(folder) for folder in folders]
    return pd.concat([measure(run[name]) for run in opened for name in run], ignore_index=True)


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
    figure = Figure(figsize=(10.4, 2.7 * len(models) + 0.6))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(models), len(CODINGS), squeeze=False)
    for model, line in zip(models, axes, strict=True):
        for (coding, (_, label)), axis in zip(CODINGS.items(), line, strict=True):
            _draw_types(axis, own[(own["model"] == model) & (own["coding"] == coding)])
            axis.set_title(f"{model}, {label}, {top:g} bits")
        line[0].set_ylabel("GPTQ − WaterSIC (bits)")
    handles, labels = legend_entries(axes.flat)
    tick = axes[0, 0].plot([], [], color="black", **_TICK)
    figure.legend([*handles, *tick], [*labels, "G in theory"], loc="outside upper center", ncols=5)
    return figure
