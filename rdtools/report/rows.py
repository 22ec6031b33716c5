"""Rows that tables, figures and the page have in common."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdtools.methods.names import BIAS, entry_of
from rdtools.methods.table import DEFAULT_METHODS
from rdtools.model.layer_names import LAYER_TYPES


def ok_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that may be averaged."""
    return table[table["status"] == "ok"]


@dataclass(frozen=True, eq=False)
class Compared:
    """Rows of methods whose means may be compared, because they are over the same layers at each target rate.

    Attributes
    ----------
    rows : of these layers; all rows of the methods in `apart`
    layers, every : at each target rate, the number of layers that all methods have, and of those that some method has
    apart : methods that have so few layers that less than half would be left, and how many: their means are over other layers
    """

    rows: pd.DataFrame
    layers: tuple[int, ...]
    every: tuple[int, ...]
    apart: dict[Hashable, int]

    @property
    def note(self) -> str:
        """A sentence on which layers were left out; "" where none was."""
        if not self.apart and self.layers == self.every:
            return ""
        low, high = min(self.layers), max(self.layers)
        count = f"{low}" if low == high else f"{low} to {high}"
        others = f"; {', '.join(f'{method}: its own {many}' for method, many in self.apart.items())}" if self.apart else ""
        return f"means over the {count} of {max(self.every)} layers that all methods have{others}"


def compared_rows(table: pd.DataFrame, value: str, *, by: Sequence[str] = ("target_bpw",), method: str = "method") -> Compared:
    """Rows with status ok and a value, of the layers that all methods have where the columns `by` are the same.

    A method that would leave less than half of the layers of the fullest one stands apart, with all of its layers.

    Examples
    --------
    >>> rows = [(layer, method) for layer in "abc" for method in ("rtn", "gptq") if (layer, method) != ("b", "gptq")]
    >>> table = pd.DataFrame([*rows, ("a", "qtip")], columns=["layer", "method"]).assign(target_bpw=3.0, status="ok", gap=0.1)
    >>> found = compared_rows(table, "gap")
    >>> "".join(found.rows["layer"]), found.note
    ('aacca', 'means over the 2 of 3 layers that all methods have; qtip: its own 1')
    """
    known = ok_rows(table)
    known = known[known[value].notna()]
    is_compared = np.zeros(len(known), dtype=bool)
    layers, every = [], []
    apart: dict[Hashable, int] = {}
    for positions in known.groupby(list(by), dropna=False).indices.values():
        part = known.iloc[positions]
        sets = {name: set(of_method["layer"]) for name, of_method in part.groupby(method, sort=False)}
        fullest = max(sets.values(), key=len)
        common, others = fullest, []
        for name in sorted(sets, key=lambda name: -len(sets[name])):
            if 2 * len(common & sets[name]) >= len(fullest):
                common = common & sets[name]
            else:
                others.append(name)
                apart[name] = min(len(sets[name]), apart.get(name, len(sets[name])))
        is_compared[positions] = part["layer"].isin(common) | part[method].isin(others)
        layers.append(len(common))
        every.append(len(set().union(*sets.values())))
    return Compared(known[is_compared], tuple(layers), tuple(every), apart)


def bound_note(methods: Iterable[Any]) -> str:
    """A sentence on the bound of methods with a bias per row, which is not that of others; "" without any.

    Examples
    --------
    >>> bound_note(["hptq", "hptq+bias"]), bound_note(["hptq"])
    ('R(D) of hptq+bias is of the covariance of the input, below that of H', '')
    """
    biased = [str(method) for method in dict.fromkeys(methods) if BIAS in entry_of(str(method))[1]]
    return f"R(D) of {', '.join(biased)} is of the covariance of the input, below that of H" if biased else ""


def in_method_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by method: those of a report in its order, each followed by its variants, and the rest, however a run came to its rows.

    Examples
    --------
    >>> table = pd.DataFrame({"method": ["crvq", "watersic", "hptq+bias", "rtn", "hptq"], "row": range(5)})
    >>> in_method_order(table)["row"].tolist()
    [3, 4, 2, 1, 0]
    """
    rank_of = {name: index for index, name in enumerate(DEFAULT_METHODS)}

    def rank(method: str) -> float:
        entry = entry_of(method)[0]
        return rank_of.get(method, len(rank_of) if entry is None else rank_of.get(entry.name, len(rank_of)) + 0.5)

    return table.sort_values("method", key=lambda names: names.map(rank), kind="stable")


def ordered_types(types: pd.Series) -> list[str]:
    """Layer types in the order of a Llama block, others after them by name."""
    present = set(types)
    return [t for t in LAYER_TYPES if t in present] + sorted(present - set(LAYER_TYPES))


def format_number(value: Any) -> str:
    """A table cell: short, never a bare nan.

    Examples
    --------
    >>> [format_number(v) for v in (3, 0.12345, 1.5e-9, float("nan"), float("inf"), "gptq")]
    ['3', '0.1235', '1.5e-09', '–', '∞', 'gptq']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.2g}"
    return str(value)
