"""Tightness of claims: the side claimed to be smaller over the other one, over the layers that they were checked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rdtools.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

#: Columns of verdicts that are read.
READS = ("claim", "status", "relation", "lhs", "rhs", "unit", "statement")


def slack(verdicts: pd.DataFrame) -> pd.Series:
    """By how much the larger side exceeds the smaller one as the claim puts them, in its unit; |lhs − rhs| for an equality."""
    difference = verdicts["rhs"] - verdicts["lhs"]
    return difference.where(verdicts["relation"] == "≤", (-difference).where(verdicts["relation"] == "≥", difference.abs())) + 0.0


def ratio(verdicts: pd.DataFrame) -> pd.Series:
    """The side that is claimed to be smaller over the other one, 1 where it is tight; nan for equalities and sides not positive."""
    small = verdicts["lhs"].where(verdicts["relation"] == "≤", verdicts["rhs"])
    large = verdicts["rhs"].where(verdicts["relation"] == "≤", verdicts["lhs"])
    usable = (small > 0) & (large > 0) & np.isfinite(large) & (verdicts["relation"] != "=")
    return (small / large.where(usable)).where(usable)


def tightness(verdicts: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim that was compared on some layer: how near its sides are to each other there.

    Parameters
    ----------
    verdicts : of `rdtools.verify`

    Returns
    -------
    DataFrame
        ``claim``, ``relation``, ``layers`` compared, ``violated``; ``tightest`` and ``median``: ratio of the side that is claimed to be
        smaller to the other one, its maximum and its median over layers, 1 where the claim is tight, nan for equalities and where sides are
        not positive; ``least_slack`` and ``median_slack``: the difference of the sides, in ``unit``; ``statement``.

    Raises
    ------
    UsageError
        If these are no verdicts.
    """
    missing = [name for name in READS if name not in getattr(verdicts, "columns", ())]
    if missing:
        raise UsageError(f"tightness: no column {missing[0]!r}, expected the table that rdtools.verify returns")
    compared = verdicts[verdicts["status"].isin(["holds", "violated"])]
    measured = compared.assign(ratio=ratio(compared), slack=slack(compared), violated=compared["status"] == "violated")
    return (
        measured.groupby("claim", sort=False)
        .agg(
            relation=("relation", "first"),
            layers=("slack", "size"),
            violated=("violated", "sum"),
            tightest=("ratio", "max"),
            median=("ratio", "median"),
            least_slack=("slack", "min"),
            median_slack=("slack", "median"),
            unit=("unit", "first"),
            statement=("statement", "first"),
        )
        .reset_index()
    )
