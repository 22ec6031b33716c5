"""Distortion over total rate, one panel for each layer type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.compare.bounds import BOUNDS, RD_BOUND
from rdtools.compare.curves import FINITE_RATE, PREDICTIONS, SHANNON, UNIVERSAL
from rdtools.report import style
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, empty_figure, new_figure, note_bounds
from rdtools.report.glossary import REFERENCE_LABELS
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import FULL, method_looks, method_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Lines that no method is predicted to lie on: curve → label and look.
_REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (bound.label, style.BOUNDS.get(name, style.OTHER_BOUND)) for name, bound in BOUNDS.items()},
    UNIVERSAL: (REFERENCE_LABELS[UNIVERSAL], style.UNIVERSAL),
    SHANNON: (REFERENCE_LABELS[SHANNON], style.SHANNON),
}

TABLES = ("results", "curves")
#: Lines on which a method of the same colour is predicted to lie: true for theory at finite rate → label and look.
_THEORY: dict[bool, tuple[str, dict[str, Any]]] = {
    True: ("theory at finite rate, colour of its method", {"linestyle": "-", "linewidth": 0.7}),
    False: ("high-rate theory, colour of its method", {"linestyle": "--", "linewidth": 0.7}),
}
#: Columns of the results that are drawn.
READS = (
    *("layer", "layer_type", "block", "method", "status", "total_bpw"),
    *("distortion", "distortion_stderr", "relative_distortion"),
)

#: Words around it on the page.
CAPTION = Caption(
    title="Rate–distortion curves",
    alt="Relative distortion over total rate for one layer of each type: bounds and predictions as lines, measurements as markers.",
    text=(
        "One layer of each type, from the middle block. Markers: measured distortion of the decoded file over its total rate, each "
        "method with its own coder; bars: two standard errors over rows. Lines in the colour of the text: R(D), one variance, and the "
        "other bounds that the legend names. Dashed: high-rate theory, which is not valid at low rates; thin solid: the same schemes "
        "predicted at finite rate, for Gaussian weights and without overhead. Hollow markers: rotated basis."
    ),
)


def representative_layers(table: pd.DataFrame) -> dict[str, str]:
    """For each layer type the layer of the middle block."""
    ok = ok_rows(table)
    chosen = {}
    for kind in ordered_types(ok["layer_type"]):
        blocks = ok[ok["layer_type"] == kind].drop_duplicates("layer").sort_values("block")
        chosen[kind] = str(blocks.iloc[len(blocks) // 2]["layer"])
    return chosen


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Distortion over total rate for one layer of each type: bounds and predictions as lines, measurements as markers."""
    ok = ok_rows(table)
    layers, looks = representative_layers(table), method_looks(table["method"])
    if not layers:
        return empty_figure("no row with status ok: nothing to draw")
    columns = min(4, len(layers))
    lines = math.ceil((len(layers) + 1) / columns) if len(layers) > 3 else 1
    figure = new_figure(FULL, 1.6 * lines + 1.5)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for number, (axis, (kind, layer)) in enumerate(zip(axes, layers.items(), strict=False)):
        rows = ok[ok["layer"] == layer]
        signal = float((rows["distortion"] / rows["relative_distortion"]).iloc[0])
        of_layer = curves[curves["layer"] == layer]
        for name in (*_REFERENCES, *PREDICTIONS, *FINITE_RATE):
            curve = of_layer[of_layer["curve"] == name]
            if curve.empty:
                continue
            if name in _REFERENCES:
                label, look = _REFERENCES[name]
            else:
                label, shape = _THEORY[name in FINITE_RATE]
                look = {"color": method_style(name.partition(" ")[0])["color"], **shape}
            with np.errstate(divide="ignore"):
                decibel = 10 * np.log10(curve["distortion"].to_numpy() / signal)
            axis.plot(curve["rate_bpw"], decibel, zorder=1, **look)
            axis.plot([], [], label=label, **(look if name in _REFERENCES else {**look, "color": "black"}))
        for method, points in rows.groupby("method", sort=False):
            points = points[points["distortion"] > 0]
            spread = 10 / math.log(10) * 2 * points["distortion_stderr"] / points["distortion"]
            axis.errorbar(
                points["total_bpw"],
                10 * np.log10(points["distortion"] / signal),
                yerr=spread.fillna(0),
                linestyle="none",
                label=str(method),
                zorder=2,
                **looks[str(method)],
            )
        axis.set_title(f"{kind.removesuffix('_proj')}, block {rows['block'].iloc[0]:g}")
        if number % columns == 0:
            axis.set_ylabel("D / D₀ (dB)")
        if number + columns >= len(layers):  # nothing is below
            axis.set_xlabel("total rate (bpw)")
        low, high = rows["total_bpw"].min(), rows["total_bpw"].max()
        axis.set_xlim(max(0, low - 0.6), high + 0.4)
        shown = of_layer[(of_layer["curve"] == RD_BOUND.name) & of_layer["rate_bpw"].between(*axis.get_xlim())]["distortion"]
        floor = 10 * math.log10(max(shown.min(), 1e-300) / signal) if not shown.empty else None
        top = 10 * math.log10(rows["distortion"].max() / signal) if (rows["distortion"] > 0).any() else 0.0
        axis.set_ylim(bottom=None if floor is None else floor - 1.5, top=top + 3)
    for axis in axes[len(layers) :]:
        axis.axis("off")
    note_bounds(figure, ok["method"])
    add_legend(figure, 4)
    return figure
