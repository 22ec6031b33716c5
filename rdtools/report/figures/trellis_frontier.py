"""Rate above R(D) from 1 to 5 bits by the shape of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.ops import COSET_STATES
from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import BOUNDS, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLES = ("trellis_frontier",)
#: States that are drawn; the table has all.
DRAWN = (4, 8, 64, 256, 1024)


def trellis(states: int, suffix: str = "") -> str:
    """Name of the trellis of so many states as tables have it."""
    return ("watersic-trellis" if states == 256 else f"watersic-trellis(states={states})") + suffix


def mean_by_rate(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean of a column over matrices by target rate."""
    return rows.groupby("target_bpw")[column].mean()


def _draw_bound(axis: Axes, panel_rows: pd.DataFrame, name: str, column: str, label: str) -> None:
    """Draw another bound relative to R(D), at the distortions of the trellis of 256 states."""
    part = panel_rows[panel_rows["method"] == "watersic-trellis"]
    below = mean_by_rate(part, "rate_gap_total_bpw") - mean_by_rate(part, column)
    axis.plot(below, label=label, **{**BOUNDS[name], "linewidth": 1.0})


def draw(rows: pd.DataFrame) -> Figure:
    """Gap over rate, mean over matrices: symbol rate on Gaussian weights, with predictions as lines; total rate on trained ones."""
    ok = ok_rows(rows)
    left_out = {trellis(states) for states in COSET_STATES if states not in DRAWN} | {"watersic-trellis-plain", "watersic-trellis+rotation"}
    looks = method_looks(ok["method"])
    figure = new_figure(9.6, 5.0)
    axes = figure.subplots(1, 2)
    panels = (
        ("normal", "rate_gap_symbols_bpw", "i.i.d. Gaussian weights, symbol rate"),
        ("trained", "rate_gap_total_bpw", "trained weights, total rate"),
    )
    for axis, (kind, column, title) in zip(axes, panels, strict=True):
        panel_rows = ok[ok["weights"] == kind]
        for method, points in panel_rows[~panel_rows["method"].isin(left_out)].groupby("method", sort=False):
            style = {**looks[str(method)], "linestyle": "none"}
            axis.plot(mean_by_rate(points, column), label=str(method), **style)
            if kind == "normal":
                axis.plot(mean_by_rate(points, "pred_rate_gap_bpw").dropna(), color=style["color"], linestyle="--", linewidth=0.8)
        axis.axhline(0, label="R(D), one variance", **BOUNDS["rd_bound"])
        axis.axhline(SCALAR_LOSS_BITS, color="black", linewidth=0.6, label="½ log₂(2πe/12)")
        axis.set_title(f"{title} ({panel_rows['layer'].nunique()} {'Hessian' if kind == 'normal' else 'matrices'})")
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
        axis.set_xticks(sorted(panel_rows["target_bpw"].unique()))
    trained = ok[ok["weights"] == "trained"]
    _draw_bound(axes[1], trained, "rd_bound_rowvar", "rate_gap_total_rowvar_bpw", "R(D), row variances")
    _draw_bound(axes[1], trained, "rd_bound_aligned", "rate_gap_total_aligned_bpw", "R(D), aligned with H")
    _draw_bound(axes[1], trained, "rd_bound_covariance", "rate_gap_total_covariance_bpw", "R(D), covariance of rows")
    axes[0].set_ylabel("rate − R(D), one variance (bpw)")
    axes[0].plot([], [], color="black", linestyle="--", linewidth=0.8, label="theory at finite rate, Gaussian weights")
    figure.legend(*legend_entries(list(axes)), loc="outside lower center", ncols=4, fontsize=7)
    return figure
