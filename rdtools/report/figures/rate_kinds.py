"""Log-cardinality and entropy-coded rates on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, empty_figure, new_figure
from rdtools.report.rows import bound_note, compared_rows
from rdtools.report.style import FULL, SCALAR, ZERO, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("results",)
#: Columns of the results that are drawn.
READS = ("layer", "method", "target_bpw", "status", "rate_kind", "total_bpw", "symbol_bpw", "entropy_pooled_bpw", "rate_gap_total_bpw")
#: Words around it.
CAPTION = Caption(
    title="Fixed rates and entropy-coded ones on one axis",
    alt="Total rate above R(D) over total rate for methods of fixed and of entropy-coded rate, and what an entropy coder would save.",
    text=(
        "Total rate minus R(D), one variance, at the measured distortion over the total rate, mean over those of {{ layers }} layers "
        "that all methods have with status ok, which a title counts where some lack. Solid: methods with an entropy coder of their own; "
        "dashed: methods whose symbols have log₂ of the number of levels. Thin arrows: the same integers of a fixed rate at their pooled "
        "plug-in entropy, which no table is counted to. There are no bars. Dotted: scalar integers with an ideal coder at high rate."
    ),
)


def draw(table: pd.DataFrame) -> Figure:
    """Gap over total rate, a line for each method; arrows lead from fixed rates to the entropy of their integers."""
    comparison = compared_rows(table, "rate_gap_total_bpw")
    ok = comparison.rows
    if ok.empty:
        return empty_figure("no row with status ok: nothing to draw")
    looks = method_looks(table["method"])
    figure = new_figure(FULL, 3.1)
    axis = figure.subplots()
    for method, rows in ok.groupby("method", sort=False):
        fixed = bool(rows["rate_kind"].eq("fixed").all())
        means = rows.groupby("target_bpw")[["total_bpw", "rate_gap_total_bpw", "symbol_bpw", "entropy_pooled_bpw"]].mean()
        style = {**looks[str(method)], "linestyle": "--" if fixed else "-", "linewidth": 0.7}
        axis.plot(means["total_bpw"], means["rate_gap_total_bpw"], label=f"{method}, fixed" if fixed else str(method), **style)
        arrow = {"arrowstyle": "->", "color": style["color"], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
        for x, y, symbols, entropy in means.dropna().to_numpy().tolist() if fixed else ():
            tip = (x - (symbols - entropy), y - (symbols - entropy))
            axis.annotate("", tip, (x, y), arrowprops=arrow)
            axis.plot([tip[0]], [tip[1]], color=style["color"], marker=".", markersize=2)
    axis.axhline(0, **ZERO)
    axis.axhline(SCALAR_LOSS_BITS, label="scalar integers, ideal coder, high rate", **SCALAR)
    axis.set_title("\n".join(filter(None, (comparison.note, bound_note(ok["method"])))), fontsize="small")
    axis.set_xlabel("total rate (bpw)")
    axis.set_ylabel("total rate − R(D), one variance (bpw)")
    add_legend(figure, 1, "outside right upper")
    return figure
