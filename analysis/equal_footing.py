"""KL of the whole quantized model to the original, over the relative distortion summed over its layers.

The embedded model, all 42 matrices by one method at one rate, Hessians of the original model, no damping and no correction; windows of 256
held-out tokens. Bars are 95 % bootstrap intervals over sequences. The line is the least-squares fit of ln KL on ln Σ D/D₀ over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rdtools.evaluation.power_law import with_power_law
from rdtools.jobs.evaluate import evaluate
from rdtools.report.figures.equal_footing import draw as draw

#: By coder: a pooled table, then a Gaussian model per column, then one per column and state of a trellis.
METHODS = ("hrtn-column", "hptq", "hptq-column", "hptq+hadamard", "watersic", "watersic-mmse", "watersic-trellis")
RATES = (1.5, 2.0, 3.0, 4.0)
COLUMNS = (
    *("model", "method", "target_bpw", "protocol", "scored_tokens", "clusters", "layers", "total_bpw"),
    *("summed_distortion", "summed_relative_distortion", "summed_heldout_distortion"),
    *("perplexity_original", "perplexity", "perplexity_stderr", "nll_increase_nats", "nll_increase_low", "nll_increase_high"),
    *("kl_nats", "kl_low", "kl_high", "kl_p99_nats", "kl_cvar1_nats", "acceptance", "top1_agreement", "kl_power", "kl_factor"),
)


def run(runs: Sequence[Path], methods: Sequence[str] = METHODS, rates: Sequence[float] = RATES) -> pd.DataFrame:
    """A row for each method and rate, and one of the noise floor, on the first run, which keeps them; its Hessians are all that is read."""
    rows = evaluate(runs[0], methods=methods, rates=rates)
    return with_power_law(rows[rows["status"] == "ok"])[list(COLUMNS)].reset_index(drop=True)
