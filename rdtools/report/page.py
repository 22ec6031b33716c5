"""The page: one HTML file that opens offline."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from rdtools._version import __version__
from rdtools.files import write_atomically
from rdtools.report import tables
from rdtools.report.paired import paired_table
from rdtools.report.rows import format_number, ok_rows
from rdtools.runs.store import Run
from rdtools.units import SCALAR_LOSS_BITS

#: File name of the page in a run directory.
PAGE = "index.html"


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    rows = [[format_number(v) for v in row] for row in frame.to_numpy(object)]
    return {"head": [str(c) for c in frame.columns], "rows": rows}


def _by_type(table: pd.DataFrame, *, target: float, value: str, digits: str) -> dict[str, Any]:
    means = tables.by_type(table, target=target, value=value)
    shown = means.map(lambda v: "–" if math.isnan(v) else format(v, digits))
    return _cells(shown.rename_axis("method").reset_index())


#: Least width of a figure on a narrow screen over that of its PNG: type of 9 points is then 12 pixels high, and the figure scrolls.
_LEAST_SCALE = 0.64


def _image(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    width = int.from_bytes(data[16:20], "big")  # of the first chunk of a PNG
    return {"data": base64.b64encode(data).decode(), "min_width": round(_LEAST_SCALE * width)}


def headline(table: pd.DataFrame) -> list[str]:
    """Sentences that state what was found, computed from the rows."""
    ok = ok_rows(table)
    sentences = []
    for target in sorted(ok["target_bpw"].unique()):
        means = tables.layer_means(ok[ok["target_bpw"] == target], "rate_gap_total_bpw").sort_values(tables.ALL)
        if len(means):
            best, last = means.iloc[0], means.iloc[-1]
            sentences.append(
                f"At {target:g} bpw, each method with its own coder, {means.index[0]} has the least rate over R(D), one variance: the "
                f"rate of its files less R(D) is {best[tables.ALL]:.3f} bpw as a mean over matrices, {best[tables.BY_WEIGHTS]:.3f} as one "
                f"over weights; {means.index[-1]} has the most, {last[tables.ALL]:.3f} and {last[tables.BY_WEIGHTS]:.3f}."
            )
    return sentences


def write_page(run: Run, table: pd.DataFrame, paired: pd.DataFrame, figures: dict[str, Path], *, command: str, seconds: float) -> Path:
    """Write ``index.html`` into the run directory; figures are embedded.

    Raises
    ------
    OutputError
    """
    environment = Environment(loader=PackageLoader("rdtools.report", "."), autoescape=True, undefined=StrictUndefined)
    targets = sorted(table["target_bpw"].unique())
    sections = [
        {
            "target": f"{target:g}",
            "gap": _by_type(table, target=target, value="rate_gap_total_bpw", digits=".3f"),
            "rowvar": _by_type(tables.knowing_rows(table), target=target, value="rate_gap_total_rowvar_bpw", digits=".3f"),
            "distortion": _by_type(table, target=target, value="relative_distortion", digits=".3g"),
        }
        for target in targets
    ]
    page = environment.get_template("page.html").render(
        title=f"Rate–distortion report: {run.model_name}",
        run=run.manifest,
        layers=table["layer"].nunique(),
        tokens=run.hessians[0].n_tokens,
        methods=list(dict.fromkeys(table["method"])),
        targets=[f"{t:g}" for t in targets],
        headline=headline(table),
        images={name: _image(path) for name, path in figures.items()},
        sections=sections,
        paired=_cells(paired_table(paired)),
        layer_head=tables.LAYER_HEAD,
        layer_table=_cells(tables.layer_table(table)),
        statuses=tables.status_counts(table),
        problems=_cells(tables.problems(table)),
        results=_cells(tables.result_table(table)),
        scalar_loss=f"{SCALAR_LOSS_BITS:.4f}",
        versions={**run.manifest.versions, "rdtools": __version__},
        command=command,
        seconds=f"{seconds:.0f}",
    )
    path = run.path / PAGE
    write_atomically(path, page.encode())
    return path
