"""The gain of LDLQ over rounding, its proxy loss, and the effect of incoherence at 2 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.methods.table import BLUE, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, log_axes, new_figure
from rdtools.report.rows import ordered_types
from rdtools.report.style import FULL, PREDICTED, SCALAR, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("proxy_loss",)
#: Words around it.
CAPTION = Caption(
    title="QuIP’s theory on every layer",
    alt="By layer type, unrotated and rotated: tr D over tr H with its bound, proxy loss, and relative distortion at 2 bits.",
    text=(
        "{{ layers }} matrices; markers: mean over blocks, bars from min to max; hollow: behind a random rotation of the input. Left: "
        "tr D over tr H, the proxy loss of LDLQ over that of rounding on the same grid, and its bound by incoherence (ticks, those "
        "above 1 say nothing). Middle: proxy loss of a row over squared step and tr D, measured on integers without limits, `hptq` "
        "with one pooled coder at 2 bits; lines: 1/12, uniform errors, and 1/4, the worst case. Right: relative distortion of `rtn` "
        "and `gptq` with a fixed rate of 2 bits, no entropy coder. R(D) does not enter."
    ),
)


_BASES = {"unrotated": (VERMILLION, "D", VERMILLION), "rotated": (BLUE, "s", "white")}
_METHODS = ("rtn", "gptq")


def draw(rows: pd.DataFrame) -> Figure:
    """Three panels by layer type: traces with their bound, proxy loss over its scale, and relative distortion at 2 bits."""
    types = ordered_types(rows["layer_type"])
    figure = new_figure(FULL, 2.7)
    axes = figure.subplots(1, 3)
    for i, (basis, (color, marker, face)) in enumerate(_BASES.items()):
        of_basis, shift = rows[rows["basis"] == basis], 0.3 * (i - 0.5)
        look: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "markerfacecolor": face,
            "label": f"LDLQ, {basis}",
            "order": types,
            "shift": shift,
        }
        draw_means(axes[0], of_basis["trace_ratio"], of_basis["layer_type"], **look)
        draw_means(axes[1], of_basis["proxy_loss_ratio"], of_basis["layer_type"], **look)
        bound = of_basis.groupby("layer_type")["incoherence_bound_ratio"].mean().reindex(types)
        axes[0].plot([number + shift for number in range(len(types))], bound, color=color, linestyle="none", marker="_", markersize=7)
        for j, (method, style) in enumerate(method_looks(_METHODS).items()):
            name = method + ("+rotation" if basis == "rotated" else "")
            style = {**style, "markerfacecolor": style["color"] if basis == "unrotated" else "white"}
            offset = 0.2 * (2 * j + i - 1.5)
            draw_means(
                axes[2], of_basis[f"{method}_relative_distortion"], of_basis["layer_type"], order=types, shift=offset, label=name, **style
            )
    axes[0].plot([], [], color="black", linestyle="none", marker="_", markersize=7, label="bound by incoherence")
    axes[0].axhline(1.0, color="black", linewidth=0.6)
    axes[1].axhline(1 / 12, label="1/12, uniform errors", **PREDICTED)
    axes[1].axhline(1 / 4, label="1/4, worst case", **SCALAR)
    axes[1].set_ylim(0, 0.28)
    for axis, title in zip(axes, ("tr D / tr H", "proxy loss / (step² tr D), 2 bits", "D / D₀, fixed 2 bits"), strict=True):
        axis.set_title(title)
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    log_axes(axes[0], "y")
    log_axes(axes[2], "y")
    add_legend(figure, 5)
    return figure
