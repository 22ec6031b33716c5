"""Blank figures, axes, legends, means with bars, and files, the same for every figure; matplotlib is loaded when the first is drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdtools.errors import UsageError
from rdtools.files import atomic_path
from rdtools.report.rows import bound_note
from rdtools.report.style import FULL, RC, SAVE_METADATA, STYLES, Style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: ContextVar[Style | None] = ContextVar("style", default=None)
#: Formats of files of figures.
FORMATS = (*SAVE_METADATA, "pgf")


def new_figure(width: float, height: float) -> Figure:
    """A blank figure without a window, of this size in inches, `COLUMN` or `FULL` wide, or what the style of `styled` has in their place.

    It grows in height, too, and shrinks in width alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = _STYLE.get()
    factor = 1.0 if style is None else style.sized(width)
    figure = Figure(figsize=(factor * width, max(factor, 1.0) * height))
    FigureCanvasAgg(figure)
    return figure


def empty_figure(message: str) -> Figure:
    """A figure that says why nothing is drawn."""
    figure = new_figure(FULL, 1.2)
    figure.text(0.5, 0.5, textwrap.fill(message, 90), ha="center", va="center")
    return figure


def add_notes(figure: Figure, *notes: str) -> None:
    """Sentences above the panels, such as which layers were left out; those that are empty are not there."""
    if text := "\n".join(dict.fromkeys(filter(None, notes))):
        figure.suptitle(text, fontsize="small")


def note_bounds(figure: Figure, methods: Iterable[Any]) -> None:
    """Say above the panels which methods have another bound than the one that is drawn."""
    add_notes(figure, bound_note(methods))


def legend_entries(axes: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Handles and labels of all panels, each label once: what is missing in one panel may be drawn in another."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)


def add_legend(figure: Figure, columns: int, place: Any = "outside lower center") -> None:
    """One legend for all panels, beside them, in fewer columns where these are too wide for the figure."""
    canvas: Any = figure.canvas
    for count in range(columns, 0, -1):
        legend = figure.legend(*legend_entries(figure.axes), loc=place, ncols=count)
        if count == 1 or legend.get_window_extent(canvas.get_renderer()).width <= figure.bbox.width:
            return
        legend.remove()


def plain_number(x: float, pos: float = 0) -> str:
    """A tick without an exponent.

    Examples
    --------
    >>> [plain_number(x) for x in (1e-5, 0.25, 3.0, 1e6)]
    ['0.00001', '0.25', '3', '1000000']
    """
    return np.format_float_positional(float(f"{x:.6g}"), trim="-")


@cache
def _plain_logarithms() -> Any:
    from matplotlib.ticker import LogFormatter

    class PlainLogarithms(LogFormatter):
        """Numbers in full size, where matplotlib's own formatter has one."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain_number(x) if super().__call__(x, pos) else ""

    return PlainLogarithms


def log_axes(axis: Axes, sides: str = "xy", *, base: float = 10) -> None:
    """Logarithmic axes, ``x``, ``y`` or both, whose ticks are plain numbers in full size: exponents would be printed too small."""
    for side in sides:
        getattr(axis, f"set_{side}scale")("log", base=base)
        ticks = axis.xaxis if side == "x" else axis.yaxis
        ticks.set_major_formatter(plain_number)
        ticks.set_minor_formatter(_plain_logarithms()(base, minor_thresholds=(1.8, 0.4) if base == 10 else (0, 0)))


def draw_means(axis: Axes, values: pd.Series, by: pd.Series, *, order: list[str] | None = None, shift: float = 0.0, **look: Any) -> None:
    """Mean of each group as a marker, with a bar from min to max.

    Parameters
    ----------
    values, by : a value and the group of each row
    order : groups at 0, 1, …; without it groups are numbers, and stand there
    shift : by which marks are moved along the axis
    look : of the markers; ``linestyle`` joins them
    """
    groups = values.groupby(by)
    mean, low, high = groups.mean(), groups.min(), groups.max()
    if order is not None:
        mean, low, high = (part.reindex(order) for part in (mean, low, high))
    x = (np.arange(len(order)) if order is not None else mean.index.to_numpy(dtype=float)) + shift
    style = {"linestyle": "none", "elinewidth": 0.7, "capsize": 1.5, **look}
    axis.errorbar(x, mean, yerr=[mean - low, high - mean], **style)


@contextmanager
def styled(style: str | None = None) -> Iterator[None]:
    """Inside, figures are drawn and saved in a style of `STYLES`, or in that of the page."""
    import matplotlib

    settings: Any = {**RC, **(STYLES[style].rc if style else {})}
    token = _STYLE.set(STYLES[style] if style else None)
    try:
        with matplotlib.rc_context(settings):
            yield
    finally:
        _STYLE.reset(token)


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a format that is not known.

    Raises
    ------
    UsageError
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"format {name!r}, expected one of {', '.join(FORMATS)}")


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = tuple(SAVE_METADATA)) -> Path:
    """Write a file for each format, the same bytes for the same figure; returns the path of the first.

    Raises
    ------
    OutputError
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
    for kind, path in zip(formats, paths, strict=True):
        with atomic_path(path) as scratch:
            if kind == "pgf":
                from rdtools.report.figures.pgf import save_pgf

                save_pgf(figure, scratch, path.name)
            else:
                figure.savefig(scratch, format=kind, metadata=SAVE_METADATA[kind])
    return paths[0]
