"""Time of kernels, coders and a whole quantization over that of a floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.figures.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("bench",)


def draw(rows: pd.DataFrame) -> Figure:
    """Ratio to the floor of every contestant, 20 % to 80 % of the repetitions as a bar, and the ratio aimed at."""
    figure = new_figure(8.0, 1.1 + 0.24 * max(len(rows), 1))
    axis = figure.subplots()
    y = np.arange(len(rows))[::-1]
    middle = rows["ratio_to_floor"]
    spread = [middle - rows["ratio_to_floor_q20"], rows["ratio_to_floor_q80"] - middle]
    ours = rows["contestant"].str.startswith("rdtools")
    for mask, color, marker, label in ((ours, "#D55E00", "D", "rdtools"), (~ours, "#7f7f7f", "s", "peers")):
        axis.errorbar(middle[mask], y[mask], xerr=[s[mask] for s in spread], color=color, marker=marker, linestyle="none", label=label)
    axis.plot(rows["at_most"], y, color="black", marker="|", markersize=10, linestyle="none", label="aimed at")
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_yticks(y, [f"{r.op} {r.rows}×{r.columns}: {r.contestant} ({r.dtype})" for r in rows.itertuples()])
    axis.set_xscale("log")
    axis.set_xlabel("time, in units of the floor")
    figure.legend(loc="outside lower center", ncols=3)
    return figure
