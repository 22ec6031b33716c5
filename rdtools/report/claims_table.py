"""Verdicts of ``rdtools verify`` on the layers of a run: a summary by claim, and the sides on every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.report.decimals import Decimals
from rdtools.report.packed import PackedColumn, number_column, text_column
from rdtools.report.rows import format_number

#: Verdicts whose sides are all on the page; of more, those that hold have theirs in the file alone.
MAX_SIDES = 50_000
STATUSES = ("holds", "violated", "not applicable", "failed")
_SIDE = Decimals(3, scientific=True)
_SIDES = ("lhs", "rhs", "margin")


def claims_summary(verdicts: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim: on how many layers it holds, and where it is nearest to being violated.

    Claims that are violated or could not be checked come first.
    """
    rows = []
    for claim, part in verdicts.groupby("claim", sort=True):
        counts = {status: int((part["status"] == status).sum()) for status in STATUSES}
        checked = part[part["margin"].notna()]
        nearest = checked.iloc[int(np.argmin(checked["margin"].to_numpy()))] if len(checked) else None
        rows.append(
            {
                "claim": claim,
                **counts,
                "least margin": "–" if nearest is None else f"{format_number(float(nearest['margin']))} {nearest['unit']}".strip(),
                "on layer": "–" if nearest is None else nearest["subject"],
                "statement": part["statement"].iloc[0],
                "source": part["source"].iloc[0],
            }
        )
    summary = pd.DataFrame(rows, columns=["claim", *STATUSES, "least margin", "on layer", "statement", "source"])
    return summary.sort_values(["violated", "failed"], ascending=False, kind="stable")


def verdict_columns(verdicts: pd.DataFrame, layers: Sequence[str]) -> list[PackedColumn]:
    """Claim, status, sides, margin and reason of every verdict, with the number of its layer."""
    index_of = {layer: index for index, layer in enumerate(layers)}
    sides = verdicts[list(_SIDES)]
    if len(verdicts) > MAX_SIDES:
        sides = sides.where(verdicts["status"] != "holds", np.nan)
    texts = {name: list(verdicts[name].fillna("").astype(str)) for name in ("claim", "status", "relation", "unit", "assumption")}
    texts["assumption"] = ["" if s == "holds" else a for s, a in zip(texts["status"], texts["assumption"], strict=True)]
    return [
        number_column("subject", [index_of[subject] for subject in verdicts["subject"]], Decimals(0)),
        *(text_column(name, column) for name, column in texts.items()),
        *(number_column(name, sides[name].to_numpy(dtype=np.float64), _SIDE) for name in _SIDES),
    ]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Verdicts of a run, and a sentence for the reader on why there are none."""

    table: pd.DataFrame
    reason: str = ""


def read_verdicts(path: Path, versions: Mapping[str, int]) -> Verdicts:
    """Verdicts in a file of ``rdtools verify``; none if it is of other versions or cannot be read.

    Parameters
    ----------
    path : of the file
    versions : of the numbers and the verdicts of this rdtools, which the table in the file has as its attributes
    """
    again = "rdtools verify RUN checks them, and the same report command then shows them here"
    if not path.is_file():
        return Verdicts(pd.DataFrame(columns=["subject"]), f"No claims were checked on this run: {again}.")
    try:
        table = pd.read_parquet(path)
    except Exception:  # of damaged files pyarrow raises OSError, ValueError, KeyError, TypeError and kinds of its own
        return Verdicts(pd.DataFrame(columns=["subject"]), f"{path.name} cannot be read: {again}.")
    if table.attrs != dict(versions):
        return Verdicts(pd.DataFrame(columns=["subject"]), f"{path.name} is of another version of the claims: {again}.")
    return Verdicts(table)
