"""KL and perplexity of the whole quantized model over the total rate, and KL over the summed relative distortion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.evaluation.noise import NOISE
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import BOUND, FULL, SCALAR, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("equal_footing",)
#: Words around it.
CAPTION = Caption(
    title="What the distortion of layers does to the model",
    alt="KL divergence over the summed relative distortion, and KL and perplexity over the total rate, by method.",
    text=(
        "The whole model with every matrix quantized by one method, each with its own coder, no bound enters; held-out windows. Left: "
        "KL divergence of the original from the quantized model over D/D₀ summed over the {{ layers }} quantized matrices, and its "
        "least-squares fit. Middle, right: KL and perplexity over the total rate of the quantized matrices. Bars: 95 % bootstrap "
        "intervals over sequences, of perplexity those of its paired increase; marks of one target rate are moved to stand side by "
        "side, by 0.04 bpw each. Dotted: noise floor, weights with noise of the size of bfloat16 rounding; dashed: the original model."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """KL over Σ D/D₀ with the fit; KL and perplexity over the total rate, with the noise floor and the original."""
    figure = new_figure(FULL, 2.7)
    sums, rates, perplexities = figure.subplots(1, 3)
    measured, floor = rows[rows["method"] != NOISE], rows[rows["method"] == NOISE]
    looks = method_looks(measured["method"])
    for number, (method, look) in enumerate(looks.items()):
        of_method = measured[measured["method"] == method]
        bars = np.array([of_method["kl_nats"] - of_method["kl_low"], of_method["kl_high"] - of_method["kl_nats"]])
        style = {"linestyle": "none", "capsize": 1.5, "elinewidth": 0.7, "label": method, **look}
        sums.errorbar(of_method["summed_relative_distortion"], of_method["kl_nats"], yerr=bars, **style)
        x = of_method["total_bpw"] + 0.04 * (number - (len(looks) - 1) / 2)
        rates.errorbar(x, of_method["kl_nats"], yerr=bars, **style)
        y, low, high = (of_method["perplexity_original"] * np.exp(of_method[f"nll_increase_{end}"]) for end in ("nats", "low", "high"))
        perplexities.errorbar(x, y, yerr=[y - low, high - y], **style)
    power, factor = (float(rows[f"kl_{part}"].iloc[0]) for part in ("power", "factor"))
    if np.isfinite(power):
        ends = np.geomspace(measured["summed_relative_distortion"].min(), measured["summed_relative_distortion"].max(), 2)
        sums.plot(ends, factor * ends**power, label=f"fit: {factor:.3f} (Σ D/D₀)^{power:.2f}", zorder=1, **{**BOUND, "linewidth": 1.0})
    for value in floor["kl_nats"]:
        rates.axhline(value, label="noise of bfloat16's rounding", **SCALAR)
    perplexities.axhline(measured["perplexity_original"].iloc[0], color="black", linestyle="--", linewidth=0.8, label="original model")
    log_axes(sums)
    log_axes(rates, "y")
    log_axes(perplexities, "y")
    sums.set(xlabel="Σ D/D₀ over matrices", ylabel="KL (nats per token)")
    rates.set(xlabel="total rate (bpw), side by side", ylabel="KL (nats per token)")
    perplexities.set(xlabel="total rate (bpw), side by side", ylabel="perplexity")
    add_legend(figure, 5)
    return figure
