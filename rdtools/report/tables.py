"""Summaries of the result table: by method and layer type, and of the layers themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from rdtools.report.rows import ok_rows, ordered_types

#: Columns of the layer table: name in the results → heading.
LAYER_COLUMNS = {
    "layer": "layer",
    "rows": "m",
    "columns": "n",
    "live_columns": "live",
    "rank": "rank",
    "n_tokens": "tokens",
    "weight_incoherence": "μ_W",
    "hessian_incoherence": "μ_H",
    "critical_rate_bits": "R_c (bits)",
    "natural_gptq_gap_bits": "G, GPTQ (bits)",
    "rotated_gptq_gap_bits": "G, rotated",
    "rtn_gap_bits": "G, RTN (bits)",
}


def by_type(table: pd.DataFrame, *, target: float, value: str) -> pd.DataFrame:
    """Mean of a column over the layers of each type at one target rate: methods down, layer types across, `all` last.

    `all` is the mean over layers, not over types. Only rows with status ok count; what no row has is nan.
    """
    rows = ok_rows(table)
    rows = rows[rows["target_rate_bits"] == target]
    methods = list(dict.fromkeys(table["method"]))
    types = ordered_types(rows["layer_type"])
    means = rows.pivot_table(index="method", columns="layer_type", values=value, aggfunc="mean", observed=True)
    means = means.reindex(index=methods, columns=types)
    means["all"] = rows.groupby("method")[value].mean().reindex(methods)
    return means


def terminal_table(table: pd.DataFrame, *, target: float) -> Table:
    """Mean coded bits above the limit, by method and layer type, for the terminal; the least of each column is bold."""
    means = by_type(table, target=target, value="coded_gap_bits")
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, collapse_padding=True)
    shown.add_column("method", no_wrap=True)
    for column in means.columns:
        shown.add_column(Text(str(column)), justify="right", no_wrap=True)
    values = means.to_numpy(dtype=float)
    for method, row, least in zip(means.index, values, values == means.min().to_numpy(), strict=True):
        cells = (Text("–" if np.isnan(v) else f"{v:.3f}", style="bold" if best else "") for v, best in zip(row, least, strict=True))
        shown.add_row(Text(str(method)), *cells)
    return shown


def layer_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each layer: shape, rank, incoherence, critical rate and gaps in the natural basis."""
    known = [name for name in LAYER_COLUMNS if name in table]
    return table.drop_duplicates("layer")[known].rename(columns=LAYER_COLUMNS)


def status_counts(table: pd.DataFrame) -> dict[str, int]:
    """How many rows have each status."""
    return {str(k): int(v) for k, v in table["status"].value_counts().items()}


def problems(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that are not ok, with why."""
    return table.loc[table["status"] != "ok", ["layer", "method", "target_rate_bits", "status", "message"]]
