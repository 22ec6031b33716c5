"""The other rate–distortion bounds below R(D), one variance, by layer type."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import pandas as pd

from rdtools.compare.bounds import BOUNDS, RD_BOUND
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, new_figure
from rdtools.report.rows import ordered_types
from rdtools.report.style import BOUNDS as LOOKS
from rdtools.report.style import FULL, OTHER_BOUND, ZERO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("bounds",)
#: Words around it.
CAPTION = Caption(
    title="Bounds whose decoder knows more",
    alt="Bars by layer type: by how much three other rate–distortion bounds lie below R(D), one variance.",
    text=(
        "Three rate–distortion bounds whose decoder knows more, less R(D), one variance, at its distortion at 3 bits; no method and no"
        " coder enters. Mean over the blocks, {{ layers }} matrices in all; bars from min to max."
    ),
)


#: Rate that is drawn, of the bound that the others are compared with.
DRAWN, REFERENCE = 3.0, RD_BOUND.name


def draw(rows: pd.DataFrame) -> Figure:
    """Bounds less R(D), one variance, at its distortion at 3 bits, by layer type: mean over blocks, bars from min to max."""
    at_rate = rows[rows["rd_bound_rate_bpw"].round(6) == DRAWN]
    types = ordered_types(at_rate["layer_type"])
    others = [bound for bound in BOUNDS.values() if bound.name != REFERENCE and f"{bound.name}_rate_bpw" in rows]
    figure = new_figure(FULL, 2.4)
    axis = figure.subplots()
    for number, (bound, hatch) in enumerate(zip(others, cycle(("", "////", "xxxx")), strict=False)):
        below = at_rate[f"{bound.name}_rate_bpw"] - at_rate["rd_bound_rate_bpw"]
        by_type = below.groupby(at_rate["layer_type"])
        mean, low, high = (part.reindex(types) for part in (by_type.mean(), by_type.min(), by_type.max()))
        x = [i + 0.81 / len(others) * (number - (len(others) - 1) / 2) for i in range(len(types))]
        color = LOOKS.get(bound.name, OTHER_BOUND)["color"]
        axis.bar(x, mean, 0.75 / len(others), color="white", edgecolor=color, hatch=hatch, linewidth=0.7, label=bound.label)
        axis.errorbar(x, mean, yerr=[mean - low, high - mean], linestyle="none", color="black", capsize=1.5, elinewidth=0.7)
    axis.axhline(0, **ZERO)
    axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    axis.set_ylabel(f"bound − {BOUNDS[REFERENCE].label}\nat {DRAWN:g} bits (bpw)")
    add_legend(figure, 3)
    return figure
