"""Rate above R(D) from 1 to 4 bits, measured and predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("low_rate",)


def draw(rows: pd.DataFrame) -> Figure:
    """Gap over rate: marks at the mean over layers, bands from min to max, dashed lines at what is predicted for normal weights."""
    ok = ok_rows(rows)
    figure = new_figure(8.6, 3.6)
    axes = figure.subplots(1, 2, sharey=True)
    panels = (
        ("normal", "rate_gap_symbols_bpw", "i.i.d. Gaussian weights, symbol rate"),
        ("real", "rate_gap_total_bpw", "real weights, total rate"),
    )
    looks = method_looks(rows["method"])
    for axis, (kind, column, title) in zip(axes, panels, strict=True):
        own = ok[ok["weights"] == kind]
        for method, points in own.groupby("method", sort=False):
            style, by_rate = looks[str(method)], points.groupby("target_bpw")
            mean = by_rate[column].mean()
            axis.fill_between(mean.index, by_rate[column].min(), by_rate[column].max(), color=style["color"], alpha=0.13, linewidth=0)
            axis.plot(mean.index, by_rate["pred_rate_gap_bpw"].mean(), color=style["color"], linestyle="--", linewidth=0.9)
            axis.plot(mean, linewidth=0.6, label=f"{method}, measured", **style)
        axis.axhline(SCALAR_LOSS_BITS, color="black", linewidth=0.8)
        axis.set_title(f"{title} ({own['layer'].nunique()} {'Hessians' if kind == 'normal' else 'matrices'})")
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
    axes[0].set_ylabel("rate − R(D) (bpw)")
    axes[0].plot([], [], color="black", linestyle="--", linewidth=0.9, label="theory at finite rate, Gaussian weights")
    axes[0].plot([], [], color="black", linewidth=0.8, label="½ log₂(2πe/12)")
    handles, labels = legend_entries(axes)
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure
