"""KL of the whole quantized model over the summed relative distortion and over the total rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.evaluation.noise import NOISE
from rdtools.report.figures.canvas import legend_entries, new_figure
from rdtools.report.style import BOUND, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("equal_footing",)
#: Method over whose divergence those of the others are drawn.
REFERENCE = "hptq"


def slope(rows: pd.DataFrame) -> tuple[float, float]:
    """Slope b and factor a of ``KL = a (Σ D/D₀)^b``, by least squares of the logarithms."""
    measured = rows[rows["method"] != NOISE]
    power, level = np.polyfit(np.log(measured["summed_relative_distortion"]), np.log(measured["kl_nats"]), 1)
    return float(power), float(np.exp(level))


def draw(rows: pd.DataFrame) -> Figure:
    """KL over Σ D/D₀ with the fit, and over that of GPTQ with a pooled table at the same target, by total rate."""
    figure = new_figure(8.6, 3.6)
    sums, rates = figure.subplots(1, 2)
    measured, floor = rows[rows["method"] != NOISE], rows.loc[rows["method"] == NOISE, "kl_nats"]
    base = measured[measured["method"] == REFERENCE].set_index("target_bpw")["kl_nats"]
    for method, look in method_looks(measured["method"]).items():
        own = measured[measured["method"] == method]
        bars = np.array([own["kl_nats"] - own["kl_low"], own["kl_high"] - own["kl_nats"]])
        by = own["target_bpw"].map(base).to_numpy()
        sums.errorbar(own["summed_relative_distortion"], own["kl_nats"], yerr=bars, linestyle="none", capsize=2, label=method, **look)
        rates.errorbar(own["total_bpw"], own["kl_nats"] / by, yerr=bars / by, linestyle="none", capsize=2, label=method, **look)
    power, factor = slope(rows)
    x = np.geomspace(measured["summed_relative_distortion"].min(), measured["summed_relative_distortion"].max(), 2)
    sums.plot(x, factor * x**power, label=f"fit: {factor:.3f} (Σ D/D₀)^{power:.2f}", zorder=1, **BOUND)
    sums.set(xscale="log", yscale="log", xlabel="Σ D/D₀ over the 42 matrices", ylabel="KL to the original (nats per token)")
    for value in floor:
        sums.set_title(f"KL of noise of bfloat16's rounding size: {value:.1e}", fontsize=8)
    rates.set(xlabel="total rate of the quantized matrices (bpw)", ylabel=f"KL / that of {REFERENCE} at the same target")
    figure.legend(*legend_entries([sums, rates]), loc="outside upper center", ncols=4, fontsize=7)
    return figure
