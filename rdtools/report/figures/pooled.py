"""The cost of one pooled frequency table against a model per column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, draw_means, empty_figure, new_figure
from rdtools.report.rows import ok_rows, ordered_types
from rdtools.report.style import FULL, ZERO, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("results",)
#: Columns of the results that are drawn.
READS = ("layer", "layer_type", "block", "method", "target_bpw", "status", "rate_gap_total_bpw")
#: Words around it.
CAPTION = Caption(
    title="Pooled against per-column coding",
    alt="Bits by which methods with one pooled frequency table are above the same methods with a model per column, by layer type and rate.",
    text=(
        "The same quantizer with one pooled frequency table and with a Gaussian model per column: difference of total rates above "
        "R(D), one variance, side information counted, by layer type, one panel per target rate. Markers: mean over blocks, {{ layers "
        "}} layers in all; bars from min to max. Above zero the coder with a model per column is worth its bits."
    ),
)


#: Method with one pooled table → the same with a model per column.
PAIRS = {"hptq": "hptq-column", "watersic-shared": "watersic"}


def draw(table: pd.DataFrame) -> Figure:
    """Pooled less per column by layer type, a panel for each rate: mean over blocks, bars from min to max."""
    ok = ok_rows(table)
    wide = ok[ok["method"].isin([*PAIRS, *PAIRS.values()])].pivot_table(
        index=["layer", "layer_type", "target_bpw"], columns="method", values="rate_gap_total_bpw"
    )
    pairs = {a: b for a, b in PAIRS.items() if {a, b} <= set(wide.columns)}
    if not pairs:
        return empty_figure(f"needs rows of {' or of '.join(f'{a} and {b}' for a, b in PAIRS.items())}")
    types, rates = ordered_types(wide.index.to_frame()["layer_type"]), sorted(set(wide.index.get_level_values("target_bpw")))
    figure = new_figure(FULL, 2.3)
    axes = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    looks = method_looks(pairs)
    for axis, rate in zip(axes, rates, strict=True):
        of_rate = wide.xs(rate, level="target_bpw").reset_index()
        for i, (pooled, column) in enumerate(pairs.items()):
            shift = 0.25 * (i - (len(pairs) - 1) / 2)
            look = {"order": types, "shift": shift, "label": f"{pooled} − {column}", **looks[pooled]}
            draw_means(axis, of_rate[pooled] - of_rate[column], of_rate["layer_type"], **look)
        axis.axhline(0, **ZERO)
        axis.set_title(f"{rate:g} bits")
        axis.set_xticks(range(len(types)), [kind.removesuffix("_proj") for kind in types])
    axes[0].set_ylabel("pooled − per column,\ntotal rate (bpw)")
    add_legend(figure, 2)
    return figure
