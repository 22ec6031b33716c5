"""Time of kernels, coders and a whole quantization over that of a floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.methods.table import GREY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("bench",)
#: Words around it.
CAPTION = Caption(
    title="Speed against the floor",
    alt="Time of each contestant over that of a floor that the machine could reach, with the ratio aimed at.",
    text=(
        "Time of kernels, entropy coders and whole quantizations over that of the floor that the row names, a computation of the same "
        "size that no such kernel can beat: markers, medians; bars, 20 % to 80 % of the repetitions; upright ticks, the ratio aimed "
        "at. One processor, no GPU; no layers of a model, no bound, and each quantizer with its own coder."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Ratio to the floor of every contestant, 20 % to 80 % of the repetitions as a bar, and the ratio aimed at."""
    figure = new_figure(FULL, 0.9 + 0.135 * max(len(rows), 1))
    axis = figure.subplots()
    y = np.arange(len(rows))[::-1]
    middle = rows["ratio_to_floor"]
    spread = [middle - rows["ratio_to_floor_q20"], rows["ratio_to_floor_q80"] - middle]
    ours = rows["contestant"].str.startswith("rdtools")
    for mask, color, marker, label in ((ours, VERMILLION, "D", "rdtools"), (~ours, GREY, "s", "peers")):
        bars = [s[mask] for s in spread]
        axis.errorbar(middle[mask], y[mask], xerr=bars, color=color, marker=marker, linestyle="none", elinewidth=0.7, label=label)
    axis.plot(rows["at_most"], y, color="black", marker="|", markersize=7, linestyle="none", label="aimed at")
    axis.axvline(1.0, color="black", linewidth=0.6)
    axis.set_yticks(y, [f"{r.op} {r.rows}×{r.columns}: {r.contestant} ({r.dtype})" for r in rows.itertuples()])
    axis.set_ylim(-0.7, len(rows) - 0.3)
    log_axes(axis, "x")
    axis.set_xlabel("time over that of the floor (1 is the floor)")
    add_legend(figure, 3)
    return figure
