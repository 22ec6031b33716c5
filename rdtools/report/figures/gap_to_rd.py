"""Total rate above R(D), by method and rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, empty_figure, new_figure
from rdtools.report.rows import bound_note, compared_rows
from rdtools.report.style import FULL, SCALAR, ZERO, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TABLES = ("results",)
#: Columns of the results that are drawn.
READS = ("layer", "method", "target_bpw", "status", "rate_gap_total_bpw")

#: Words around it on the page.
CAPTION = Caption(
    title="Gaps by method and rate",
    alt="Total rate above R(D) by method and target rate: a marker for the mean over layers, a bar from min to max.",
    text=(
        "Total rate of the file, each method with its own coder, minus R(D), one variance, at the measured distortion. Markers: mean "
        "over those of {{ layers }} layers that all methods have with status ok, which a title counts where some lack; bars: min and "
        "max. At high rate, WaterSIC with an ideal coder per column is {{ scalar_loss }} bit above R(D), one variance; overhead is "
        "added, and GPTQ with the same coder is a further G bits above it."
    ),
)


def draw(table: pd.DataFrame) -> Figure:
    """Total rate above R(D) at the measured distortion, by method: mean over layers, bars from min to max."""
    comparison = compared_rows(table, "rate_gap_total_bpw")
    ok = comparison.rows
    if ok.empty:
        return empty_figure("no row with status ok: nothing to draw")
    methods, looks = list(dict.fromkeys(ok["method"])), method_looks(table["method"])
    rates = np.sort(ok["target_bpw"].unique())
    apart = 0.8 * np.diff(rates).min(initial=1.0) / len(methods)  # marks of neighbouring rates do not mix
    figure = new_figure(FULL, 2.8)
    axis = figure.subplots()
    for i, method in enumerate(methods):
        rows = ok[ok["method"] == method]
        shift = (i - (len(methods) - 1) / 2) * apart
        draw_means(axis, rows["rate_gap_total_bpw"], rows["target_bpw"], shift=shift, label=method, **looks[method])
    axis.axhline(0, **ZERO)
    axis.axhline(SCALAR_LOSS_BITS, label="scalar integers, ideal coder, high rate", **SCALAR)
    axis.set_title("\n".join(filter(None, (comparison.note, bound_note(ok["method"])))), fontsize="small")
    axis.set_xticks(rates)
    axis.set_xlabel("target rate of the symbols (bits per active weight)")
    axis.set_ylabel("total rate − R(D), one variance (bpw)")
    add_legend(figure, 1, "outside right upper")
    return figure
