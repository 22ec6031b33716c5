"""KL of whole models whose layers share one budget of bytes by several rules, beside the KL that was expected.

WaterSIC, 3 total bits per weight over all matrices, Hessians of the original. Distortions are those of the run's rows (measured), their
prediction at finite rate, or R(D). Slopes of KL are measured one layer at a time on calibration tokens, KL on held-out ones; bars are 95 %
bootstrap intervals over sequences. What is expected is a power law of KL, on Σ slope · D/D₀ or on
Σ D/D₀ over the matrices, through rows of HPTQ and WaterSIC at one rate for all layers, bars those of a new row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rdtools.evaluation.noise import NOISE
from rdtools.jobs.allocate import allocate
from rdtools.jobs.evaluate import PARQUET, evaluate
from rdtools.report.figures.allocation import draw as draw
from rdtools.report.figures.allocation import law as law
from rdtools.runs.allocations import ALLOCATIONS

METHOD, BITS = "watersic", 3.0
#: Rows of equal rates, to which the power law is fitted.
METHODS, RATES = ("hptq", METHOD), (2.0, 2.5, 3.0, 3.5, 4.0)
#: Rule and source of each plan.
PLANS = (
    *(("equal", "measured"), ("uniform", "measured"), ("relative", "measured"), ("kl", "measured")),
    *(("relative", "predicted"), ("relative", "bound")),
)
#: Windows of calibration tokens for slopes.
WINDOWS = 24
COLUMNS = (
    *("model", "method", "allocation", "target_bpw", "protocol", "scored_tokens", "clusters", "total_bpw"),
    *("summed_distortion", "summed_relative_distortion", "perplexity_original", "perplexity", "kl_nats", "kl_low", "kl_high"),
    *("expected_kl_nats", "expected_kl_low", "expected_kl_high", "expected_kl_by_slopes_nats"),
)


def run(runs: Sequence[Path]) -> pd.DataFrame:
    """Rows of equal rates and of every plan; on the first run, of the embedded model, they are made, of others those there are read.

    The first run needs rows of `METHOD` at several rates from 1.5 to 5 bits.
    """
    evaluate(runs[0], methods=METHODS, rates=RATES)
    for rule, source in PLANS:
        allocate(runs[0], BITS, methods=METHOD, rule=rule, source=source, slopes=True, windows=WINDOWS)
    names = [f"{BITS:g}-{rule}-{source}.json" for rule, source in PLANS]
    evaluate(runs[0], allocations=[runs[0] / ALLOCATIONS / name for name in names], noise=False)
    return evaluated(runs)


def evaluated(runs: Sequence[Path]) -> pd.DataFrame:
    """The rows that runs have."""
    tables = [pd.read_parquet(folder / PARQUET) for folder in runs if (folder / PARQUET).is_file()]
    rows = pd.concat([table[(table["status"] == "ok") & (table["method"] != NOISE)] for table in tables])
    kept = rows["allocation"].isin([f"{rule}, {source}" for rule, source in PLANS]) | rows["allocation"].isna() & rows["method"].isin(
        METHODS
    )
    return rows.loc[kept, list(COLUMNS)].reset_index(drop=True)
