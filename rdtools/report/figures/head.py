"""KL of a model whose output head alone is quantized, with equal steps or steps by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.methods import PALETTE
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import COLUMN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("head",)
#: Words around it.
CAPTION = Caption(
    title="The output head alone",
    alt="KL divergence over the total rate of the output head, with equal row steps and with steps by class.",
    text=(
        "KL divergence of the original from the embedded model with one matrix quantized, its output head, by WaterSIC with its "
        "Gaussian coder per column, over the total rate of the head with 16 bits per row for steps that differ; no bound enters; "
        "held-out windows. Equal steps, or steps by how much a class matters, with smoothing ε; marks are moved to stand side by side, "
        "by 0.04 bpw each. Markers: measured, bars 95 % bootstrap intervals over sequences; lines: the second-order proxy ½ Σ λ e H eᵀ."
    ),
)


_MARKERS = ("o", "D", "v", "s")


def draw(rows: pd.DataFrame) -> Figure:
    """KL and its proxy against the total rate of the head, a line for each ε."""
    figure = new_figure(COLUMN, 2.9)
    axis = figure.subplots()
    for number, (epsilon, of_smoothing) in enumerate(rows.groupby("smoothing", sort=False)):
        look = {"color": PALETTE[number % len(PALETTE)], "marker": _MARKERS[number % len(_MARKERS)]}
        shift, label = (0.0, "equal steps") if epsilon == 1 else (0.04 * (number - 2), f"by class, ε = {epsilon:g}")
        bars = [of_smoothing["kl_nats"] - of_smoothing["kl_low"], of_smoothing["kl_high"] - of_smoothing["kl_nats"]]
        style: dict[str, Any] = {"linestyle": "none", "capsize": 1.5, "elinewidth": 0.7, "label": label, **look}
        axis.errorbar(of_smoothing["total_bpw"] + shift, of_smoothing["kl_nats"], yerr=bars, **style)
        axis.plot(of_smoothing["total_bpw"], of_smoothing["proxy_nats"], color=look["color"], linewidth=0.8, zorder=1)
    axis.plot([], [], label="second-order proxy", color="black", linewidth=0.8)
    log_axes(axis, "y")
    axis.set(xlabel="total rate of the head (bpw), side by side", ylabel="KL (nats per token)")
    add_legend(figure, 2)
    return figure
