"""Paired differences between methods that code alike: mean over matrices, bootstrap interval, and number of wins by layer type."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats

from rdtools.files import atomic_path
from rdtools.report.rows import ok_rows, ordered_types

#: Rate kind of a row → coder. Methods are compared with those of the same coder only: other differences are of coders too.
CODERS = {
    "entropy_shared": "pooled table",
    "entropy_column": "model per column",
    "entropy_histogram": "table per column",
    "entropy_trellis": "model per column and state",
    "entropy_adaptive": "models learnt from decoded rows",
    "fixed": "fixed rate",
}
#: Names of the files in a run directory.
PARQUET, CSV = "paired.parquet", "paired.csv"
#: Layer type of the rows over all matrices.
ALL = "all"
COLUMNS = ("target_bpw", "coder", "method", "reference", "layer_type", "matrices", "wins", "difference_bpw", "low_bpw", "high_bpw")
_RESAMPLES, _CONFIDENCE = 2000, 0.95


def _interval(differences: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over matrices; nan for fewer than three."""
    if len(differences) < 3:
        return np.nan, np.nan
    found = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=_RESAMPLES, confidence_level=_CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Differences of the total rate above R(D) (one variance) between each two methods with the same coder, paired over matrices.

    A negative difference favours `method`, and a matrix on which it is negative is a win. Seeds are averaged first. The interval takes
    matrices as independent draws, which those that share an input are not quite.

    Parameters
    ----------
    table : of results; rows with status ok and a gap count

    Returns
    -------
    DataFrame with COLUMNS: a row for each target, pair and layer type, and one over all matrices, whose layer type is "all"
    """
    known = ok_rows(table)
    known = known[known["rate_gap_total_bpw"].notna()]
    rows = []
    for (target, kind), part in known.groupby(["target_bpw", "rate_kind"], sort=True):
        gaps = part.pivot_table(index=["layer", "layer_type"], columns="method", values="rate_gap_total_bpw", aggfunc="mean")
        for method, reference in itertools.combinations([m for m in dict.fromkeys(table["method"]) if m in gaps], 2):
            difference = (gaps[method] - gaps[reference]).dropna()
            types = difference.index.get_level_values("layer_type")
            for layer_type in [ALL, *ordered_types(types.to_series())]:
                own = difference[(types == layer_type) | (layer_type == ALL)].to_numpy()
                if own.size:
                    counts = len(own), int((own < 0).sum()), float(own.mean()), *_interval(own)
                    rows.append((target, CODERS[str(kind)], method, reference, layer_type, *counts))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_paired(differences: pd.DataFrame, folder: Path) -> list[Path]:
    """Write both files, each whole or not at all; returns their paths.

    Raises
    ------
    OutputError
    """
    with atomic_path(folder / PARQUET) as parquet, atomic_path(folder / CSV) as csv:
        differences.to_parquet(parquet, index=False, write_page_checksum=True)
        differences.to_csv(csv, index=False)
    return [folder / PARQUET, folder / CSV]


def paired_table(differences: pd.DataFrame) -> pd.DataFrame:
    """One row for each target and pair, for people: the mean with its interval, and wins over matrices by layer type."""
    rows = []
    for (target, coder, method, reference), part in differences.groupby(["target_bpw", "coder", "method", "reference"], sort=False):
        won = part["wins"].astype(str) + "/" + part["matrices"].astype(str)
        whole = part[part["layer_type"] == ALL].iloc[0]
        interval = f" [{whole['low_bpw']:+.3f}, {whole['high_bpw']:+.3f}]" if np.isfinite(whole["low_bpw"]) else ""
        rows.append(
            {
                "bits": f"{target:g}",
                "coder of both": coder,
                "method − reference": f"{method} − {reference}",
                "difference (bpw)": f"{whole['difference_bpw']:+.3f}{interval}",
                **{f"wins {kind.removesuffix('_proj')}": count for kind, count in zip(part["layer_type"], won, strict=True)},
            }
        )
    return pd.DataFrame(rows).fillna("–")
