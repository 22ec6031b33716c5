"""Coded bits above the limit, by method and rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.figures.canvas import empty_figure, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Coded bits above the limit at the measured distortion, by method: mean over layers, bars from least to most."""
    ok = ok_rows(table)
    if ok.empty:
        return empty_figure("no row with status ok: nothing to draw")
    methods, looks = list(dict.fromkeys(ok["method"])), method_looks(table["method"])
    figure = new_figure(7.2, 3.2)
    axis = figure.subplots()
    for i, method in enumerate(methods):
        by_rate = ok[ok["method"] == method].groupby("target_rate_bits")["coded_gap_bits"]
        mean, low, high = by_rate.mean(), by_rate.min(), by_rate.max()
        x = mean.index.to_numpy(dtype=float) + (i - (len(methods) - 1) / 2) * 0.07
        axis.errorbar(
            x,
            mean,
            yerr=[mean - low, high - mean],
            linestyle="none",
            capsize=2,
            elinewidth=0.8,
            label=method,
            **looks[method],
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(sorted(ok["target_rate_bits"].unique()))
    axis.set_xlabel("target rate of the codes (bits per weight)")
    axis.set_ylabel("coded bits above the limit")
    figure.legend(loc="outside right upper")
    return figure
