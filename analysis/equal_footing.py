"""KL of the whole quantized model to the original, over the relative distortion summed over its layers.

The embedded model, all 42 matrices by one method at one rate, Hessians of the original model, no damping and no correction; windows of 256
held-out tokens. Bars are 95 % bootstrap intervals over sequences. The line is the least-squares fit of ln KL on ln Σ D/D₀ over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rdtools.evaluation.noise import NOISE
from rdtools.jobs.evaluate import evaluate
from rdtools.report.figures import legend_entries
from rdtools.report.style import BOUND, method_looks

#: By coder: a pooled table, then a Gaussian model per column, then one per column and state of a trellis.
METHODS = ("hrtn-column", "hptq", "hptq-column", "hptq+hadamard", "watersic", "watersic-mmse", "watersic-trellis")
RATES = (2.0, 3.0, 4.0)
#: Method over whose divergence those of the others are drawn.
REFERENCE = "hptq"
COLUMNS = (
    *("model", "method", "target_bpw", "protocol", "scored_tokens", "clusters", "total_bpw"),
    *("summed_distortion", "summed_relative_distortion", "summed_heldout_distortion"),
    *("perplexity_original", "perplexity", "perplexity_stderr", "nll_increase_nats", "nll_increase_low", "nll_increase_high"),
    *("kl_nats", "kl_low", "kl_high", "kl_p99_nats", "kl_cvar1_nats", "acceptance", "top1_agreement"),
)


def run(runs: Sequence[Path], methods: Sequence[str] = METHODS, rates: Sequence[float] = RATES) -> pd.DataFrame:
    """A row for each method and rate, and one of the noise floor, on the first run, which keeps them; its Hessians are all that is read."""
    rows = evaluate(runs[0], methods=methods, rates=rates)
    return rows.loc[rows["status"] == "ok", list(COLUMNS)].reset_index(drop=True)


def slope(rows: pd.DataFrame) -> tuple[float, float]:
    """Slope b and factor a of ``KL = a (Σ D/D₀)^b``, by least squares of the logarithms."""
    measured = rows[rows["method"] != NOISE]
    power, level = np.polyfit(np.log(measured["summed_relative_distortion"]), np.log(measured["kl_nats"]), 1)
    return float(power), float(np.exp(level))


def draw(rows: pd.DataFrame) -> Figure:
    """KL over Σ D/D₀ with the fit, and over that of GPTQ with a pooled table at the same target, by total rate."""
    figure = Figure(figsize=(8.6, 3.6))
    FigureCanvasAgg(figure)
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
