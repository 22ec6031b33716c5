"""Rate above R(D) by the states of the trellis and by processor time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, add_notes, log_axes, new_figure
from rdtools.report.rows import compared_rows
from rdtools.report.style import FULL, PREDICTED, ZERO, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("trellis_states",)
#: Words around it.
CAPTION = Caption(
    title="States of the trellis",
    alt="Total rate above R(D) over the states of the trellis and over processor time.",
    text=(
        "Total rate above R(D), one variance, of the q, o and gate of one block, {{ layers }} matrices, mean, each method with its own"
        " coder; there are no bars. Left: by the states of the trellis, target rates at the right; dashed: theory at "
        "finite rate for the symbols of Gaussian weights. Right: by processor time of quantizing and coding at 3 bits, one thread, "
        "factorization apart."
    ),
)


#: Rate of the panel over time, and methods beside the trellis there.
TIMED = 3.0
PEERS = ("watersic", "watersic-mmse", "quip-sharp", "qtip")
_THEORY = "theory at finite rate, Gaussian weights, symbols alone"


def draw(rows: pd.DataFrame) -> Figure:
    """Total rate above R(D), one variance: over states, with the gap predicted for Gaussian weights as a line; over processor time."""
    comparison = compared_rows(rows, "rate_gap_total_bpw")
    ok = comparison.rows
    looks = method_looks(["watersic-trellis", "watersic-trellis+adaptive", *PEERS])
    figure = new_figure(FULL, 3.0)
    axes = figure.subplots(1, 2)
    coded = ok[ok["states"].notna()]
    adaptive = coded["method"].str.endswith("+adaptive")
    for suffix, variant_rows in (("", coded[~adaptive]), ("+adaptive", coded[adaptive])):
        style, name = {**looks[f"watersic-trellis{suffix}"], "linestyle": "none"}, f"watersic-trellis{suffix}, 4 to 1024 states"
        for rate, points in variant_rows.groupby("target_bpw"):
            by_states = points.groupby("states")[["rate_gap_total_bpw", "pred_rate_gap_bpw", "encode_cpu_us_per_weight"]].mean()
            states, gap = by_states.index.astype(int), by_states["rate_gap_total_bpw"]
            axes[0].plot(states, gap, label=name, **style)
            axes[0].annotate(f"{rate:g} bits", (1024, gap.iloc[-1]), (5, 0), textcoords="offset points", fontsize="small", va="center")
            if not suffix:
                axes[0].plot(states, by_states["pred_rate_gap_bpw"], label=_THEORY, **PREDICTED)
            if rate == TIMED:
                axes[1].plot(by_states["encode_cpu_us_per_weight"], gap, **{**style, "linestyle": "-", "linewidth": 0.6})
    for name in PEERS:
        mean = ok[ok["method"] == name][["rate_gap_total_bpw", "encode_cpu_us_per_weight"]].mean()
        axes[1].plot(mean.iloc[1], mean.iloc[0], linestyle="none", label=name, **looks[name])
    for axis in axes:
        axis.axhline(0, **ZERO)
        log_axes(axis, "x", base=2 if axis is axes[0] else 10)
    axes[0].set_xlabel("states of the trellis")
    axes[1].set_xlabel(f"processor time at {TIMED:g} bits (µs per weight)")
    for axis in axes:  # which have scales of their own
        axis.set_ylabel("total rate − R(D), one variance (bpw)")
    add_notes(figure, comparison.note)
    add_legend(figure, 3)
    return figure
