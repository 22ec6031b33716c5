"""Tightness of every claim over the layers that it was checked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.claims.tightness import READS as READS
from rdtools.claims.tightness import ratio
from rdtools.methods.table import BLUE, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import empty_figure, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("verdicts",)
#: Words around it.
CAPTION = Caption(
    title="How tight the claims are",
    alt="One line per claim, one tick per layer: smaller side over larger side, as claimed.",
    text=(
        "Ratio of the side that is claimed to be smaller to the other one, of every claim of rdtools verify that is an inequality of "
        "positive sides, one tick per layer, {{ layers }} layers: 1 is tight, above 1 is violated. Median at the diamond; there are no"
        " bars. Coder and bound are those of each claim."
    ),
)


#: Ratios below are drawn at the edge, as an arrow.
LEAST = 1e-4


def draw(verdicts: pd.DataFrame) -> Figure:
    """Ratio of the two sides of every claim that is an inequality of positive sides, one tick for each layer; 1 is tight."""
    shown = verdicts.assign(ratio=ratio(verdicts))[["claim", "ratio"]].dropna()
    if shown.empty:
        return empty_figure("no inequality of positive sides was compared: nothing to draw")
    names = list(dict.fromkeys(shown["claim"]))
    figure = new_figure(FULL, 0.7 + 0.125 * len(names))
    axis = figure.subplots()
    y, far = shown["claim"].map(names.index), shown["ratio"] < LEAST
    axis.plot(shown["ratio"][~far], y[~far], "|", color=BLUE, markersize=5, markeredgewidth=0.6)
    axis.plot([LEAST] * len(set(y[far])), sorted(set(y[far])), "<", color=BLUE, markersize=3)
    median = shown.groupby("claim")["ratio"].median().reindex(names).clip(lower=LEAST)
    axis.plot(median, range(len(names)), "D", color=VERMILLION, markersize=2.5)
    axis.axvline(1.0, color="black", linewidth=0.6)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    log_axes(axis, "x")
    axis.set_xlabel(f"smaller side over larger side, as claimed (arrows: below {LEAST:g})")
    return figure
