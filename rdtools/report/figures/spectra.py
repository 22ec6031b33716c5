"""Spectra of Hessians with the water levels of the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLUE, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("spectra",)
#: Words around it.
CAPTION = Caption(
    title="Spectra and water levels",
    alt="Eigenvalues and squared Cholesky diagonal of each Hessian of a block over their index, with water levels.",
    text=(
        "Eigenvalues λ of the {{ layers }} Hessians of the middle block, each of the layer types that its title names, and ℓ², the "
        "squared Cholesky diagonal, in descending order, each over the mean of λ. Horizontal lines: water level of R(D), one variance,"
        " at 2, 3 and 4 bits; a direction whose λ is below it gets no bits. No coder enters, and there are no bars."
    ),
)


_CURVES = {"lambda": ("λ", {"color": BLUE}), "ell_squared": ("ℓ²", {"color": VERMILLION, "linestyle": "--"})}
_LEVELS = ((0, (1, 1)), (0, (4, 1)), (0, (4, 1, 1, 1)), "-")


def draw(rows: pd.DataFrame) -> Figure:
    """Eigenvalues and ℓ² of every Hessian, descending, with water levels as horizontal lines."""
    inputs = list(dict.fromkeys(rows["types"]))
    figure = new_figure(FULL, 2.3)
    axes = figure.subplots(1, len(inputs), sharey=True, squeeze=False)[0]
    for axis, types in zip(axes, inputs, strict=True):
        of_types = rows[rows["types"] == types]
        for name, (label, look) in _CURVES.items():
            curve = of_types[of_types["curve"] == name]
            axis.plot(curve["index"], curve["value"], label=label, **look)
        levels = of_types[of_types["curve"].str.startswith("water_level_")]
        for name, value, line in zip(levels["curve"], levels["value"], _LEVELS, strict=False):
            axis.axhline(value, color="black", linestyle=line, linewidth=0.7, label=f"water level, {name.rpartition('_')[2]} bits")
        log_axes(axis)
        axis.set(title=types, xlabel="index, descending")
    axes[0].set_ylabel("λ and ℓ² over the mean of λ")
    add_legend(figure, 5)
    return figure
