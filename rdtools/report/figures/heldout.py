"""Held-out over calibrated distortion against the size of the calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.figures.canvas import empty_figure, legend_entries, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import BOUND, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: Columns of the results that are drawn.
READS = (
    *("method", "target_bpw", "status", "active_columns", "distinct_tokens", "effective_tokens"),
    "heldout_over_calibration",
)
#: Columns with a number of tokens, and how the axis names them.
_TOKENS = {"distinct_tokens": "n / N, N distinct calibration tokens", "effective_tokens": "n / N_eff, N_eff effective tokens"}


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Ratio of held-out to calibrated distortion of every layer at the highest rate, over n/N: measured, and predicted for WaterSIC."""
    ok = ok_rows(table)
    rows = ok[ok["heldout_over_calibration"].gt(0) & ok["target_bpw"].eq(ok["target_bpw"].max())]
    if rows.empty:
        return empty_figure("no held-out text: `evaluation_text` gives some")
    looks = method_looks(table["method"])
    figure = new_figure(8.6, 3.4)
    axes = figure.subplots(1, 2, sharey=True).ravel()
    for axis, (tokens, label) in zip(axes, _TOKENS.items(), strict=True):
        share = rows["active_columns"] / rows[tokens].astype(float)
        for method, points in rows.groupby("method", sort=False):
            look = {**looks[str(method)], "markersize": 3, "alpha": 0.8}
            axis.plot(share[points.index], points["heldout_over_calibration"], linestyle="none", label=f"{method}, measured", **look)
        known = share[(share > 0) & (share < 1)]
        if len(known):
            y = np.geomspace(known.min() / 2, min(2 * known.max(), 0.95), 100)
            axis.plot(y, 1 / (1 - y), label="WaterSIC, predicted: 1 / (1 − n/N)", zorder=1, **BOUND)
            axis.set_xscale("log", subs=[2, 5])
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("{x:g}")
        axis.set_xlabel(label)
    axes[0].set_ylabel("D′ held out / D calibrated")
    handles, labels = legend_entries(axes)
    figure.legend(handles, labels, loc="outside right upper", fontsize=6)
    return figure
