"""GPTQ's bits above WaterSIC by layer type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.report.figures.canvas import empty_figure, new_figure
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import method_looks, method_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THEORY_TICK: dict[str, Any] = {
    "linestyle": "none",
    "marker": "_",
    "markersize": 11,
    "markeredgewidth": 1.6,
    "alpha": 0.6,
    "zorder": 1,
}


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """What GPTQ loses to WaterSIC, by layer type, with and without rotation: theory as ticks, measurements as markers."""
    ok = ok_rows(table)
    top = ok["target_rate_bits"].max()
    at_top = ok[ok["target_rate_bits"] == top]
    reference = at_top[at_top["method"] == "watersic"].set_index("layer")["gap_bits"]
    methods = [m for m in ("hptq", "hptq+rotation", "hptq+hadamard", "hptq+haar") if m in set(at_top["method"])]
    if reference.empty or not methods:
        return empty_figure("needs hptq and watersic rows")
    types = ordered_types(at_top["layer_type"])
    looks, figure = method_looks(table["method"]), new_figure(7.2, 3.2)
    axis = figure.subplots()
    width = 0.8 / len(methods)
    for i, method in enumerate(methods):
        rows = at_top[(at_top["method"] == method) & at_top["layer"].isin(reference.index)]
        style = looks[method]
        for j, kind in enumerate(types):
            own = rows[rows["layer_type"] == kind].sort_values("block")
            if own.empty:
                continue
            center = j + (i - (len(methods) - 1) / 2) * width
            x = center + np.linspace(-0.32, 0.32, len(own)) * width if len(own) > 1 else np.array([center])
            axis.plot(x, own["gptq_gap_bits"], color=style["color"], **_THEORY_TICK)
            axis.plot(x, own["gap_bits"].to_numpy() - reference[own["layer"]].to_numpy(), linestyle="none", **style)
        axis.plot([], [], linestyle="none", label=f"{method}, measured at {top:g} bits", **style)
    axis.plot([], [], color=method_style("hptq")["color"], label="G in theory", **_THEORY_TICK)
    axis.set_xticks(range(len(types)), types)
    axis.set_ylabel("GPTQ − WaterSIC (bits per weight)")
    axis.set_xlabel("layer type (one mark per block, first block left)")
    axis.axhline(0, color="black", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(methods) + 1)
    return figure
