"""Figures for notebooks: tables of `rdtools.compare`, runs, layers and verdicts drawn as matplotlib figures.

Each returns a `matplotlib.figure.Figure`: a notebook shows it, and ``figure.savefig("figure.pdf")`` keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.claims.tightness import READS as VERDICT_COLUMNS
from rdtools.compare.curves import theory_curves
from rdtools.errors import UsageError, WrongType
from rdtools.moments.layer import Layer
from rdtools.records import CURVE_COLUMNS
from rdtools.report.figures import draw_figure
from rdtools.report.figures.canvas import log_axes, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _shown(figure: Figure) -> Figure:
    """The figure as one that a notebook shows without matplotlib's own state."""
    from io import BytesIO

    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            image = BytesIO()
            self.savefig(image, format="png")
            return image.getvalue()

    figure.__class__ = NotebookFigure
    return figure


def _draw(name: str, table: Any, curves: pd.DataFrame) -> Figure:
    with styled():
        return _shown(draw_figure(name, {"results": table, "curves": curves}))


def _tables(source: Any, layers: Layer | Iterable[Layer]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and theory curves of a run, or a table with the curves of these layers, else with the points of R(D) that it holds itself."""
    if not isinstance(source, pd.DataFrame) and hasattr(source, "results"):
        return source.results, source.curves
    if not isinstance(source, pd.DataFrame):
        raise WrongType(f"plot: got {type(source).__name__}, expected a table of rdtools.compare, or a run with results")
    missing = [name for name in ("layer", "method", "target_bpw", "status", "rate_gap_total_bpw") if name not in source]
    if missing:
        raise UsageError(f"plot: no column {missing[0]!r}, expected a table of rdtools.compare, or run.results")
    several = [layers] if isinstance(layers, Layer) else list(layers)
    if several:
        rates = np.linspace(0.0, float(source["target_bpw"].max()) + 1.5, 60)
        return source, pd.DataFrame([row for layer in several for row in theory_curves(layer, rates)], columns=list(CURVE_COLUMNS))
    points = source.loc[source["status"] == "ok", ["layer", "rd_bound_rate_bpw", "distortion"]].dropna().sort_values("rd_bound_rate_bpw")
    points = points.rename(columns={"rd_bound_rate_bpw": "rate_bpw"}).assign(curve="rd_bound")
    return source, points[list(CURVE_COLUMNS)]


def rate_distortion(results: Any, layers: Layer | Iterable[Layer] = ()) -> Figure:
    """Distortion over total rate, measured, beside R(D) and predictions; one panel for each layer type.

    Parameters
    ----------
    results : a table of `rdtools.compare`, or a run with results
    layers : of the table, for all their bounds and predictions; without them R(D) is drawn through the points that the table has of it

    Raises
    ------
    WrongType, UsageError
    """
    return _draw("rate_distortion", *_tables(results, layers))


def gap(results: Any) -> Figure:
    """Total rate above R(D), one variance, by method and target rate: mean over layers, bars from min to max.

    Parameters
    ----------
    results : a table of `rdtools.compare`, or a run with results

    Raises
    ------
    WrongType, UsageError
    """
    return _draw("gap_to_rd", *_tables(results, ()))


def predicted(results: Any) -> Figure:
    """Measured over predicted distortion, by method and rate.

    Parameters
    ----------
    results : a table of `rdtools.compare`, or a run with results

    Raises
    ------
    WrongType, UsageError
    """
    return _draw("predicted_measured", *_tables(results, ()))


def spectrum(layers: Layer | Iterable[Layer]) -> Figure:
    """Eigenvalues of the Hessian and squares of its Cholesky diagonal, descending, each over their arithmetic mean.

    Parameters
    ----------
    layers : one, or several, whose colours say which is which

    Raises
    ------
    WrongType
    """
    several = [layers] if isinstance(layers, Layer) else list(layers) if isinstance(layers, Iterable) else []
    if not several or not all(isinstance(layer, Layer) for layer in several):
        raise WrongType(f"spectrum: got {type(layers).__name__}, expected a Layer or several of them")
    with styled():
        figure = new_figure(4.2, 3.0)
        axis = figure.subplots()
        for number, layer in enumerate(several):
            of = layer.spectrum
            if of.active == 0:
                continue
            ranks, scale = np.arange(1, of.active + 1), of.diagonal.mean()
            axis.plot(ranks[: len(of.eigenvalues)], of.eigenvalues / scale, color=f"C{number % 10}", label=f"{layer.key.name}: λ")
            axis.plot(ranks, np.sort(of.cholesky_diagonal**2)[::-1] / scale, "--", color=f"C{number % 10}", label=f"{layer.key.name}: ℓ²")
        log_axes(axis)
        axis.set(xlabel="index, descending", ylabel="λ and ℓ², over the mean of λ")
        figure.legend(loc="outside lower center", ncols=2)
        return _shown(figure)


def tightness(verdicts: pd.DataFrame) -> Figure:
    """Ratio of the two sides of every claim that is an inequality of positive sides, one mark for each layer; 1 is tight.

    Parameters
    ----------
    verdicts : of `rdtools.verify`

    Raises
    ------
    UsageError
    """
    missing = [name for name in VERDICT_COLUMNS if name not in getattr(verdicts, "columns", ())]
    if missing:
        raise UsageError(f"tightness: no column {missing[0]!r}, expected the table that rdtools.verify returns")
    with styled():
        return _shown(draw_figure("tightness", {"verdicts": verdicts}))
