"""The bits of a file by what they are for, and by method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, add_notes, new_figure
from rdtools.report.rows import compared_rows
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("rate_split",)
#: Words around it.
CAPTION = Caption(
    title="Where the bits go",
    alt="Stacked bars by method: overhead in bits per weight beside the payload, by what it is for.",
    text=(
        "Bits per weight of files at 3 bits by what they are for, mean over the {{ layers }} matrices of the middle block, each method"
        " with its own coder; no bound enters. Left: the whole file; right: what is not payload. A payload of an entropy-coded method "
        "has what its model did not need to be told. There are no error bars: bars are the sizes."
    ),
)


#: Part of a file → colour, hatch and name.
PARTS = {
    "payload": (SKY, "", "payload"),
    "steps": (VERMILLION, "////", "steps of columns"),
    "scales": (GREEN, "xxxx", "scales of rows or groups"),
    "models": (ORANGE, "\\\\\\\\", "entropy models"),
    "gains": (BLUE, "----", "gains of columns"),
    "rest": (BLACK, "", "headers, seeds, block sizes, codebooks"),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Stacked bars, a line for each method: the file, and without its payload."""
    comparison = compared_rows(rows.assign(status="ok", target_bpw=3.0), "payload_bpw")
    means = comparison.rows.groupby("method", sort=False)[[f"{name}_bpw" for name in PARTS]].mean()
    y = range(len(means))[::-1]
    figure = new_figure(FULL, 1.2 + 0.16 * len(means))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, parts in zip(axes, (list(PARTS), list(PARTS)[1:]), strict=True):
        start = means["payload_bpw"] * 0
        for name in (name for name in parts if means[f"{name}_bpw"].any()):
            color, hatch, label = PARTS[name]
            size = means[f"{name}_bpw"]
            axis.barh(y, size, 0.7, left=start, color=color, hatch=hatch, edgecolor="white", linewidth=0, label=label)
            start = start + size
        axis.grid(visible=False, axis="y")
        axis.set_axisbelow(True)
    axes[0].set_yticks(y, means.index)
    axes[0].set_xlabel("bits per weight of the file")
    axes[1].set_xlabel("of these, not payload")
    add_notes(figure, comparison.note)
    add_legend(figure, 3)
    return figure
