"""Figures, one per file: each draws the tables that it names; none computes science."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures import (
    ablation,
    allocation,
    bench,
    bias,
    bias_rows,
    bounds,
    calibration,
    coders,
    column_rates,
    critical_channels,
    default_model_loss,
    equal_footing,
    gap_depth,
    gap_to_rd,
    gptq_watersic_gap,
    head,
    heldout,
    incoherence,
    low_rank,
    low_rate,
    orders,
    pooled,
    predicted_measured,
    proxy_loss,
    rate_distortion,
    rate_kinds,
    rate_split,
    reassembly,
    spectra,
    tightness,
    trellis_frontier,
    trellis_stacked,
    trellis_states,
    whole_model,
)
from rdtools.report.figures.canvas import legend_entries as legend_entries
from rdtools.report.figures.canvas import save_figure as save_figure
from rdtools.report.figures.canvas import styled
from rdtools.report.rows import in_method_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of every report: the first stands beside the first table of the page, the others in this order in sections of their own.
_PAGE = (gap_to_rd, rate_distortion, gptq_watersic_gap, predicted_measured, heldout)
#: In the order of the gallery: of results and verdicts of a run, and of rows that a module of `rdtools.analysis` makes.
_OTHERS = (
    *(gap_depth, rate_kinds, pooled, tightness, spectra, column_rates, incoherence, proxy_loss, calibration, rate_split),
    *(trellis_frontier, low_rate, orders, bounds, coders, trellis_states, trellis_stacked, equal_footing, ablation, low_rank, reassembly),
    *(critical_channels, whole_model, allocation, bias, bias_rows, head),
    *(bench, default_model_loss),
)


def _by_name(modules: tuple[Any, ...]) -> dict[str, Any]:
    return {module.__name__.rpartition(".")[2]: module for module in modules}


#: Name → module with ``TABLES``, the tables that it draws, ``draw``, which takes them in this order, and ``CAPTION``.
MODULES = _by_name((*_PAGE, *_OTHERS))
#: Names of the figures of every report.
PAGE = tuple(_by_name(_PAGE))
#: Name → words around a figure of the page.
CAPTIONS: dict[str, Caption] = {name: MODULES[name].CAPTION for name in PAGE}
#: Columns of the results that figures read.
READS = tuple(dict.fromkeys(name for part in MODULES.values() if part.TABLES[0] == "results" for name in part.READS))


def draw_figure(name: str, tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A figure by name, of the tables that it draws, by name: ``results`` and ``curves`` of a run, or its own rows.

    Examples
    --------
    >>> import pandas as pd
    >>> draw_figure("gap_to_rd", {"results": pd.DataFrame({"method": [], "status": []})}).texts[0].get_text()
    'no row with status ok: nothing to draw'
    """
    if "results" in tables:
        tables = {**tables, "results": in_method_order(tables["results"])}
    figure: Figure = MODULES[name].draw(*(tables[table] for table in MODULES[name].TABLES))
    return figure


def write_figures(table: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Draw every figure of the page and write it as PNG, PDF and SVG; returns the PNGs by name.

    Raises
    ------
    OutputError
    """
    tables = {"results": table, "curves": curves}
    with styled():
        return {name: save_figure(draw_figure(name, tables), folder / name) for name in PAGE}
