"""Bits that few calibration tokens and damping cost, measured on held-out moments and predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.methods.table import BLUE, GREEN, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import draw_means, log_axes, new_figure
from rdtools.report.style import FULL, PREDICTED, ZERO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("calibration",)
#: Words around it.
CAPTION = Caption(
    title="Calibration size and damping",
    alt="Bits that WaterSIC loses over calibration tokens per column and over damping, measured and predicted.",
    text=(
        "Bits that WaterSIC with its Gaussian coder per column at 4 bits loses, on {{ layers }} layer, to a Hessian from N normal "
        "tokens (left) and to damping (right), against the exact Hessian without damping: rate above R(D), one variance, at the "
        "distortion held out, under the moment that the tokens are drawn from. Markers: mean of three draws of tokens, bars from min "
        "to max. Lines: high-rate theory of each cause alone."
    ),
)


_LEFT: dict[float, tuple[str, dict[str, Any]]] = {
    0.0: ("no damping", {"color": BLUE, "marker": "o"}),
    0.01: ("damping 0.01", {"color": VERMILLION, "marker": "D"}),
}
_RIGHT: dict[float, tuple[str, dict[str, Any]]] = {
    0.0: ("exact Hessian", {"color": GREEN, "marker": "s"}),
    4.0: ("N = 4 n", {"color": BLUE, "marker": "o", "markerfacecolor": "white"}),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Bits lost over tokens per column, and over damping: marks at the mean of the draws, bars from min to max, lines at theory."""
    figure = new_figure(FULL, 2.5)
    left, right = figure.subplots(1, 2)
    drawn = rows[(rows["tokens_per_column"] > 0) & rows["damping"].isin(list(_LEFT))]
    for damping, (label, look) in _LEFT.items():
        of_damping = drawn[drawn["damping"] == damping]
        draw_means(left, of_damping["penalty_bpw"], of_damping["tokens_per_column"], label=label, **look)
    predicted = drawn.groupby("tokens_per_column")["pred_calibration_bpw"].first()
    left.plot(predicted, label="theory: calibration alone", **{**PREDICTED, "linestyle": "-"})
    for size, (label, look) in _RIGHT.items():
        of_damping = rows[(rows["tokens_per_column"] == size) & (rows["damping"] > 0)]
        draw_means(right, of_damping["penalty_bpw"], of_damping["damping"], label=label, **look)
    right.plot(rows[rows["damping"] > 0].groupby("damping")["pred_damping_bpw"].first(), label="theory: damping alone", **PREDICTED)
    for axis, label in ((left, "tokens per column, N / n"), (right, "damping, of the mean diagonal")):
        axis.axhline(0, **ZERO)
        log_axes(axis, "x")
        axis.set_xlabel(label)
        axis.set_ylabel("bits lost, held out (bpw)")
        axis.legend()
    return figure
