"""KL of the whole model with quantized activations, and of codebooks at about one bit, by total rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.evaluation.noise import NOISE
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("whole_model",)
#: Words around it.
CAPTION = Caption(
    title="Quantized activations and codebooks in the model",
    alt="KL divergence over the total rate, by method: 4-bit weights and activations, and codebooks.",
    text=(
        "The whole model with every one of {{ layers }} matrices quantized by one method, each with its own coder, no bound enters; "
        "held-out windows. KL divergence of the original over the total rate of the files, low-rank factors and axes of 16 bits included. "
        "Left: weights and activations of 4 bits; right: codebooks, activations left alone. Bars: 95 % bootstrap intervals over sequences."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """KL over the total rate: activations of four bits on the left, codebooks on the right."""
    figure = new_figure(FULL, 3.6)
    axes = figure.subplots(1, 2)
    measured = rows[(rows["method"] != NOISE) & (rows["hessians"] == "original") & rows["fused"].isna()]
    looks = method_looks(measured["method"])
    for axis, quantized, title in zip(axes, (True, False), ("weights and activations of 4 bits", "codebooks"), strict=True):
        for _, row in measured[measured["activation_bits"].notna() == quantized].iterrows():
            bars = np.array([[row["kl_nats"] - row["kl_low"]], [row["kl_high"] - row["kl_nats"]]])
            style = {"linestyle": "none", "capsize": 1.5, "elinewidth": 0.7, "label": row["method"], **looks[row["method"]]}
            axis.errorbar([row["total_bpw"]], [row["kl_nats"]], yerr=bars, **style)
        log_axes(axis, "y")
        axis.set(xlabel="total rate (bpw)", ylabel="KL (nats per token)", title=title)
    add_legend(figure, 2)
    return figure
