"""Blank figures, legends and files, the same for every figure; matplotlib is loaded when the first figure is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdtools.files import atomic_path
from rdtools.report.style import SAVE_METADATA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """A blank figure of this size in inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def empty_figure(message: str) -> Figure:
    """A figure that says why nothing is drawn."""
    figure = new_figure(5, 1.5)
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def legend_entries(axes: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and labels of all panels, each label once: what is missing in one panel may be drawn in another."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)


def save_figure(figure: Figure, stem: Path) -> Path:
    """Write ``stem.png``, ``stem.pdf`` and ``stem.svg``, the same bytes for the same figure; returns the PNG's path.

    Raises
    ------
    OutputError
    """
    for kind, metadata in SAVE_METADATA.items():
        with atomic_path(stem.with_name(f"{stem.name}.{kind}")) as scratch:
            figure.savefig(scratch, format=kind, metadata=metadata)
    return stem.with_name(f"{stem.name}.png")
