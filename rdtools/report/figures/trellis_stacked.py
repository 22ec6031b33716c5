"""Total rate above R(D) of matrices in a file each and in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.style import method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("trellis_stacked",)


def draw(rows: pd.DataFrame) -> Figure:
    """Total rate above R(D), one variance, by target rate and group: mean over blocks, bars from min to max; lines: one file for all."""
    groups, looks = list(dict.fromkeys(rows["group"])), method_looks(rows["method"])
    figure = new_figure(4.0 * len(groups), 3.4)
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axis, group in zip(axes, groups, strict=True):
        panel_rows = rows[rows["group"] == group]
        for (method, one_file), part in panel_rows.groupby(["method", panel_rows["container_layers"] > 1], sort=False):
            by_rate = part.groupby("target_bpw")["rate_gap_total_bpw"]
            mean, low, high = by_rate.mean(), by_rate.min(), by_rate.max()
            axis.errorbar(
                mean.index,
                mean,
                yerr=[mean - low, high - mean],
                capsize=2,
                elinewidth=0.8,
                label=f"{method}, {'one file' if one_file else 'a file each'}",
                **{**looks[str(method)], "linestyle": "-" if one_file else "none", "linewidth": 0.8},
            )
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(group)
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
        axis.set_xticks(sorted(panel_rows["target_bpw"].unique()))
    axes[0].set_ylabel("total rate − R(D), one variance (bpw)")
    figure.legend(*legend_entries(list(axes)), loc="outside upper center", ncols=2)
    return figure
