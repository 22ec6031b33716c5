"""Total rate above R(D) by layer type and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import empty_figure, new_figure, note_bounds
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

TABLES = ("results",)
#: Columns of the results that are drawn.
READS = ("layer", "layer_type", "block", "method", "target_bpw", "status", "rate_gap_total_bpw")
#: Words around it.
CAPTION = Caption(
    title="Gap by layer type and depth",
    alt="Heat maps of the total rate above R(D) by layer type and block, one for each method.",
    text=(
        "Total rate of the file minus R(D), one variance, at the measured distortion, of every matrix: {{ layers }} layers, each "
        "method with its own coder, at the target rate that the title names. One cell per matrix, so that there are no bars; grey: no "
        "row with status ok. All maps have one scale, which is made for 98 % of the cells: its arrow stands for more."
    ),
)


#: Methods that are drawn where they are in the results, or else the first four of these.
METHODS = ("hptq", "hptq+act-order", "watersic", "watersic-mmse", "watersic-trellis")
#: Rate that is drawn where it is in the results, or else the highest one.
RATE = 3.0
#: Share of the cells for which the scale of colours is made; those beyond have its last colour.
WITHIN = 0.98


def draw(table: pd.DataFrame) -> Figure:
    """A heat map for each method: layer types down, blocks across."""
    ok = ok_rows(table)
    if ok.empty:
        return empty_figure("no row with status ok: nothing to draw")
    rate = RATE if (ok["target_bpw"] == RATE).any() else ok["target_bpw"].max()
    ok = ok[ok["target_bpw"] == rate]
    present = list(dict.fromkeys(ok["method"]))
    methods = [name for name in METHODS if name in present] or present[:4]
    ok = ok[ok["method"].isin(methods)]
    types, blocks = ordered_types(ok["layer_type"]), sorted(ok["block"].unique())
    low, top = ok["rate_gap_total_bpw"].min(), ok["rate_gap_total_bpw"].max()
    high = ok["rate_gap_total_bpw"].quantile(WITHIN)
    across = 1 if len(blocks) > 16 else min(len(methods), 3)
    down = -(-len(methods) // across)
    figure = new_figure(FULL, 0.4 + down * (0.45 + 0.14 * len(types)))
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, method in zip(axes, methods, strict=False):
        cells = ok[ok["method"] == method].pivot_table(index="layer_type", columns="block", values="rate_gap_total_bpw")
        cells = cells.reindex(index=types, columns=blocks)
        ticks = range(len(blocks)), range(len(types))
        image = axis.pcolormesh(*ticks, cells, vmin=low, vmax=high, cmap="cividis", edgecolors="face", linewidth=0.2)
        axis.set_ylim(len(types) - 0.5, -0.5)
        axis.set_facecolor("0.8")
        axis.grid(visible=False)
        axis.set_title(f"{method}, {rate:g} bits")
        step = max(1, len(blocks) // 15)
        axis.set_xticks(range(0, len(blocks), step), [f"{block:g}" for block in blocks[::step]])
        axis.set_yticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    for axis in axes[max(0, len(methods) - across) : len(methods)]:  # the lowest of each column
        axis.tick_params(labelbottom=True)
    for axis in axes[len(methods) :]:
        axis.axis("off")
    label = "total rate − R(D), one variance (bpw)"
    bar = figure.colorbar(image, ax=list(axes), label=label, aspect=10 * down, extend="max" if top > high else "neither")
    cast("QuadMesh", bar.solids).set_edgecolor("face")  # which it has beside a mesh
    figure.supxlabel("block")
    note_bounds(figure, methods)
    return figure
