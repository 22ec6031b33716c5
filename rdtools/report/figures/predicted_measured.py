"""Measured over predicted distortion, one panel for each rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, empty_figure, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import FULL, ZERO, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TABLES = ("results",)
#: Columns of the results that are drawn.
READS = (
    *("method", "target_bpw", "status", "relative_distortion"),
    *("measured_over_pred_finite_rate", "measured_over_pred_high_rate"),
)

#: Words around it on the page.
CAPTION = Caption(
    title="Predicted against measured",
    alt="Ratio of measured to predicted distortion by method, one panel for each target rate.",
    text=(
        "One marker per layer and method: ratio of the distortion "
        "of the decoded file to the predicted one, both at the entropy of the symbols under the method's own "
        "coder; no bound enters. High-rate theory assumes Gaussian weights and steps below a standard deviation; it is 1 % accurate "
        "from 4 bits on for Gaussian weights. Below about 3 bits many symbols are zero, the error fed back is no longer uniform, and "
        "the measured distortion exceeds it. Below 0 dB the weights are easier to code than Gaussian ones of the same variance."
    ),
)


def draw(table: pd.DataFrame) -> Figure:
    """Measured over predicted distortion, over the predicted one; 0 dB is agreement. By high-rate theory where there is no other."""
    ok = ok_rows(table)
    ratio = ok["measured_over_pred_finite_rate"].fillna(ok["measured_over_pred_high_rate"])
    rows = ok.assign(ratio=ratio)[(ratio > 0) & np.isfinite(ratio)]
    if rows.empty:
        return empty_figure("no method here has a prediction")
    targets, looks = sorted(rows["target_bpw"].unique()), method_looks(table["method"])
    figure = new_figure(FULL, 2.8)
    axes = figure.subplots(1, len(targets), sharey=True, squeeze=False).ravel()
    for axis, target in zip(axes, targets, strict=True):
        axis.axhline(0, **ZERO)
        for method, points in rows[rows["target_bpw"] == target].groupby("method", sort=False):
            predicted = points["relative_distortion"] / points["ratio"]
            axis.plot(
                10 * np.log10(predicted),
                10 * np.log10(points["ratio"]),
                linestyle="none",
                label=str(method),
                alpha=0.8,
                **{**looks[str(method)], "markersize": 2.5},
            )
        axis.set_title(f"{target:g} bits per active weight")
        axis.set_xlabel("predicted D / D₀ (dB)")
    axes[0].set_ylabel("measured / predicted (dB)")
    add_legend(figure, 5)
    return figure
