"""Total rate above R(D) of matrices in a file each and in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, add_notes, draw_means, new_figure
from rdtools.report.rows import compared_rows
from rdtools.report.style import FULL, ZERO, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("trellis_stacked",)
#: Words around it.
CAPTION = Caption(
    title="Matrices of one input in one file",
    alt="Total rate above R(D) by target rate for matrices in a file each and in one file.",
    text=(
        "Total rate above R(D), one variance, of the matrices of one input, {{ layers }} groups, in a file each (markers alone) and in "
        "one file (markers joined): each method with its own coder of 256 states, pale with models that the decoder learns. Markers: "
        "mean over blocks; bars from min to max."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Total rate above R(D), one variance, by target rate and group: mean over blocks, bars from min to max; lines: one file for all."""
    groups, looks = list(dict.fromkeys(rows["group"])), method_looks(rows["method"])
    figure = new_figure(FULL, 2.5)
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    kinds = rows["method"] + (rows["container_layers"] > 1).astype(str)
    named = rows.assign(layer=rows["block"], status="ok", kind=kinds)
    comparison = compared_rows(named, "rate_gap_total_bpw", by=("group", "target_bpw"), method="kind")
    for axis, group in zip(axes, groups, strict=True):
        panel_rows = comparison.rows[comparison.rows["group"] == group]
        for (method, one_file), part in panel_rows.groupby(["method", panel_rows["container_layers"] > 1], sort=False):
            look = {**looks[str(method)], "label": f"{method}, {'one file' if one_file else 'a file each'}", "linewidth": 0.8}
            shift, line = (0.02, "-") if one_file else (-0.02, "none")
            draw_means(axis, part["rate_gap_total_bpw"], part["target_bpw"], shift=shift, **{**look, "linestyle": line})
        axis.axhline(0, **ZERO)
        axis.set_title(group)
        axis.set_xlabel("target rate of the symbols (bits per active weight)")
        axis.set_xticks(sorted(panel_rows["target_bpw"].unique()))
    axes[0].set_ylabel("total rate − R(D), one variance (bpw)")
    add_notes(figure, comparison.note.replace("layers", "groups"))
    add_legend(figure, 2)
    return figure
