"""Output error of 4-bit activations before and after channel reassembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("reassembly",)
#: Words around it.
CAPTION = Caption(
    title="Channel reassembly",
    alt="Output error of 4-bit activations over the threshold of splitting, for six ways of reassembly, measured and predicted.",
    text=(
        "Output error of 4-bit activations over the output’s power, before and after channel reassembly (QLLM), over the threshold of "
        "splitting over the largest channel maximum; {{ layers }} synthetic layers with six outlier channels, weights not quantized, "
        "so that neither coder nor bound enters. Markers: mean over the seeds, bars from min to max; lines: prediction by uniform "
        "noise."
    ),
)


#: Bits of the activations.
BITS = 4
#: Variant → colour and marker.
LOOKS = {
    "split": (BLUE, "o"),
    "split, staggered": (SKY, "D"),
    "merged": (VERMILLION, "s"),
    "merged, rescaled": (GREEN, "P"),
    "merged, released metric": (ORANGE, "v"),
    "pruned": (GREY, "X"),
}


def draw(rows: pd.DataFrame) -> Figure:
    """Error over threshold: marks at the mean over seeds, with bars from min to max, lines at the prediction."""
    figure = new_figure(FULL, 2.9)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (kind, of_kind) in zip(axes, rows.groupby("channels", sort=False), strict=True):
        before = of_kind[of_kind["variant"] == "before"]
        axis.axhline(before["relative_error"].mean(), color="black", linewidth=0.8, label="before, measured")
        axis.axhline(before["pred_relative_error"].mean(), color="black", linewidth=0.8, linestyle=":", label="before, predicted")
        for variant, (color, marker) in LOOKS.items():
            part = of_kind[of_kind["variant"] == variant]
            draw_means(axis, part["relative_error"], part["threshold"], color=color, marker=marker, label=variant)
            axis.plot(part.groupby("threshold")["pred_relative_error"].mean(), color=color, linewidth=0.8)
        log_axes(axis)
        axis.set(xlabel="threshold θ / largest channel maximum", title=f"{kind} channels")
        axis.set_xticks([0.03, 0.05, 0.1, 0.2, 0.4], ["0.03", "0.05", "0.1", "0.2", "0.4"])
        axis.set_xticks([], minor=True)
    axes[0].set_ylabel(f"output error of {BITS}-bit activations / power")
    axes[0].plot([], [], color="black", linewidth=0.8, alpha=0.6, label="lines: prediction by uniform noise")
    add_legend(figure, 4)
    return figure
