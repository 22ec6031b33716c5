"""Bits per weight of entropy coders on the same symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.figures.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("coders",)
COLORS = {"range coder": "#D55E00", "ANS": "#0072B2", "Huffman": "#009E73", "zlib": "#7f7f7f", "LZMA": "#7f7f7f", "zstd": "#7f7f7f"}


def draw(rows: pd.DataFrame) -> Figure:
    """Bits per weight of every coder, hollow without side information and full with it; lines are the entropies of the integers."""
    layers, panels = list(dict.fromkeys(rows["layer"])), list(dict.fromkeys(zip(rows["method"], rows["target_bpw"], strict=True)))
    coders = list(dict.fromkeys(rows["coder"]))
    figure = new_figure(2.0 * len(panels) + 1.8, 2.3 * len(layers) + 0.5)
    axes = figure.subplots(len(layers), len(panels), squeeze=False, sharey=True)
    for layer, line in zip(layers, axes, strict=True):
        for (method, rate), axis in zip(panels, line, strict=True):
            own = rows[(rows["layer"] == layer) & (rows["method"] == method) & (rows["target_bpw"] == rate)]
            for look, name in (("-", "pooled"), ("--", "per_column")):
                axis.axvline(own[f"entropy_{name}_bpw"].iloc[0], color="black", linestyle=look, linewidth=0.8)
            for row in own.itertuples():
                y, color = -coders.index(row.coder), COLORS[row.coder.partition(",")[0]]
                bare = row.total_bpw - row.side_bpw
                axis.plot([bare, row.total_bpw], [y, y], color=color, linewidth=0.8)
                axis.plot(bare, y, color=color, marker="o", markerfacecolor="white", linestyle="none")
                axis.plot(row.total_bpw, y, color=color, marker="o", linestyle="none")
            axis.set_title(f"{method}, {rate:g} bits")
            axis.set_yticks(-np.arange(len(coders)), coders)
        line[0].set_ylabel(f"{layer.removeprefix('model.layers.')}\n{own['rows'].iloc[0]} × {own['columns'].iloc[0]}")
    for axis in axes[-1]:
        axis.set_xlabel("bits per weight")
    return figure
