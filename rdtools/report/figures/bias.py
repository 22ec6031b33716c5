"""Bits that a bias of 16 bits per row saves, by layer type and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, log_axes, new_figure
from rdtools.report.rows import ordered_types
from rdtools.report.style import FULL, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("bias",)
#: Words around it.
CAPTION = Caption(
    title="What a bias per row saves",
    alt="Bits per weight that a bias per row saves, by layer type, method and model, in theory and measured, beside its cost.",
    text=(
        "Bits per weight that a bias of 16 bits per row saves, its cost not taken off, over layer types: mean over the matrices of a type, "
        "bars from min to max. Ticks: theory, at high rate for rounding to nearest and GPTQ, and R(D) of Gaussian weights at 3 bits for "
        "WaterSIC. Markers: ½ log₂ of the distortion at 3 bits without the bias over that of weights that were made for the covariance in "
        "place of the second moment, each method with its own coder; for SmolLM2-135M in one block alone. Horizontal lines: 16/n, the cost."
    ),
)


#: Method that is measured → column of its theory, and what that is called.
THEORY = {"hrtn": ("rounding", "rounding, theory"), "hptq": ("feedback", "GPTQ, theory"), "watersic": ("bound", "R(D), theory")}


def draw(rows: pd.DataFrame) -> Figure:
    """Savings by layer type, a panel for each model, and the cost of the bias."""
    panels, looks = list(rows.groupby("model", sort=False)), method_looks(THEORY)
    figure = new_figure(FULL, 2.6)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (model, of_panel) in zip(axes, panels, strict=True):
        types = ordered_types(of_panel["layer_type"])
        for number, (method, (theory, label)) in enumerate(THEORY.items()):
            tick = {"marker": "_", "color": looks[method]["color"], "markersize": 5, "label": label}
            mark = {"markersize": 2.8, "label": f"{method}, measured", **looks[method]}
            for shift, name, look in ((-0.065, theory, tick), (0.065, method, mark)):
                values = of_panel[f"{name}_saving_bpw"]
                draw_means(axis, values, of_panel["layer_type"], order=types, shift=0.26 * (number - 1) + shift, **{**look, "capsize": 1})
        cost = of_panel.groupby("layer_type")["cost_bpw"].mean().reindex(types)
        axis.hlines(cost, np.arange(len(types)) - 0.45, np.arange(len(types)) + 0.45, colors="black", linewidth=0.8, label="16/n, its cost")
        log_axes(axis, "y")
        axis.set_title(model)
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    axes[0].set_ylabel("saved by the bias (bpw)")
    add_legend(figure, 4)
    return figure
