"""Summaries in the formats that people paste elsewhere: CSV, LaTeX, Markdown, text for a terminal, and CompressAI's curves."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdtools.errors import CorruptFile, UsageError
from rdtools.report.latex import latex_text
from rdtools.report.rows import compared_rows
from rdtools.report.summaries import Summary, caption


def _labels(summary: Summary) -> tuple[list[str], list[str]]:
    """Names of rows and columns; the run is named where there are several."""
    runs = {run for axis in summary.cells.axes if isinstance(axis, pd.MultiIndex) for run in axis.get_level_values(0)}

    def named(axis: pd.Index) -> list[str]:
        if not isinstance(axis, pd.MultiIndex):
            return [f"{value:g}" if isinstance(value, float) else str(value) for value in axis]
        return [f"{run}: {method}" if len(runs) > 1 else str(method) for run, method in axis]

    return named(summary.cells.index), named(summary.cells.columns)


def _heading(summary: Summary) -> str:
    return str(summary.cells.index.name or "method")


def _marked(summary: Summary) -> np.ndarray[Any, Any]:
    """True for the best value of each column of methods, or of each row of them."""
    values = summary.cells.to_numpy(dtype=float)
    if summary.metric.best is None or values.size == 0:
        return np.zeros(values.shape, dtype=bool)
    axis = 0 if isinstance(summary.cells.index, pd.MultiIndex) else 1
    fill = math.inf if summary.metric.best is min else -math.inf
    filled = np.where(np.isnan(values), fill, values)
    extreme = filled.min(axis=axis, keepdims=True) if summary.metric.best is min else filled.max(axis=axis, keepdims=True)
    return np.asarray((values == extreme) & np.isfinite(values))


def _digits(summary: Summary, value: float) -> str:
    return "–" if math.isnan(value) else format(value, summary.metric.digits)


def to_csv(found: Sequence[Summary]) -> str:
    """All tables as one: target, then names and values to full precision."""
    frames = []
    for summary in found:
        frame = summary.cells.copy()
        if isinstance(frame.columns, pd.MultiIndex):
            frame.columns = pd.Index(_labels(summary)[1])
        frame = frame.reset_index()
        frame.insert(0, "target_bpw", np.nan if summary.target is None else summary.target)
        frames.append(frame)
    return str(pd.concat(frames, ignore_index=True).to_csv(index=False))


def to_markdown(found: Sequence[Summary]) -> str:
    """One table for each target with its caption; the best of each column is bold."""
    return "\n\n".join("\n".join(_markdown(summary)) for summary in found) + "\n"


def _markdown(summary: Summary) -> Iterator[str]:
    rows, columns = _labels(summary)
    yield caption(summary) + "\n"
    yield "| " + " | ".join([_heading(summary), *columns]) + " |"
    yield "|---|" + "---:|" * len(columns)
    for name, values, marks in zip(rows, summary.cells.to_numpy(dtype=float), _marked(summary), strict=True):
        cells = (_digits(summary, v) for v in values)
        yield "| " + " | ".join([f"`{name}`", *(f"**{c}**" if m else c for c, m in zip(cells, marks, strict=True))]) + " |"


def to_latex(found: Sequence[Summary]) -> str:
    """One ``table`` for each target, with caption and label, for a document that uses the package booktabs; the best is bold."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join("\n".join(_latex(summary)) + "\n" for summary in found)


def _latex(summary: Summary) -> Iterator[str]:
    rows, columns = _labels(summary)
    label = f"tab:{summary.name}" + ("" if summary.target is None else f"-{summary.target:g}")
    head, _, rest = caption(summary, latex=True).partition(summary.metric.latex)
    yield "\\begin{table}"
    yield "  \\centering"
    yield f"  \\caption{{{head}{summary.metric.latex}{latex_text(rest)}}}"
    yield f"  \\label{{{label}}}"
    yield f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield "    \\toprule"
    yield "    " + " & ".join(map(latex_text, [_heading(summary), *columns])) + " \\\\"
    yield "    \\midrule"
    for row, values, marks in zip(rows, summary.cells.to_numpy(dtype=float), _marked(summary), strict=True):
        cells = [latex_text(_digits(summary, v)).replace("-", "$-$", 1) if v < 0 else latex_text(_digits(summary, v)) for v in values]
        bold = [f"\\textbf{{{c}}}" if m else c for c, m in zip(cells, marks, strict=True)]
        yield "    " + " & ".join([latex_text(row), *bold]) + " \\\\"
    yield "    \\bottomrule"
    yield "  \\end{tabular}"
    yield "\\end{table}"


def to_text(found: Sequence[Summary], width: int) -> str:
    """Plain text for a terminal or a pipe of this width: columns that do not fit are in further tables; the best of a column has a star."""
    return "\n\n".join("\n".join(_text(summary, width)) for summary in found) + "\n"


def _text(summary: Summary, width: int) -> Iterator[str]:
    rows, columns = _labels(summary)
    yield from textwrap.wrap(caption(summary), width, break_on_hyphens=False)
    values = zip(rows, summary.cells.to_numpy(dtype=float), _marked(summary), strict=True)
    cells = [[name, *(_digits(summary, v) + "*" * bool(m) for v, m in zip(of, marks, strict=True))] for name, of, marks in values]
    yield from text_table([_heading(summary), *columns], cells, width)


def text_table(head: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lines of a table whose first column names the rows: columns that do not fit a width are in further tables, and nothing is cut.

    Examples
    --------
    >>> [line.rstrip() for line in text_table(["layer", "rank", "G"], [["0.q_proj", "256", "0.1*"], ["0.k_proj", "7", "0.25"]], 80)]
    ['', 'layer    rank    G', '0.q_proj  256  0.1*', '0.k_proj    7 0.25']
    """
    starred = [any(row[column].endswith("*") for row in cells) for column in range(len(head))]
    shown = [[f"{c} " if s and not c.endswith("*") else c for c, s in zip(row, starred, strict=True)] for row in [head, *cells]]
    widths = [max(len(row[column]) for row in shown) + 1 for column in range(len(head))]
    first = 1
    while first < len(head):
        stop, used = first, widths[0]
        while stop < len(head) and (stop == first or used + widths[stop] <= width):
            used += widths[stop]
            stop += 1
        yield ""
        for row in shown:
            yield (f"{row[0]:{widths[0] - 1}}" + "".join(f"{row[column]:>{widths[column]}}" for column in range(first, stop))).rstrip()
        first = stop


def compressai_curves(tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Curves of every run and method as CompressAI's tools read them: ``{"name", "description", "results": {"bpp": […], "sqnr_db": […]}}``.

    Rates are means over matrices of the total rate of the file, in bits per weight, and qualities means of the SQNR in dB, over the
    matrices that all methods of a run have with status ok at a target rate.
    """
    curves = []
    for run, table in tables.items():
        comparison = compared_rows(table, "sqnr_db")
        for method, rows in comparison.rows.groupby("method", sort=False):
            means = rows.groupby("target_bpw")[["total_bpw", "sqnr_db", "relative_distortion"]].mean().sort_values("total_bpw")
            counts = rows.groupby("target_bpw")["layer"].nunique()
            matrices = " to ".join(map(str, sorted({counts.min(), counts.max()})))
            model, note = ", ".join(dict.fromkeys(rows["model"])), f" ({comparison.note})" if comparison.note else ""
            curves.append(
                {
                    "name": str(method) if len(tables) == 1 else f"{run}: {method}",
                    "description": f"{method} on {matrices} matrices of {model}{note}: bpp is the total rate of the file in bits per "
                    "weight, sqnr_db −10 log₁₀(D/D₀), means over matrices",
                    "results": {
                        "bpp": means["total_bpw"].tolist(),
                        "sqnr_db": means["sqnr_db"].tolist(),
                        "relative_distortion": means["relative_distortion"].tolist(),
                    },
                }
            )
    return curves


#: Quality in a file of curves, the first that it has.
_QUALITIES = ("sqnr_db", "psnr-rgb", "psnr")


def read_compressai(path: Path) -> pd.DataFrame:
    """Curves from a JSON file of CompressAI's form, or a list of them, as rows of a result table with one layer called ``curve``.

    Raises
    ------
    UsageError
        If it cannot be read.
    CorruptFile
        If it is no such file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; expected a JSON file with rate–distortion curves") from error
    except ValueError as error:
        raise CorruptFile(f"{path}: not JSON: {error}") from error
    rows = []
    for number, curve in enumerate(value if isinstance(value, list) else [value]):
        results = curve.get("results") if isinstance(curve, dict) else None
        quality = next((name for name in _QUALITIES if isinstance(results, dict) and name in results), None)
        rates = results.get("bpp") if isinstance(results, dict) else None
        points = results[quality] if results and quality else None
        if not (isinstance(rates, list) and isinstance(points, list) and len(rates) == len(points) > 0 and _numbers([*rates, *points])):
            raise CorruptFile(
                f'{path}: curve {number}: expected {{"name": …, "results": {{"bpp": […], "sqnr_db": […]}}}} with as many numbers in '
                f"both, or one of {', '.join(_QUALITIES[1:])}"
            )
        name = str(curve.get("name", path.stem))
        shared = {"model": path.stem, "layer": "curve", "layer_type": "curve", "block": -1, "rows": 1, "columns": 1, "status": "ok"}
        for rate, point in zip(rates, points, strict=True):
            known = {"method": name, "rate_kind": "", "target_bpw": rate, "total_bpw": rate, "sqnr_db": point}
            rows.append({**shared, **known, "relative_distortion": 10 ** (-point / 10) if quality == "sqnr_db" else math.nan})
    return pd.DataFrame(rows).assign(rate_gap_total_bpw=np.nan, rate_gap_total_rowvar_bpw=np.nan)


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def to_compressai(tables: dict[str, pd.DataFrame]) -> str:
    """`compressai_curves` as JSON; one object where there is one curve."""
    curves = compressai_curves(tables)
    return json.dumps(curves[0] if len(curves) == 1 else curves, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


#: Name on the command line → writer of summaries.
FORMATS: dict[str, Callable[[Sequence[Summary]], str]] = {"csv": to_csv, "latex": to_latex, "markdown": to_markdown}
