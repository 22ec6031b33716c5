"""Paired differences between methods that code alike: mean over matrices, bootstrap interval, and number of wins by layer type."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.files import atomic_path
from rdtools.methods import entry_of
from rdtools.methods.names import BIAS
from rdtools.report.rows import ok_rows, ordered_types

#: Rate kind of a row → coder; of a fixed rate the method's entry says which it is. Methods are compared with those of the same coder only:
#: other differences are of coders too.
CODERS = {
    "entropy_shared": "pooled table",
    "entropy_column": "model per column",
    "entropy_histogram": "table per column",
    "entropy_trellis": "model per column and state",
    "entropy_lattice": "model per column and parity",
    "entropy_adaptive": "models learnt from decoded rows",
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
    from scipy.stats import bootstrap  # whose import takes a second, also for who only prints a table

    interval = bootstrap(
        (differences,), np.mean, n_resamples=_RESAMPLES, confidence_level=_CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    )
    return float(interval.confidence_interval.low), float(interval.confidence_interval.high)


def coder_of(method: str, rate_kind: str) -> str:
    """The coder of a row; "" where it is not known, so that nothing can be compared with it.

    A bias per row is named with it, as the gaps of such rows are to another bound.
    """
    entry, suffixes = entry_of(method)
    fixed = entry.fixed_coder if entry and rate_kind == "fixed" else ""
    coder = CODERS.get(rate_kind, fixed and f"fixed rate, {fixed}")
    return f"{coder}, bias per row" if coder and BIAS in suffixes else coder


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
    pairs = known[["method", "rate_kind"]].drop_duplicates().itertuples(index=False)
    coders = {(method, kind): coder_of(method, str(kind)) for method, kind in pairs}
    coder_of_row = pd.Series([coders[pair] for pair in zip(known["method"], known["rate_kind"], strict=True)], known.index, dtype=object)
    rows = []
    for (target, coder), part in known.assign(coder=coder_of_row)[coder_of_row != ""].groupby(["target_bpw", "coder"], sort=True):
        gaps = part.pivot_table(index=["layer", "layer_type"], columns="method", values="rate_gap_total_bpw", aggfunc="mean")
        for method, reference in itertools.combinations([m for m in dict.fromkeys(table["method"]) if m in gaps], 2):
            difference = (gaps[method] - gaps[reference]).dropna()
            types = difference.index.get_level_values("layer_type")
            for layer_type in [ALL, *ordered_types(types.to_series())]:
                of_type = difference[(types == layer_type) | (layer_type == ALL)].to_numpy()
                if of_type.size:
                    counts = len(of_type), int((of_type < 0).sum()), float(of_type.mean()), *_interval(of_type)
                    rows.append((target, coder, method, reference, layer_type, *counts))
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


@dataclass(frozen=True)
class _Pair:
    """A pair at a target as people read it; `wins` is by layer type, all matrices first."""

    bits: str
    coder: str
    pair: str
    difference: str
    wins: dict[str, str]


def _pairs(differences: pd.DataFrame) -> Iterator[_Pair]:
    for (target, coder, method, reference), part in differences.groupby(["target_bpw", "coder", "method", "reference"], sort=False):
        won = part["wins"].astype(str) + "/" + part["matrices"].astype(str)
        overall = part[part["layer_type"] == ALL].iloc[0]
        interval = f" [{overall['low_bpw']:+.3f}, {overall['high_bpw']:+.3f}]" if np.isfinite(overall["low_bpw"]) else ""
        wins = {kind.removesuffix("_proj"): count for kind, count in zip(part["layer_type"], won, strict=True)}
        yield _Pair(f"{target:g}", str(coder), f"{method} − {reference}", f"{overall['difference_bpw']:+.3f}{interval}", wins)


def paired_table(differences: pd.DataFrame) -> pd.DataFrame:
    """One row for each target and pair, for people: the mean with its interval, and wins over matrices by layer type."""
    rows = [
        {
            "bits": pair.bits,
            "coder of both": pair.coder,
            "method − reference": pair.pair,
            "difference (bpw)": pair.difference,
            **{f"wins {kind}": count for kind, count in pair.wins.items()},
        }
        for pair in _pairs(differences)
    ]
    return pd.DataFrame(rows).fillna("–")


def paired_lines(differences: pd.DataFrame, width: int) -> list[str]:
    """The same for the terminal: a heading for each target and coder, and for each pair its difference, and below it its wins."""
    lines: list[str] = []
    for (bits, coder), group in itertools.groupby(_pairs(differences), key=lambda pair: (pair.bits, pair.coder)):
        pairs = list(group)
        column = max(len(pair.pair) for pair in pairs)
        lines += ["", *textwrap.wrap(f"target of {bits} bpw, coder of both: {coder}", width)]
        for pair in pairs:
            lines += textwrap.wrap(f"{pair.pair:{column}}  {pair.difference}", width, subsequent_indent="    ", break_on_hyphens=False)
            wins = "  ".join(f"{kind}\N{NO-BREAK SPACE}{count}" for kind, count in pair.wins.items())
            lines += textwrap.wrap(f"    wins {wins}", width, subsequent_indent="    ", break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
