"""Output error of 4-bit activations before and after channel reassembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.methods.table import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from rdtools.report.figures.canvas import legend_entries, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("reassembly",)
#: Bits of the activations.
BITS = 4
#: Variant → colour and marker.
LOOKS = {
    "split": (BLUE, "o"),
    "split, staggered": (SKY, "D"),
    "merged": (VERMILLION, "s"),
    "merged, rescaled": (GREEN, "P"),
    "merged, released metric": (ORANGE, "v"),
    "pruned": (GREY, "X"),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Error over threshold: marks at the mean over seeds, with bars from min to max, lines at the prediction."""
    figure = new_figure(8.6, 3.8)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (kind, own) in zip(axes, rows.groupby("channels", sort=False), strict=True):
        before = own[own["variant"] == "before"]
        axis.axhline(before["relative_error"].mean(), color="black", linewidth=0.8, label="before, measured")
        axis.axhline(before["pred_relative_error"].mean(), color="black", linewidth=0.8, linestyle=":", label="before, predicted")
        for variant, (color, marker) in LOOKS.items():
            by_threshold = own[own["variant"] == variant].groupby("threshold")
            mean = by_threshold["relative_error"].mean()
            bars = np.stack([mean - by_threshold["relative_error"].min(), by_threshold["relative_error"].max() - mean])
            axis.errorbar(mean.index, mean, yerr=bars, color=color, marker=marker, linestyle="none", markersize=4, label=variant)
            predicted = by_threshold["pred_relative_error"].mean()
            axis.plot(predicted.index, predicted, color=color, linewidth=0.9)
        axis.set(xscale="log", yscale="log", xlabel="threshold θ / largest channel maximum", title=f"{kind} channels")
        axis.set_xticks([0.03, 0.05, 0.1, 0.2, 0.4], ["0.03", "0.05", "0.1", "0.2", "0.4"])
        axis.set_xticks([], minor=True)
    axes[0].set_ylabel(f"output error of {BITS}-bit activations / power")
    axes[0].plot([], [], color="black", linewidth=0.9, alpha=0.6, label="lines: prediction by uniform noise")
    handles, labels = legend_entries(axes)
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure
