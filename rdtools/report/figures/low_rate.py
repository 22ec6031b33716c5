"""Rate above R(D) from 1 to 4 bits, measured and predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, add_notes, draw_means, new_figure
from rdtools.report.rows import compared_rows
from rdtools.report.style import FULL, PREDICTED, SCALAR, ZERO, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("low_rate",)
#: Words around it.
CAPTION = Caption(
    title="Gap to R(D) from 1 to 4 bits",
    alt="Gap to R(D) over rate for five methods, measured and predicted, on Gaussian and on real weights.",
    text=(
        "Rate above R(D), one variance, at the measured distortion, each method with its own coder. Left: Gaussian weights under every"
        " Hessian of the run, rate of the symbols; right: real weights, {{ layers }} matrices, total rate. Markers: mean over layers; "
        "vertical bars: min to max over layers. Dashed, in the colour of its method: theory at finite rate for Gaussian weights. "
        "Dotted: ½ log₂(2πe/12), scalar integers with an ideal coder at high rate."
    ),
)


_PANELS = (
    ("normal", "rate_gap_symbols_bpw", "i.i.d. Gaussian weights, symbol rate"),
    ("real", "rate_gap_total_bpw", "real weights, total rate"),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Gap over rate: marks at the mean over layers, bars from min to max, dashed lines at what is predicted for normal weights."""
    figure = new_figure(FULL, 2.8)
    axes = figure.subplots(1, 2, sharey=True)
    looks = method_looks(rows["method"])
    notes = []
    for axis, (kind, column, title) in zip(axes, _PANELS, strict=True):
        comparison = compared_rows(rows[rows["weights"] == kind], column)
        of_kind = comparison.rows
        notes.append(comparison.note and f"{title}: {comparison.note}")
        for number, (method, points) in enumerate(of_kind.groupby("method", sort=False)):
            style = looks[str(method)]
            predicted = points.groupby("target_bpw")["pred_rate_gap_bpw"].mean()
            draw_means(axis, points[column], points["target_bpw"], shift=0.02 * (number - 2), label=str(method), **style)
            axis.plot(predicted, **{**PREDICTED, "color": style["color"]})
        axis.axhline(SCALAR_LOSS_BITS, label="½ log₂(2πe/12)", **SCALAR)
        axis.axhline(0, **ZERO)
        axis.set_title(f"{title} ({of_kind['layer'].nunique()} {'Hessians' if kind == 'normal' else 'matrices'})")
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
    axes[0].set_ylabel("rate − R(D), one variance (bpw)")
    axes[0].plot([], [], label="theory at finite rate, Gaussian weights", **PREDICTED)
    add_notes(figure, *notes)
    add_legend(figure, 4)
    return figure
