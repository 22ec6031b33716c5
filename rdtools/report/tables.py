"""Summaries of the result table: by method and layer type, and of the layers themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from rdtools.errors import counted
from rdtools.methods import entry_of
from rdtools.records.rows import LAYER_COLUMNS, headings
from rdtools.report.rows import bound_note, compared_rows, ordered_types
from rdtools.report.whole_names import WholeName, parts_of

#: Columns of `by_type` with means over all layers: each layer counts once, or as often as it has weights.
ALL, BY_WEIGHTS = "all", "by weights"


def layer_means(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Means of a column over the layers of each method, by matrix and by number of weights; of rows that have the value."""
    known = rows[rows[value].notna()]
    weights = known["rows"] * known["columns"]
    by_method = known.assign(weights=weights, weighted=known[value] * weights).groupby("method")
    sums = by_method[["weights", "weighted"]].sum()
    return pd.DataFrame({ALL: by_method[value].mean(), BY_WEIGHTS: sums["weighted"] / sums["weights"]})


def by_type(table: pd.DataFrame, *, target: float, value: str) -> pd.DataFrame:
    """Mean of a column over the layers of each type at one target rate: methods down, layer types across, then means over all layers.

    The last two are means over layers and over weights, not over types. Only rows with status ok count, of layers that all methods have
    (`compared_rows`); what no row has is nan.
    """
    rows = compared_rows(table[table["target_bpw"] == target], value).rows
    methods = list(dict.fromkeys(table["method"]))
    means = rows.pivot_table(index="method", columns="layer_type", values=value, aggfunc="mean", observed=True)
    means = means.reindex(index=methods, columns=ordered_types(rows["layer_type"]))
    return means.join(layer_means(rows, value))


def terminal_head(target: float) -> str:
    """Head of `terminal_tables`: its bound and its coder."""
    return f"Total rate of the file above R(D), one variance, each method with its own coder, in bpw at a target of {target:g} bpw"


#: Head of a table of layers: which coder its predicted differences are for, and which bound its critical rates are of.
LAYER_HEAD = "Predicted differences in bpw at high rate, both methods with an ideal coder per column; R_c from R(D), one variance."


def means_note(table: pd.DataFrame, target: float) -> str:
    """A sentence on the layers that the means of `by_type` of the total rate above R(D) are over, and on bounds that are others."""
    bound = bound_note(table["method"])
    return "; ".join([_layers_note(table, target), *([bound] if bound else [])])


def _layers_note(table: pd.DataFrame, target: float) -> str:
    comparison = compared_rows(table[table["target_bpw"] == target], "rate_gap_total_bpw")
    every = table["layer"].nunique()
    if comparison.note or not comparison.layers:
        return comparison.note or "no row has one"
    known = comparison.every[0]
    return (
        f"means over {counted(known, 'matrix', 'matrices') if known == every else f'the {known} of {every} matrices with rows that are ok'}"
    )


def terminal_note(table: pd.DataFrame, target: float) -> str:
    """The note on the last columns of `terminal_tables`."""
    known = "above R(D), row variances, of coders that know these (row var.)"
    return f"{means_note(table, target)} (all), over their weights (by weight), and over matrices {known}"


#: Columns of the terminal for names of methods, at least; longer ones take more lines, or more columns where one part of theirs does.
_NAME_WIDTH = 12


def _parts(headings: list[str], names: Iterable[str], width: int) -> Iterator[slice]:
    """Columns of numbers that fit a terminal beside the names of methods, at least one at a time."""
    beside = max([_NAME_WIDTH, *(len(part) for name in names for part in parts_of(name))])
    first, used = 0, beside
    for column, heading in enumerate(headings):
        need = 1 + max(5, *map(len, heading.split("\n")))
        if used + need > width and column > first:
            yield slice(first, column)
            first, used = column, beside
        used += need
    yield slice(first, len(headings))


def terminal_tables(table: pd.DataFrame, *, target: float, width: int) -> list[Table]:
    """Mean total rate above R(D) by method and layer type, for a terminal of this width; the least of each column is bold.

    The last column has methods whose coder knows the variances of rows alone. Columns that do not fit are in further tables.
    """
    means = by_type(table, target=target, value="rate_gap_total_bpw")
    rowvar = by_type(knowing_rows(table), target=target, value="rate_gap_total_rowvar_bpw")[ALL]
    means = means.assign(rowvar=rowvar).rename(columns={BY_WEIGHTS: "by\nweight", "rowvar": "row\nvar."})
    headings = [str(column).removesuffix("_proj") for column in means.columns]
    values, least = means.to_numpy(dtype=float), means.min().to_numpy()
    shown = []
    for part in _parts(headings, map(str, means.index), width):
        shown.append(Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False))
        shown[-1].add_column("method", overflow="fold")
        for heading in headings[part]:
            shown[-1].add_column(Text(heading), justify="right", no_wrap=True, min_width=5)
        for method, row, best in zip(means.index, values[:, part], values[:, part] == least[part], strict=True):
            cells = (Text("–" if np.isnan(v) else f"{v:.3f}", style="bold" if b else "") for v, b in zip(row, best, strict=True))
            shown[-1].add_row(WholeName(str(method)), *cells)
    return shown


def knowing_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose decoder knows the variance of every row: a Gaussian entropy model per column stores them where that pays, and methods of a
    fixed rate may have a scale per row. Pooled tables, column histograms, lattice words and the paths of QTIP do not.
    """
    scaled = {method for method in table["method"].unique() if (entry := entry_of(method)[0]) and entry.row_scales}
    fixed = table["rate_kind"].eq("fixed") & table["method"].isin(scaled)
    return table[fixed | table["rate_kind"].isin(["entropy_column", "entropy_trellis", "entropy_lattice", "entropy_adaptive"])]


def layer_types(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each layer type: how many layers it has, and the means over them of the columns that have a heading."""
    shown = headings(LAYER_COLUMNS)
    layers = table.drop_duplicates("layer")
    numbers = {name: heading for name, heading in shown.items() if name != "layer" and layers[name].dtype.kind in "iuf"}
    measured = {name: heading for name, heading in numbers.items() if layers[name].notna().any()}
    by_type = layers.groupby("layer_type")
    means = by_type[list(measured)].mean().rename(columns=measured)
    means.insert(0, "layers", by_type.size())
    return means.reindex(ordered_types(layers["layer_type"])).rename_axis("type").reset_index()


def status_counts(table: pd.DataFrame) -> dict[str, int]:
    """Number of rows with each status."""
    return {str(k): int(v) for k, v in table["status"].value_counts().items()}


def problem_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that are not ok, counted by method, target and status, with the first of each and why."""
    failed = table[table["status"] != "ok"]
    groups = failed.groupby(["method", "target_bpw", "status"], sort=False)
    first = groups[["layer", "message"]].first().rename(columns={"layer": "such as", "message": "whose message is"})
    first.insert(0, "rows", groups.size())
    return first.reset_index().rename(columns={"target_bpw": "target"})


#: Lines on rows that are not ok, for each status.
_PROBLEM_LINES = 8


def problem_lines(table: pd.DataFrame) -> dict[str, list[str]]:
    """Reasons of rows that are not ok, by status: a line for each method and rate, and one for those that have their reason in common.

    A reason is that of the first layer, as its numbers may be those of the layer.
    """
    lines: dict[str, list[str]] = {}
    failed = table[table["status"] != "ok"].fillna({"message": ""})
    for status, of_status in failed.groupby("status"):
        common: dict[tuple[str, str, int], list[str]] = {}
        for (method, target), rows in of_status.groupby(["method", "target_bpw"], sort=False):
            layer = str(rows["layer"].iloc[0])
            reason = str(rows["message"].iloc[0]).removeprefix(f"{layer}: ")
            common.setdefault((reason, layer, rows["layer"].nunique()), []).append(f"{method} at {target:g}")
        problems = []
        for (reason, layer, layers), names in common.items():
            who = ", ".join(names) if len(names) <= 3 else f"{len(names)} methods and rates, such as {names[0]},"
            where = layer if layers == 1 else f"{layers} layers, such as {layer}"
            problems.append(f"{who} on {where}{f': {reason}' if reason else ''}")
        more = len(problems) - _PROBLEM_LINES
        lines[str(status)] = problems[:_PROBLEM_LINES] + ([f"and {more} more, which the table of results has"] if more > 0 else [])
    return lines
