"""Figures as commands of the LaTeX package pgf, which any engine typesets in the fonts of the document."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_pgf import FigureCanvasPgf, RendererPgf
from matplotlib.figure import Figure

from rdtools.report.latex import latex_text

#: Alignment → box of no width, and the part of the text on the left of it: the point that must stay, in wider letters too.
_ALIGNED = {"left": ("", 0.0, ""), "center": ("\\hbox to 0pt{\\hss ", 0.5, "\\hss}"), "right": ("\\llap{", 1.0, "}")}


class _Renderer(RendererPgf):  # type: ignore[misc]  # matplotlib's backends are not typed
    """Matplotlib's own, but that text is plain text, in which nothing is a command, and is as long as in the fonts of the style.

    So a file is the same whichever TeX engine is installed, or none.
    """

    def __init__(self, figure: Figure, file: IO[str] | None) -> None:
        super().__init__(figure, file)
        self._measure = RendererAgg(*figure.bbox.size, figure.dpi)

    def draw_text(self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None) -> None:
        width, _, _ = self.get_text_width_height_descent(s, prop, ismath)
        before, part, after = _ALIGNED[mtext.get_horizontalalignment() if mtext else "left"]
        radians, along = np.deg2rad(angle), part * width
        super().draw_text(gc, x + along * np.cos(radians), y + along * np.sin(radians), before + latex_text(s) + after, prop, angle)

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        size: tuple[float, float, float] = self._measure.get_text_width_height_descent(s, prop, ismath)
        return size


class _Canvas(FigureCanvasPgf):  # type: ignore[misc]
    def get_renderer(self) -> _Renderer:
        return _Renderer(self.figure, None)


def save_pgf(figure: Figure, path: Path, name: str) -> None:
    """Write a figure that has no raster images, in one file of this name in a document.

    Raises
    ------
    OSError
    """
    canvas = figure.canvas
    width, height = figure.get_size_inches()
    try:
        _Canvas(figure)
        with path.open("w", encoding="utf-8") as file:
            file.write(f"% Made by rdtools; needs \\usepackage{{pgf}}, and in the document \\input{{{name}}}\n")
            file.write("\\begingroup\n\\makeatletter\n\\begin{pgfpicture}\n")
            file.write(f"\\pgfpathrectangle{{\\pgfpointorigin}}{{\\pgfqpoint{{{width:f}in}}{{{height:f}in}}}}\n")
            file.write("\\pgfusepath{use as bounding box, clip}\n")
            figure.draw(_Renderer(figure, file))
            file.write("\\end{pgfpicture}\n\\makeatother\n\\endgroup\n")
    finally:
        figure.set_canvas(canvas)
