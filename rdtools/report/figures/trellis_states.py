"""Rate above R(D) by the states of the trellis and by processor time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.rows import ok_rows
from rdtools.report.style import method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("trellis_states",)
#: Rate of the panel over time, and methods beside the trellis there.
TIMED = 3.0


PEERS = ("watersic", "watersic-mmse", "quip-sharp", "qtip")


def draw(rows: pd.DataFrame) -> Figure:
    """Total rate above R(D), one variance: over states, with the gap predicted for Gaussian weights as a line; over processor time."""
    ok = ok_rows(rows)
    looks = method_looks(["watersic-trellis", "watersic-trellis+adaptive", *PEERS])
    figure = new_figure(9.2, 3.8)
    axes = figure.subplots(1, 2)
    coded = ok[ok["states"].notna()]
    adaptive = coded["method"].str.endswith("+adaptive")
    for suffix, variant_rows in (("", coded[~adaptive]), ("+adaptive", coded[adaptive])):
        style, name = {**looks[f"watersic-trellis{suffix}"], "linestyle": "none"}, f"watersic-trellis{suffix}, 4 to 1024 states"
        for rate, points in variant_rows.groupby("target_bpw"):
            by_states = points.groupby("states")[["rate_gap_total_bpw", "pred_rate_gap_bpw", "encode_cpu_us_per_weight"]].mean()
            axes[0].plot(by_states.index.astype(int), by_states["rate_gap_total_bpw"], label=name, **style)
            last = (1024, by_states["rate_gap_total_bpw"].iloc[-1])
            axes[0].annotate(f"{rate:g} bits", last, (4, 0), textcoords="offset points", fontsize=7)
            if not suffix:
                axes[0].plot(
                    by_states.index.astype(int),
                    by_states["pred_rate_gap_bpw"],
                    color="black",
                    linestyle="--",
                    linewidth=0.8,
                    label="theory at finite rate, Gaussian weights, symbols alone",
                )
            if rate == TIMED:
                axes[1].plot(
                    by_states["encode_cpu_us_per_weight"], by_states["rate_gap_total_bpw"], **{**style, "linestyle": "-", "linewidth": 0.6}
                )
    for name in PEERS:
        mean = ok[ok["method"] == name][["rate_gap_total_bpw", "encode_cpu_us_per_weight"]].mean()
        axes[1].plot(mean.iloc[1], mean.iloc[0], linestyle="none", label=name, **looks[name])
    for axis in axes:
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xscale("log", base=2 if axis is axes[0] else 10)
    axes[0].set_xlabel("states of the trellis")
    axes[1].set_xlabel(f"processor time at {TIMED:g} bits (µs per weight)")
    axes[0].set_ylabel("total rate − R(D), one variance (bpw)")
    figure.legend(*legend_entries(list(axes)), loc="outside lower center", ncols=3)
    return figure
