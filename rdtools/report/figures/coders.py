"""Bits per weight of entropy coders on the same symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.methods.table import BLUE, GREEN, GREY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("coders",)
#: Words around it.
CAPTION = Caption(
    title="Entropy coders on the same symbols",
    alt="Bits per weight of each entropy coder, with and without side information, for two matrices, two methods and two rates.",
    text=(
        "Bits per weight of entropy coders on the same integers of {{ layers }} matrices, of many rows and of few, quantized by two "
        "methods at two rates; every size is that of bytes that were decoded again. Full markers: all side information counted; "
        "hollow: without it; bars join the two. Vertical lines: plug-in entropy of one pooled table (solid) and mean over columns "
        "(dashed), no side information. No bound enters."
    ),
)


#: Coder → colour and marker.
LOOKS = {
    "range coder": (VERMILLION, "o"),
    "ANS": (BLUE, "s"),
    "Huffman": (GREEN, "^"),
    **dict.fromkeys(("zlib", "LZMA", "zstd"), (GREY, "D")),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Bits per weight of every coder, hollow without side information and full with it; lines are the entropies of the integers."""
    layers, panels = list(dict.fromkeys(rows["layer"])), list(dict.fromkeys(zip(rows["method"], rows["target_bpw"], strict=True)))
    coders = list(dict.fromkeys(rows["coder"]))
    figure = new_figure(FULL, 0.5 + 0.14 * len(layers) * (len(coders) + 2))
    axes = figure.subplots(len(layers), len(panels), squeeze=False, sharey=True)
    for layer, line in zip(layers, axes, strict=True):
        for (method, rate), axis in zip(panels, line, strict=True):
            of_matrix = rows[(rows["layer"] == layer) & (rows["method"] == method) & (rows["target_bpw"] == rate)]
            for look, name, label in (("-", "pooled", "entropy, pooled"), ("--", "per_column", "entropy, mean over columns")):
                axis.axvline(of_matrix[f"entropy_{name}_bpw"].iloc[0], color="black", linestyle=look, linewidth=0.7, label=label)
            for row in of_matrix.itertuples():
                y, (color, marker) = -coders.index(row.coder), LOOKS[row.coder.partition(",")[0]]
                bare = row.total_bpw - row.side_bpw
                axis.plot([bare, row.total_bpw], [y, y], color=color, linewidth=0.7)
                axis.plot(bare, y, color=color, marker=marker, markerfacecolor="white", linestyle="none")
                axis.plot(row.total_bpw, y, color=color, marker=marker, linestyle="none")
            axis.set_title(f"{method}, {rate:g} bits")
            axis.set_yticks(-np.arange(len(coders)), coders)
        line[0].set_ylabel(
            f"{layer.removeprefix('model.layers.').rpartition('.')[2]}, {of_matrix['rows'].iloc[0]} × {of_matrix['columns'].iloc[0]}"
        )
    for axis in axes[-1]:
        axis.set_xlabel("bits per weight")
    for face, label in (("black", "all side information"), ("white", "without it")):
        axes[0, 0].plot([], [], color="black", marker="o", markerfacecolor=face, linestyle="none", label=label)
    add_legend(figure, 4)
    return figure
