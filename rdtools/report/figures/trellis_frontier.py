"""Rate above R(D) from 1 to 5 bits by the shape of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.ops import COSET_STATES
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.rows import compared_rows
from rdtools.report.style import BOUNDS, FULL, PREDICTED, SCALAR, ZERO, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLES = ("trellis_frontier",)
#: Words around it.
CAPTION = Caption(
    title="Gap to R(D) from 1 to 5 bits",
    alt="Gap to R(D) over rate for scalar, lattice and trellis methods, measured and predicted, on Gaussian and on trained weights.",
    text=(
        "Rate above R(D), one variance, at the measured distortion, from 1 to 5 bits: scalar cells, the words of E8P, the trellis of "
        "QTIP and entropy-coded trellises, each method with its own coder. Left: 4096 rows of Gaussian weights under one Hessian, rate "
        "of the symbols; dashed, in the colour of its method: theory at finite rate. Right: the matrices of one block, {{ layers }} "
        "layers, mean over those that all methods have, total rate of the file, trellises of 256 states alone, with the other bounds at "
        "their distortion; pale: models that the decoder learns. There are no bars. Dotted: ½ log₂(2πe/12), scalar integers with an "
        "ideal coder at high rate."
    ),
)


#: States that are drawn; the table has all.
DRAWN = (4, 8, 64, 256, 1024)
_PANELS = (
    ("normal", "rate_gap_symbols_bpw", "i.i.d. Gaussian weights, symbol rate"),
    ("trained", "rate_gap_total_bpw", "trained weights, total rate"),
)


def trellis(states: int, suffix: str = "") -> str:
    """Name of the trellis of so many states as tables have it."""
    return ("watersic-trellis" if states == 256 else f"watersic-trellis(states={states})") + suffix


#: Methods of the table that a panel leaves out: beside trained weights all trellises but that of 256 states, whose markers would be one.
_LEFT_OUT = {
    "normal": {trellis(states) for states in COSET_STATES if states not in DRAWN},
    "trained": {"watersic-trellis-plain", "watersic-trellis+rotation", *(trellis(states) for states in COSET_STATES if states != 256)},
}


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
    looks = method_looks(rows["method"])
    figure = new_figure(FULL, 3.4)
    axes = figure.subplots(1, 2)
    for axis, (kind, column, title) in zip(axes, _PANELS, strict=True):
        comparison = compared_rows(rows[rows["weights"].eq(kind) & ~rows["method"].isin(_LEFT_OUT[kind])], column)
        for method, points in comparison.rows.groupby("method", sort=False):
            style = {**looks[str(method)], "linestyle": "none"}
            axis.plot(mean_by_rate(points, column), label=str(method), **style)
            if kind == "normal":
                axis.plot(mean_by_rate(points, "pred_rate_gap_bpw").dropna(), **{**PREDICTED, "color": style["color"]})
        if kind == "trained":
            axis.axhline(0, **ZERO)
        axis.axhline(SCALAR_LOSS_BITS, label="½ log₂(2πe/12)", **SCALAR)
        count = comparison.note or f"{max(comparison.layers)} {'Hessian' if kind == 'normal' else 'matrices'}"
        axis.set_title(f"{title} ({count})")
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
        axis.set_xticks(sorted(comparison.rows["target_bpw"].unique()))
    for name, label in (("rowvar", "R(D), row variances"), ("aligned", "R(D), aligned with H"), ("covariance", "R(D), covariance of rows")):
        _draw_bound(axes[1], comparison.rows, f"rd_bound_{name}", f"rate_gap_total_{name}_bpw", label)
    log_axes(axes[0], "y")
    axes[0].set_ylabel("rate − R(D), one variance (bpw)")
    axes[0].plot([], [], label="theory at finite rate, Gaussian weights", **PREDICTED)
    add_legend(figure, 3)
    return figure
