"""Incoherence of weights and Hessians before and after each rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLACK, BLUE, GREEN, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, log_axes, new_figure
from rdtools.report.rows import ordered_types
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("incoherence",)
#: Words around it.
CAPTION = Caption(
    title="Incoherence before and after rotations",
    alt="Incoherence of weights and of Hessians by layer type, unrotated and after three kinds of rotation of the input, with bounds.",
    text=(
        "Incoherence of weights, μ_W (left), and of Hessians, μ_H (right), of {{ layers }} matrices, before and after each random "
        "rotation of the input. Markers: mean over blocks, bars from min to max. Ticks: bound on μ_H behind the rotation that holds "
        "with probability 0.99 whatever H. Neither a coder nor R(D) enters."
    ),
)


#: Rotation → colour, marker and name.
LOOKS = {
    "none": (BLACK, "o", "unrotated"),
    "hadamard": (VERMILLION, "D", "randomized Hadamard"),
    "haar": (BLUE, "s", "Haar"),
    "kronecker": (GREEN, "^", "Kronecker of two Haar"),
}
_SIDES = {"weight_incoherence": "μ_W of weights", "hessian_incoherence": "μ_H of Hessians"}


def draw(rows: pd.DataFrame) -> Figure:
    """μ_W and μ_H by layer type and rotation: mean over blocks, bars from min to max; ticks at the bounds on μ_H."""
    types = ordered_types(rows["layer_type"])
    figure = new_figure(FULL, 2.5)
    axes = figure.subplots(1, 2)
    for axis, (column, title) in zip(axes, _SIDES.items(), strict=True):
        for i, (rotation, (color, marker, label)) in enumerate(LOOKS.items()):
            of_rotation, shift = rows[rows["rotation"] == rotation], 0.18 * (i - 1.5)
            draw_means(
                axis, of_rotation[column], of_rotation["layer_type"], order=types, shift=shift, color=color, marker=marker, label=label
            )
            if column == "hessian_incoherence":
                bound = of_rotation.groupby("layer_type")["hessian_incoherence_bound"].mean().reindex(types)
                x = [number + shift for number in range(len(types))]
                axis.plot(x, bound, color=color, linestyle="none", marker="_", markersize=6, alpha=0.7)
        log_axes(axis, "y")
        axis.set_title(title)
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    axes[1].plot([], [], color="black", linestyle="none", marker="_", markersize=6, alpha=0.7, label="bound on μ_H, probability 0.99")
    axes[0].set_ylabel("incoherence")
    add_legend(figure, 5)
    return figure
