"""Summaries of result tables: a metric by layer type, block or layer, for one run or several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rdtools.errors import UsageError, counted, optional_module
from rdtools.report.paired import coder_of
from rdtools.report.rows import bound_note, compared_rows, ok_rows, ordered_types
from rdtools.report.tables import knowing_rows


@dataclass(frozen=True)
class Metric:
    """A number of a result row, or of the rows of a layer and method at several rates.

    Attributes
    ----------
    column : of the results; "" for one that needs several rates
    head : what it is, with bound and unit
    latex : the same for a caption in LaTeX
    digits : format of a number
    best : chooses the value that tables mark, min or max; None where neither is better
    """

    column: str
    head: str
    latex: str
    digits: str = ".3f"
    best: Callable[[Iterable[float]], float] | None = min


_GAP, _LATEX_GAP = "Total rate of the file above R(D)", "Total rate of the file above $R(D)$"
#: Name on the command line → metric.
METRICS: dict[str, Metric] = {
    "gap": Metric(
        "rate_gap_total_bpw", f"{_GAP}, one variance, in bpw", "Total rate of the file above $R(D)$, one variance, in bits per weight"
    ),
    "gap-rowvar": Metric(
        "rate_gap_total_rowvar_bpw",
        f"{_GAP}, row variances, in bpw",
        "Total rate of the file above $R(D)$, row variances, in bits per weight",
    ),
    "total": Metric("total_bpw", "Total rate of the file, in bpw", "Total rate of the file, in bits per weight", best=None),
    "sqnr": Metric("sqnr_db", "SQNR −10 log₁₀(D/D₀), in dB, mean of dB", r"SQNR $-10\log_{10}(D/D_0)$, in dB, mean of dB", ".2f", max),
    "distortion": Metric("relative_distortion", "Relative distortion D/D₀", "Relative distortion $D/D_0$", ".3g"),
    "bd-rate": Metric(
        "",
        "Bjøntegaard difference of the total rate of the file at equal SQNR, in %",
        r"Bj{\o}ntegaard difference of the total rate of the file at equal SQNR, in \%",
        ".2f",
    ),
}
#: What rows are grouped by.
GROUPS = ("type", "block", "layer")
#: Part of the SQNR of the shorter of two curves that both have, below which no Bjøntegaard difference is given.
_LEAST_OVERLAP = 0.5
#: Columns of the mean over all layers, each once or as often as it has weights; the last column has the run's name where there are several.
ALL, BY_WEIGHTS = "all", "by weight"


@dataclass(frozen=True, eq=False)
class Summary:
    """One table for people.

    Attributes
    ----------
    name, metric : what the cells are
    target : rate of all rows in bpw, None where rates are what is compared over
    reference : method that the others are compared with; "" without
    coders : a sentence on which coder each method has
    matrices, every : how many the means are over, and how many some method has
    fewer : methods that have less than half of them, and how many their means are over
    models : names
    cells : index (run, method) and columns of groups, or index of groups and columns (run, method)
    """

    name: str
    metric: Metric
    target: float | None
    reference: str
    coders: str
    matrices: int
    every: int
    fewer: dict[str, int]
    models: tuple[str, ...]
    cells: pd.DataFrame


def bd_rate(reference: pd.DataFrame, method: pd.DataFrame) -> float:
    """Bjøntegaard difference of the total rate, in percent, at equal SQNR: negative where `method` needs less.

    Both curves of log rate over SQNR are interpolated by Akima's splines and their difference is averaged over the SQNR that both have.

    Parameters
    ----------
    reference, method : rows of one layer at several rates, with ``total_bpw`` and ``sqnr_db``

    Returns
    -------
    float
        nan for fewer than two rates, a curve that does not rise, or curves that have less than half of the shorter one's SQNR in common.

    Raises
    ------
    MissingPackage

    References
    ----------
    Bjøntegaard, VCEG-M33; Herglotz et al., arXiv:2202.12565, on the interpolation.

    Examples
    --------
    A method with one tenth more rate at every quality:

    >>> curve = pd.DataFrame({"total_bpw": [2.0, 3.0, 4.0], "sqnr_db": [10.0, 16.0, 22.0]})
    >>> round(bd_rate(curve, curve.assign(total_bpw=1.1 * curve["total_bpw"])), 6)
    10.0
    """
    rate_difference = optional_module("bjontegaard", "`metric` bd-rate:", "bjontegaard").bd_rate
    curves = []
    for rows in (reference, method):
        points = rows[["sqnr_db", "total_bpw"]].replace([np.inf, -np.inf], np.nan).dropna().groupby("sqnr_db", as_index=False).min()
        if len(points) < 2 or not (np.diff(points["total_bpw"]) > 0).all():
            return math.nan
        curves.append((points["total_bpw"].to_numpy(), points["sqnr_db"].to_numpy()))
    (rates, quality), (others, other_quality) = curves
    common = min(quality[-1], other_quality[-1]) - max(quality[0], other_quality[0])
    if common < _LEAST_OVERLAP * min(quality[-1] - quality[0], other_quality[-1] - other_quality[0]):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about overlap, which was looked at
        return float(rate_difference(rates, quality, others, other_quality, method="akima", require_matching_points=False, min_overlap=0.0))


def _bd_rates(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    """One row for each run, layer and method, with the difference to the reference as ``value``; of several seeds, between the means."""
    by = ["run", "model", "layer", "layer_type", "block", "rows", "columns"]
    points = rows.groupby([*by, "method", "target_bpw"], sort=False, dropna=False)
    rows = points[["total_bpw", "sqnr_db"]].mean().reset_index()
    values = []
    for key, of_layer in rows.groupby(by, sort=False, dropna=False):
        base = of_layer[of_layer["method"] == reference]
        for method, of_method in of_layer.groupby("method", sort=False):
            if method != reference:
                values.append((*key, method, bd_rate(base, of_method)))
    return pd.DataFrame(values, columns=[*by, "method", "value"])


def _group(rows: pd.DataFrame, by: str) -> pd.Series:
    if by == "type":
        return rows["layer_type"].astype(str).str.removesuffix("_proj")
    return rows["layer"].map(short_name) if by == "layer" else rows["block"]


def short_name(layer: str) -> str:
    """The parts of a layer's name that tell it from others of its model.

    Examples
    --------
    >>> short_name("model.layers.0.self_attn.q_proj"), short_name("lm_head")
    ('0.q_proj', 'lm_head')
    """
    parts = layer.split(".")
    numbers = [part for part in parts[:-1] if part.isdigit()]
    return ".".join([*numbers, parts[-1]])


def _cells(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Means of ``value``: methods down and types across with means over all layers, or blocks or layers down and methods across."""
    rows = rows[rows["value"].notna()].assign(group=lambda known: _group(known, by))
    methods = list(dict.fromkeys(zip(rows["run"], rows["method"], strict=True)))
    means = rows.pivot_table(index=["run", "method"], columns="group", values="value", aggfunc="mean", sort=False)
    groups = (
        [kind.removesuffix("_proj") for kind in ordered_types(rows["layer_type"])] if by == "type" else list(dict.fromkeys(rows["group"]))
    )
    means = means.reindex(index=pd.MultiIndex.from_tuples(methods, names=["run", "method"]), columns=groups)
    if by != "type":
        return means.T.rename_axis(by)
    weights = rows["rows"] * rows["columns"]
    of_method = rows.assign(weights=weights, weighted=rows["value"] * weights).groupby(["run", "method"], sort=False)
    sums = of_method[["weights", "weighted"]].sum()
    return means.assign(**{ALL: of_method["value"].mean(), BY_WEIGHTS: sums["weighted"] / sums["weights"]}).rename_axis(columns=None)


def coders_of(rows: pd.DataFrame) -> str:
    """A sentence on which coder each method has, such as ``pooled table: hptq; model per column: watersic``."""
    coders: dict[str, list[str]] = {}
    for method, kind in rows[["method", "rate_kind"]].drop_duplicates().itertuples(index=False):
        coders.setdefault(coder_of(str(method), str(kind)) or "of its own", []).append(str(method))
    return "; ".join(f"{coder}: {', '.join(methods)}" for coder, methods in coders.items())


def _chosen(names: Sequence[str], present: Sequence[str], setting: str) -> list[str]:
    missing = next((name for name in names if name not in present), None)
    if missing is not None:
        raise UsageError(f"`{setting}` {missing}: none in these results, which have {', '.join(present)}")
    return list(names)


def summaries(
    tables: dict[str, pd.DataFrame],
    *,
    metric: str = "gap",
    by: str = "type",
    rates: Sequence[float] | None = None,
    methods: Sequence[str] | None = None,
    reference: str | None = None,
) -> list[Summary]:
    """One table for each target rate, or one over all of them for the Bjøntegaard difference; of rows with status ok alone.

    Parameters
    ----------
    tables : results by name of the run
    metric, by : of METRICS and GROUPS
    rates, methods : those that are shown; None for all
    reference : method that bd-rate compares with; None for the first

    Raises
    ------
    UsageError
        For an unknown metric, grouping, method or rate, and where nothing is left to show.
    """
    for setting, value, known in (("metric", metric, METRICS), ("by", by, GROUPS)):
        if value not in known:
            raise UsageError(f"`{setting}` {value}: expected one of {', '.join(known)}")
    if reference is not None and metric != "bd-rate":
        raise UsageError(f"`reference` {reference}: {metric} is compared with no method; leave it out, or choose `metric` bd-rate")
    chosen = METRICS[metric]
    rows = pd.concat([ok_rows(table).assign(run=name) for name, table in tables.items()], ignore_index=True)
    every = list(dict.fromkeys(rows["method"]))
    if methods is not None:
        named = _chosen([*methods, *([reference] if reference and metric == "bd-rate" else [])], every, "methods")
        rows = rows[rows["method"].isin(named)]
    if rates is not None:
        present = sorted(rows["target_bpw"].unique())
        _chosen([f"{rate:g}" for rate in rates], [f"{rate:g}" for rate in present], "rates")
        rows = rows[rows["target_bpw"].isin(rates)]
    if rows.empty:
        raise UsageError("nothing to show: no row of these results has status ok, see `rdtools show RUN`")
    if metric == "bd-rate":
        base = _chosen([reference or str(rows["method"].iloc[0])], every, "reference")[0]
        values = _bd_rates(rows, base)
        if not values["value"].notna().any():
            raise UsageError(
                "`metric` bd-rate: no layer on which a method and the reference have two rates and half of their SQNR in common; expected "
                "results at several rates, such as 2,3,4"
            )
        return [_summary(metric, None, base, rows, values, by)]
    if metric == "gap-rowvar":
        rows = knowing_rows(rows)
    shown = rows.assign(value=rows[chosen.column])
    parts = ((float(str(target)), part) for target, part in shown.groupby("target_bpw", sort=True) if part["value"].notna().any())
    results = [_summary(metric, target, "", part, part, by) for target, part in parts]
    if not results:
        raise UsageError(f"`metric` {metric}: no row of these results has it")
    return results


def _summary(name: str, target: float | None, reference: str, rows: pd.DataFrame, values: pd.DataFrame, by: str) -> Summary:
    models = tuple(dict.fromkeys(rows["model"]))
    several = values["run"].nunique() > 1
    named = values["run"].astype(str) + ": " + values["method"].astype(str) if several else values["method"].astype(str)
    comparison = compared_rows(values.assign(named=named, status="ok"), "value", by=["model"], method="named")
    every, fewer = sum(comparison.every), {str(method): count for method, count in comparison.apart.items()}
    coders, facts = coders_of(rows), (name, METRICS[name], target, reference)
    if by == "layer":  # nothing is averaged
        return Summary(*facts, coders, every, every, {}, models, _cells(values, by))
    return Summary(*facts, coders, sum(comparison.layers), every, fewer, models, _cells(comparison.rows, by))


def caption(summary: Summary, *, latex: bool = False) -> str:
    """Caption of a table: metric with its bound, rate, reference, matrices that the means are over, coders, and bounds that are others."""
    metric, rate = summary.metric, "" if summary.target is None else f" at a target of {summary.target:g} bpw"
    against = f", relative to {summary.reference} (negative: less rate)" if summary.reference else ""
    less = f" ({', '.join(f'{method}: its own {count}' for method, count in summary.fewer.items())})" if summary.fewer else ""
    some, common = counted(summary.matrices, "matrix", "matrices"), ""
    if summary.matrices < summary.every:
        some, common = f"the {summary.matrices} of {summary.every} matrices", " that all methods have"
    over = f"means over {some} of {' and '.join(summary.models)}{common}{less}"
    methods = [key[1] for key in (*summary.cells.index, *summary.cells.columns) if isinstance(key, tuple)]
    bound = bound_note(methods) if summary.name.startswith("gap") else ""
    return f"{metric.latex if latex else metric.head}{rate}{against}; {over}. Coders: {summary.coders}.{bound and f' {bound}.'}"


def long_rows(summary: Summary) -> pd.DataFrame:
    """One row for each value: run, method, group and value."""
    cells = summary.cells if isinstance(summary.cells.index, pd.MultiIndex) else summary.cells.T
    rows = [(*pair, group, value) for pair, values in cells.iterrows() for group, value in values.items()]  # type: ignore[misc]
    return pd.DataFrame(rows, columns=["run", "method", "group", "value"])
