"""Four rate–distortion bounds of every matrix of a run: by how much those whose decoder knows more lie below R(D), one variance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rdtools.compare import BOUNDS, layer_facts
from rdtools.report.rows import ordered_types
from rdtools.report.style import BOUNDS as LOOKS
from rdtools.runs.store import open_run

RATES = (2.0, 3.0, 4.0)
#: Rate that is drawn.
DRAWN = 3.0
REFERENCE = "rd_bound"


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """A row for each matrix of the first run and each rate of R(D), one variance: every bound at the same distortion."""
    opened, rows = open_run(folders[0]), []
    for name in opened:
        facts = layer_facts(opened[name])
        for rate in RATES:
            distortion = float(BOUNDS[REFERENCE].distortion(facts, rate))
            bound_rates = {f"{bound.name}_rate_bpw": bound.rate(facts, distortion) for bound in BOUNDS.values()}
            stderr = facts.row.row_covariance_saving_stderr_bpw
            named = {"layer": name, "layer_type": facts.row.layer_type, "block": facts.row.block, "weights": opened[name].weight.size}
            rows.append({**named, "rows": facts.row.rows, **bound_rates, "rd_bound_covariance_stderr_bpw": stderr})
    return pd.DataFrame(rows)


def draw(rows: pd.DataFrame) -> Figure:
    """Bounds less R(D), one variance, at its distortion at 3 bits, by layer type: mean over blocks, bars from min to max."""
    at_rate = rows[rows["rd_bound_rate_bpw"].round(6) == DRAWN]
    types = ordered_types(at_rate["layer_type"])
    others = [bound for bound in BOUNDS.values() if bound.name != REFERENCE]
    figure = Figure(figsize=(7.2, 3.4))
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for place, (bound, hatch) in enumerate(zip(others, ("", "//", "xx"), strict=True)):
        below = at_rate[f"{bound.name}_rate_bpw"] - at_rate["rd_bound_rate_bpw"]
        by_type = below.groupby(at_rate["layer_type"])
        mean, low, high = (part.reindex(types) for part in (by_type.mean(), by_type.min(), by_type.max()))
        x = [i + 0.27 * (place - 1) for i in range(len(types))]
        color = LOOKS[bound.name]["color"]
        axis.bar(x, mean, 0.25, color="white", edgecolor=color, hatch=hatch, linewidth=0.8, label=bound.label)
        axis.errorbar(x, mean, yerr=[mean - low, high - mean], linestyle="none", color="black", capsize=2, elinewidth=0.8)
    axis.axhline(0, label=BOUNDS[REFERENCE].label, **LOOKS[REFERENCE])
    axis.set_xticks(range(len(types)), types)
    axis.set_ylabel(f"rate below {DRAWN:g} bits (bpw)")
    figure.legend(loc="outside upper center", ncols=4)
    return figure
