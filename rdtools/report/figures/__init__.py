"""Figures of a report, one per file: each takes rows and draws; none computes science."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.captions import Caption
from rdtools.report.figures import gap_to_rd, gptq_watersic_gap, heldout, predicted_measured, rate_distortion
from rdtools.report.figures.canvas import legend_entries as legend_entries
from rdtools.report.figures.canvas import save_figure as save_figure
from rdtools.report.style import RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The first stands beside the first table of the page, the others in this order in sections of their own.
_MODULES = (gap_to_rd, rate_distortion, gptq_watersic_gap, predicted_measured, heldout)
#: File name → drawing of the table and the theory curves.
FIGURES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Figure]] = {part.__name__.rpartition(".")[2]: part.draw for part in _MODULES}
#: File name → words around the figure.
CAPTIONS: dict[str, Caption] = {part.__name__.rpartition(".")[2]: part.CAPTION for part in _MODULES}
#: Columns of the results that figures read.
READS = tuple(dict.fromkeys(name for part in _MODULES for name in part.READS))


def write_figures(table: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Draw every figure and write it as PNG, PDF and SVG; returns the PNGs by name.

    Raises
    ------
    OutputError
    """
    import matplotlib

    with matplotlib.rc_context(RC):
        return {name: save_figure(draw(table, curves), folder / name) for name, draw in FIGURES.items()}
