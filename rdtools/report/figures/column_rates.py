"""Bits of each column of one layer, measured and in theory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, new_figure
from rdtools.report.style import FULL, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("column_rates",)
#: Words around it.
CAPTION = Caption(
    title="Bits of each column",
    alt="Entropy of each column of one layer, columns in descending order of ℓ², measured and predicted, at two rates.",
    text=(
        "Entropy of the integers of each column of {{ layers }} layer, that of the middle block whose ℓ² differ most, columns in "
        "descending order of ℓ²; plug-in entropy with an ideal coder per column, no side information. Solid: ½ log₂(2πe "
        "σ²/α²) with the step α of the column; for WaterSIC α ∝ 1/ℓ, on a grid of eighths of an octave, for "
        "GPTQ α is one for all. Dashed: entropy of a Gaussian weight rounded to that step. No bound enters and there are no bars."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Measured entropy of each column as a mark, high-rate theory and the rounded Gaussian as lines; a panel for each rate."""
    rates, looks = sorted(rows["target_bpw"].unique()), method_looks(rows["method"])
    figure = new_figure(FULL, 2.4)
    axes = figure.subplots(1, len(rates), squeeze=False)[0]
    for axis, rate in zip(axes, rates, strict=True):
        for method, of_method in rows[rows["target_bpw"] == rate].groupby("method", sort=False):
            look, x = looks[str(method)], of_method["rank"] + 1
            axis.plot(
                x, of_method["entropy_bpw"], linestyle="none", label=f"{method}, measured", **{**look, "markersize": 1.8, "alpha": 0.7}
            )
            axis.plot(x, of_method["pred_high_rate_bpw"], color="black", linewidth=0.7)
            axis.plot(x, of_method["pred_rounded_bpw"], color="black", linestyle="--", linewidth=0.7)
        axis.set_title(f"{rows['layer'].iloc[0].removeprefix('model.layers.')}, {rate:g} bits")
        axis.set_xlabel("column, descending in ℓ²")
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("bits per weight of the column")
    axes[0].plot([], [], color="black", linewidth=0.7, label="½ log₂(2πe σ²/α²)")
    axes[0].plot([], [], color="black", linestyle="--", linewidth=0.7, label="rounded Gaussian")
    add_legend(figure, 4)
    return figure
