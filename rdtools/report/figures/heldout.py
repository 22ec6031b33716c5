"""Held-out over calibrated distortion against the size of the calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, empty_figure, log_axes, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import BOUND, FULL, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TABLES = ("results",)
#: Columns of the results that are drawn.
READS = (
    *("layer", "method", "target_bpw", "status", "active_columns", "distinct_tokens", "effective_tokens"),
    "heldout_over_calibration",
)

#: Words around it on the page.
CAPTION = Caption(
    title="Enough calibration?",
    alt="Held-out over calibrated relative distortion against columns over tokens, one marker for each layer and method.",
    text=(
        "{% if run and not run.heldout %}Nothing to draw: this run has no held-out text. The options <code>--evaluation-text</code> and "
        "<code>--evaluation-tokens</code> give it one.{% else %}Relative distortion D′/D₀′ of the decoded weights under H′, the second "
        "moment over {% if run %}{{ run.heldout.hessians[0].n_tokens }} {% endif %}tokens that calibration has not seen{% if run %} ({{ "
        "run.heldout.tokens.source }}){% endif %}, over D/D₀ under the calibration Hessian, at the highest target rate, so that a text of "
        "more energy changes nothing; D₀ and D₀′ are those of weights all zero. One marker per layer and method, each with its own coder; "
        "no bound enters. A panel's title counts the layers that it cannot show. Line: WaterSIC at high rate for independent normal "
        "tokens, 1/(1 − n/N). Left: N counts calibration tokens, copies once; those of one text are correlated, so that markers lie above "
        "the line. Right: N_eff is the number of independent tokens whose sample moment errs as much as H does against H′, by tr(H⁻¹H′); "
        "a difference between the two texts counts as error, too.{% endif %}"
    ),
)
#: Columns with a number of tokens, and how the axis names them.
_TOKENS = {
    "distinct_tokens": ("N", "n / N, N distinct calibration tokens"),
    "effective_tokens": ("N_eff", "n / N_eff, N_eff effective tokens"),
}


def draw(table: pd.DataFrame) -> Figure:
    """Ratio of held-out to calibrated distortion of every layer at the highest rate, over n/N: measured, and predicted for WaterSIC.

    Each panel says how many layers it leaves out because their n/N or ratio is not known, zero or infinite.
    """
    ok = ok_rows(table)
    at_top = ok[ok["target_bpw"].eq(ok["target_bpw"].max())]
    rows, layers = at_top[at_top["heldout_over_calibration"].gt(0)], at_top["layer"].nunique()
    if rows.empty:
        return empty_figure("no held-out text: `evaluation_text` gives some")
    looks = method_looks(table["method"])
    figure = new_figure(FULL, 2.9)
    axes = figure.subplots(1, 2, sharey=True).ravel()
    for axis, (tokens, (symbol, label)) in zip(axes, _TOKENS.items(), strict=True):
        share = rows["active_columns"] / rows[tokens].astype(float)
        share = share[(share > 0) & np.isfinite(share)]
        for method, points in rows.loc[share.index].groupby("method", sort=False):
            look = {**looks[str(method)], "markersize": 2.5, "alpha": 0.8}
            axis.plot(share[points.index], points["heldout_over_calibration"], linestyle="none", label=str(method), **look)
        known = share[share < 1]
        if len(known):
            y = np.geomspace(known.min() / 2, min(2 * known.max(), 0.95), 100)
            axis.plot(y, 1 / (1 - y), label="predicted for WaterSIC: 1 / (1 − n/N)", zorder=1, **BOUND)
            log_axes(axis, "x")
        axis.set_xlabel(label)
        if left_out := layers - rows.loc[share.index, "layer"].nunique():
            axis.set_title(f"{left_out} of {layers} layers left out: {symbol} or ratio unknown, 0 or infinite", fontsize="small")
    low, high = (rows["heldout_over_calibration"].agg(end) for end in ("min", "max"))
    axes[0].set_ylim(min(low, 1) - 0.05 * (high - min(low, 1)), high + 0.05 * (high - min(low, 1)))  # predictions may be far above
    axes[0].set_ylabel("D′/D₀′ held out over D/D₀")
    add_legend(figure, 5)
    return figure
