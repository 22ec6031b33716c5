"""Rows and layers of a run as packed columns: what the page's two long tables show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rdtools.records.about import Column
from rdtools.records.rows import COLUMNS, LAYER_COLUMNS
from rdtools.report.decimals import decimals_of
from rdtools.report.packed import PackedColumn, number_column, text_column
from rdtools.report.rows import format_number, ordered_types

#: Columns of a row, before those of a result that have a heading, and after them.
_FIRST, _LAST = ("layer", "layer_type"), ("backend", "seed", "message")
#: Headings of columns that other tables for people leave out.
_HEADINGS = {"layer_type": "type", "block": "block", "backend": "backend", "seed": "seed", "message": "note"}
#: Columns of few different numbers, which are chosen from as texts are.
_CHOSEN = ("target_bpw", "damping", "seed", "k")
_ABOUT = {column.name: column for column in COLUMNS}


def short_names(layers: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The beginning that all names share, up to a dot, and each name without it.

    Examples
    --------
    >>> short_names(["model.layers.0.q_proj", "model.layers.1.q_proj"])
    ('model.layers.', {'model.layers.0.q_proj': '0.q_proj', 'model.layers.1.q_proj': '1.q_proj'})
    """
    parts = [name.split(".")[:-1] for name in layers]
    shared = 0
    while parts and all(len(part) > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    start = ".".join(parts[0][:shared]) + "." if shared and len(set(layers)) > 1 else ""
    return start, {name: name.removeprefix(start) for name in layers}


def _order(name: str, values: pd.Series) -> list[str] | None:
    """Different texts of a column in the order in which they sort; None for the alphabet."""
    if name == "layer_type":
        return ordered_types(values)
    if name in _CHOSEN:
        return [*dict.fromkeys(format_number(value) for value in sorted(values.dropna().unique())), "–"]
    return list(dict.fromkeys(values)) if name in ("layer", "method") else None


def _packed(column: Column, values: pd.Series, heading: str) -> PackedColumn:
    about = f"{column.meaning}, in {column.unit}" if column.unit else column.meaning
    name = column.name
    if name in _CHOSEN:
        return text_column(name, [format_number(v) for v in values], values=_order(name, values), heading=heading, about=about)
    if values.dtype.kind in "iufb":
        numbers = values.to_numpy(dtype=np.float64)
        return number_column(name, numbers, decimals_of(column, numbers), heading=heading, about=about)
    texts = values.fillna("").astype(str)
    return text_column(name, list(texts), values=_order(name, texts), heading=heading, about=about)


def _says_nothing(values: pd.Series) -> bool:
    """True for a column that is empty, or 0, or "" in every row."""
    return bool((values.isna() | values.isin([0, ""])).all())


def row_columns(table: pd.DataFrame) -> tuple[list[PackedColumn], list[str]]:
    """The columns of all rows, and the headings of those left out because they are empty or 0 in every row.

    Rows are by method, then target, then layer, in the order of the table: neighbours are then alike, and small when packed.
    """
    shown = [*_FIRST, *(c.name for c in COLUMNS[len(LAYER_COLUMNS) :] if c.heading), *_LAST]
    index_of = {name: {value: i for i, value in enumerate(dict.fromkeys(table[name]))} for name in ("method", "layer")}
    keys = [table["seed"], table["layer"].map(index_of["layer"]), table["target_bpw"], table["method"].map(index_of["method"])]
    ordered = table.iloc[np.lexsort([key.to_numpy() for key in keys])] if len(table) else table
    columns, left_out = [], []
    for name in shown:
        column, values = _ABOUT[name], ordered[name] if name in ordered else pd.Series(np.nan, ordered.index)
        heading = column.heading or _HEADINGS[name]
        if len(values) and _says_nothing(values) and name not in _FIRST:
            left_out.append(heading)
        else:
            columns.append(_packed(column, values, heading))
    return columns, left_out


def layer_columns(table: pd.DataFrame) -> list[PackedColumn]:
    """The columns of the layers, in the order of the table; those without a heading but type and block are left out."""
    layers = table.drop_duplicates("layer")
    shown = [c for c in LAYER_COLUMNS if c.heading or c.name in ("layer_type", "block")]
    return [_packed(column, layers[column.name], column.heading or _HEADINGS[column.name]) for column in shown]


def printed_means(means: pd.DataFrame) -> pd.DataFrame:
    """Means of layer columns as texts, by heading, each column with the rounding of its unit."""
    about = {column.heading: column for column in LAYER_COLUMNS if column.heading}
    decimals = {heading: decimals_of(about[heading], means[heading].to_numpy(dtype=np.float64)) for heading in means if heading in about}
    return means.assign(**{heading: [rounding.text(v) for v in means[heading]] for heading, rounding in decimals.items()})
