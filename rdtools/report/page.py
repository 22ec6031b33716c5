"""The page: one HTML file that opens offline."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rdtools._version import __version__
from rdtools.files import sha256_of_file, write_atomically
from rdtools.report import glossary, tables
from rdtools.report.allocations_table import ALLOCATIONS_HEAD
from rdtools.report.claims_table import Verdicts, claims_summary, verdict_columns
from rdtools.report.figures import CAPTIONS
from rdtools.report.foreign import FOREIGN_HEAD, foreign_by_type
from rdtools.report.inline_svg import inline_figure
from rdtools.report.layer_data import layer_drawings
from rdtools.report.packed import PackedColumn, pack
from rdtools.report.paired import paired_table
from rdtools.report.provenance import code_commit
from rdtools.report.row_data import layer_columns, printed_means, row_columns, short_names
from rdtools.report.rows import compared_rows, format_number
from rdtools.report.style import method_looks
from rdtools.runs.results import CSV, PARQUET
from rdtools.runs.store import Run
from rdtools.units import SCALAR_LOSS_BITS

#: File name of the page in a run directory.
PAGE = "index.html"
#: Rows of the two long tables that are printed; of more, the print names the files that have them.
PRINTED_ROWS = 3000
#: The target rate, in bits per weight, whose table stands first; that nearest to it, if there is none.
_FIRST_TARGET = 3.0


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    rows = [[format_number(v) for v in row] for row in frame.to_numpy(object)]
    return {"head": [str(c) for c in frame.columns], "rows": rows}


def _by_type(table: pd.DataFrame, *, target: float, value: str, digits: str) -> dict[str, Any]:
    means = tables.by_type(table, target=target, value=value)
    shown = means.map(lambda v: "–" if math.isnan(v) else format(v, digits))
    return _cells(shown.rename_axis("method").reset_index())


def _gaps(table: pd.DataFrame, target: float) -> dict[str, Any]:
    """Mean gaps by method and layer type: each cell's text, its share of the largest, and whether it is the least of its column."""
    means = tables.by_type(table, target=target, value="rate_gap_total_bpw")
    largest = float(np.nanmax(means.to_numpy(), initial=0.0))
    rows = []
    for method, row in means.iterrows():
        cells = [
            {
                "text": "–" if math.isnan(v) else f"{v:.3f}",
                "share": 0 if math.isnan(v) or not largest > 0 else round(max(v, 0.0) / largest, 3),
                "least": bool(v == means[kind].min()),
            }
            for kind, v in row.items()
        ]
        rows.append({"method": method, "cells": cells})
    return {"head": [str(kind).removesuffix("_proj") for kind in means.columns], "rows": rows}


def headline(table: pd.DataFrame) -> list[str]:
    """Sentences that state what was found, computed from the rows."""
    ok = compared_rows(table, "rate_gap_total_bpw").rows
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


def _sections(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Tables by layer type, one section for each target; the one that is shown first is first."""
    targets = sorted(table["target_bpw"].unique(), key=lambda target: (abs(target - _FIRST_TARGET), target))
    first = targets[:1]
    return [
        {
            "target": f"{target:g}",
            "note": tables.means_note(table, target) + tables.bound_note(table["method"].unique()),
            "gap": _gaps(table, target),
            "rowvar": _by_type(tables.knowing_rows(table), target=target, value="rate_gap_total_rowvar_bpw", digits=".3f"),
            "distortion": _by_type(table, target=target, value="relative_distortion", digits=".3g"),
        }
        for target in (*first, *sorted(set(targets) - set(first)))
    ]


def _asset(name: str) -> Markup:
    """A file of the package as part of the page; it is this project's own, or vendored beside its licence."""
    return Markup(files("rdtools.report").joinpath(name).read_text())


def _script_json(value: Any) -> Markup:
    """JSON that may stand in a script: no text in it can end that."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _distinct(table: pd.DataFrame, name: str) -> list[str]:
    return [str(value) for value in dict.fromkeys(table[name].dropna())] if name in table else []


def _figures(environment: Environment, figures: dict[str, Path], facts: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for name, path in figures.items():
        caption = CAPTIONS[name]
        drawing, width = inline_figure(path, caption.alt)
        text = Markup(environment.from_string(caption.text).render(facts))
        shown.append({"name": name, "title": caption.title, "drawing": Markup(drawing), "width": width, "text": text})
    return shown


def write_page(
    run: Run,
    table: pd.DataFrame,
    curves: pd.DataFrame,
    paired: pd.DataFrame,
    figures: dict[str, Path],
    *,
    verdicts: Verdicts,
    command: str,
    foreign: pd.DataFrame | None = None,
    allocations: pd.DataFrame | None = None,
) -> Path:
    """Write ``index.html`` into the run directory: the same bytes for the same run.

    Parameters
    ----------
    run : whose manifest and spectra are read
    table, curves, paired : of the run
    figures : PNGs by name, each with its SVG beside it
    verdicts : of ``rdtools verify`` on the run
    command : that made the run
    foreign : rows of files of others, None where none were measured
    allocations : `allocations_table` of the run's plans, None where there are none

    Raises
    ------
    OutputError
    """
    environment = Environment(loader=PackageLoader("rdtools.report", "."), autoescape=True, undefined=StrictUndefined)
    layers = list(dict.fromkeys(table["layer"]))
    methods = list(dict.fromkeys(table["method"]))
    rows, left_out = row_columns(table)
    own_layers = layer_columns(table)
    checked = verdicts.table[verdicts.table["subject"].isin(layers)]
    packed: dict[str, list[PackedColumn]] = {"rows": rows, "layers": own_layers, **layer_drawings(run, table, curves)}
    if len(checked):
        packed["claims"] = verdict_columns(checked, layers)
    facts = {"run": run.manifest, "layers": len(layers), "scalar_loss": f"{SCALAR_LOSS_BITS:.4f}"}
    start, _ = short_names(layers)
    looks = {
        method: {"color": look["color"], "hollow": look["markerfacecolor"] == "white"} for method, look in method_looks(methods).items()
    }
    results = run.path / PARQUET
    page = environment.get_template("page.html").render(
        facts,
        title=f"Rate–distortion report: {run.model_name}",
        name=run.model_name,
        tokens=run.hessians[0].n_tokens,
        methods=methods,
        targets=[f"{t:g}" for t in sorted(table["target_bpw"].unique())],
        row_count=len(table),
        printed_rows=PRINTED_ROWS,
        headline=headline(table),
        figures=_figures(environment, figures, facts),
        sections=_sections(table),
        method_table=_cells(glossary.method_table(table)),
        paired=_cells(paired_table(paired)),
        foreign=_cells(pd.DataFrame() if foreign is None else foreign_by_type(foreign)),
        foreign_head=FOREIGN_HEAD,
        allocations=_cells(pd.DataFrame() if allocations is None else allocations),
        allocations_head=ALLOCATIONS_HEAD,
        layer_head=tables.LAYER_HEAD,
        layer_types=_cells(printed_means(tables.layer_types(table))),
        statuses=tables.status_counts(table),
        problems=_cells(tables.problem_groups(table)),
        claims=_cells(claims_summary(checked)) if len(checked) else None,
        no_verdicts=verdicts.reason,
        row_heads=rows,
        layer_heads=own_layers,
        left_out=left_out,
        bounds=glossary.bounds(),
        terms=glossary.TERMS,
        rate_kinds=glossary.RATE_KINDS,
        versions=run.manifest.versions,
        version=__version__,
        row_versions={name.removesuffix("_version"): _distinct(table, name) for name in table.columns if name.endswith("_version")},
        devices={name: _distinct(table, name) for name in ("backend", "device")},
        commit=code_commit(),
        results_hash=sha256_of_file(results) if results.is_file() else "",
        result_files=(PARQUET, CSV),
        seconds=f"{table['wall_s'].sum():.0f}",
        command=command,
        style=_asset("page.css") + _asset("vendor/uPlot.min.css"),
        scripts=[_asset(name) for name in ("vendor/uPlot.iife.min.js", "table.js", "layer.js")],
        licence=_asset("vendor/uPlot.LICENSE"),
        settings=_script_json(
            {
                "start": start,
                "printed": PRINTED_ROWS,
                "looks": looks,
                "curves": glossary.curve_labels(),
                "files": [PARQUET, CSV],
            }
        ),
        block=pack(packed),
    )
    path = run.path / PAGE
    write_atomically(path, page.encode())
    return path
