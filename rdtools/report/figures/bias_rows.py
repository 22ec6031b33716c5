"""Bits per weight that a stored bias gains or loses, by layer type and method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, new_figure
from rdtools.report.rows import ordered_types
from rdtools.report.style import COLUMN, PREDICTED, SCALAR, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("bias_rows",)
#: Words around it.
CAPTION = Caption(
    title="A stored bias per row, net of its bits",
    alt="Bits per weight that a stored bias gains by layer type and method; most markers lie below zero.",
    text=(
        "½ log₂ of the distortion at 3 bits without over that with a bias per row in the file, less the bits per weight by which that file "
        "is longer: above zero the bias pays. Each method with its own coder, whole files, mean over the matrices of a type ({{ layers }} "
        "in all), bars from min to max; no bound enters. Dashed: all that a bias costs and nothing that it saves, −16/n."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Net gain by layer type, a marker for each method."""
    figure = new_figure(COLUMN, 2.4)
    axis, types, looks = figure.subplots(), ordered_types(rows["layer_type"]), method_looks(rows["method"].drop_duplicates())
    for number, (method, look) in enumerate(looks.items()):
        of_method, shift = rows[rows["method"] == method], 0.15 * (number - (len(looks) - 1) / 2)
        draw_means(axis, of_method["gain_bpw"], of_method["layer_type"], order=types, shift=shift, markersize=2.8, label=method, **look)
    axis.axhline(0, **SCALAR)
    axis.plot(np.arange(len(types)), -rows.groupby("layer_type")["cost_bpw"].mean().reindex(types), label="−16/n", **PREDICTED)
    axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    axis.set_ylabel("gained by the bias (bpw)")
    add_legend(figure, 3)
    return figure
