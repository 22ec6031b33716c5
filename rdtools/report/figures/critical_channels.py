"""CRVQ's distortion by the share of critical channels and by total rate."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLUE, GREEN, GREY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("critical_channels",)
#: Words around it.
CAPTION = Caption(
    title="Critical channels",
    alt="Distortion over the share of critical channels, with the law, and over the total rate, with the rate–distortion bound.",
    text=(
        "CRVQ with its own coder on {{ layers }} synthetic layers of independent normal weights. Left: codes chosen without the Hessian, "
        "D over that with no critical channel, by their share λ; lines: 1 − (1 − c₄/c₁) φ(λ). Middle: trained codebooks, over AQLM 1×8 in "
        "natural order. Right: D/D₀ by the total rate of the file; lines: rate–distortion bound. No bars: one layer each."
    ),
)

#: Hessian → colour, and order of channels → marker.
HESSIANS = {"lognormal": BLUE, "ten heavy": VERMILLION, "correlated": GREEN}
ORDERS = {"sorted": "v", "natural_rest": "s", "stratified_rest": "o"}


def draw(rows: pd.DataFrame) -> Figure:
    """Codes chosen without the Hessian over the share, over those of no critical channel, with the law; trained ones over total rate."""
    figure = new_figure(FULL, 3.4)
    plain_axis, share_axis, rate_axis = figure.subplots(1, 3)
    plain, trained = rows[rows["epochs"] == 0], rows[rows["epochs"] > 0]
    for name, colour in HESSIANS.items():
        of_hessian = plain[plain["hessian"] == name]
        if of_hessian.empty:
            continue
        base = of_hessian[of_hessian["critical_groups"] == 0].iloc[0]
        measured, law = (of_hessian[column] / base[column] for column in ("relative_distortion", "pred_relative_distortion"))
        share = 100 * of_hessian["critical_share"]
        plain_axis.plot(share, measured, color=colour, marker="*", linestyle="none", label=f"{name}, without H")
        plain_axis.plot(share, law, color=colour, label=f"{name}, law")
    for (name, colour), (order, marker) in product(HESSIANS.items(), ORDERS.items()):
        of_hessian = trained[(trained["hessian"] == name) & (trained["order"] == order)]
        if of_hessian.empty:
            continue
        among = trained[(trained["hessian"] == name) & (trained["order"] == "natural_rest")]
        base = among[among["critical_groups"] == 0].iloc[0]
        look = {"color": colour, "marker": marker, "label": f"{name}, {order.replace('_', ' ')}"}
        ratio = of_hessian["relative_distortion"] / base["relative_distortion"]
        share_axis.plot(100 * of_hessian["critical_share"], ratio, linewidth=0.7, **look)
        rate_axis.plot(of_hessian["total_bpw"], of_hessian["relative_distortion"], linestyle="none", **look)
    for name, colour in HESSIANS.items():
        bound = trained[trained["hessian"] == name].sort_values("total_bpw")
        rate_axis.plot(bound["total_bpw"], bound["bound_relative_distortion"], color=colour, label=f"{name}, bound")
    share_axis.axhline(1.0, color=GREY, linewidth=0.8)
    log_axes(share_axis, "y")
    log_axes(rate_axis, "y")
    plain_axis.set(xlabel="critical channels λ (%)", ylabel="D(λ)/D(0)", title="codes without H")
    share_axis.set(xlabel="critical channels λ (%)", ylabel="D / D of AQLM 1×8", title="trained codes")
    rate_axis.set(xlabel="total rate (bpw)", ylabel="D/D₀", title="trained codes")
    add_legend(figure, 4)
    return figure
