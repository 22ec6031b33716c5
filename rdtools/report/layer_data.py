"""Curves and spectra of every layer as packed columns, thinned to what a drawing needs; no number in them is printed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.records import Spectrum
from rdtools.report.decimals import Decimals
from rdtools.report.packed import PackedColumn, number_column, text_column
from rdtools.report.rows import format_number
from rdtools.runs.spectra import read_spectrum
from rdtools.runs.store import Run
from rdtools.theory.waterfilling import components, distortion_rate

#: Points of a curve, at most: so many for runs of few layers, fewer for those of many.
_POINTS, _FEW_POINTS, _MANY_LAYERS = 40, 14, 500
#: Points of a spectrum, at most.
_RANKS = 48
_RATE, _DB, _LOG = Decimals(3), Decimals(2), Decimals(3)
Series = tuple[int, str, NDArray[np.float64], NDArray[np.float64]]


def _thinned(length: int, most: int) -> NDArray[np.intp]:
    """Indices of `most` points of a curve, the first and the last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.intp))


def _ranks(length: int) -> NDArray[np.intp]:
    """Indices of a spectrum, half of them evenly spaced and half by their logarithms."""
    logarithmic = np.geomspace(1, length, _RANKS // 2).round().astype(np.intp) - 1
    return np.union1d(logarithmic, _thinned(length, _RANKS // 2))


def _curves(table: pd.DataFrame, curves: pd.DataFrame) -> Iterator[Series]:
    """(layer, curve, rate, SQNR in dB); layers without a measured row have no D₀ to compare with, and no curve."""
    layers = list(dict.fromkeys(table["layer"]))
    measured = table[(table["distortion"] > 0) & (table["relative_distortion"] > 0)].drop_duplicates("layer").set_index("layer")
    energy = (measured["distortion"] / measured["relative_distortion"]).to_dict()
    index_of = {layer: index for index, layer in enumerate(layers) if layer in energy}
    most = _POINTS if len(layers) <= _MANY_LAYERS else _FEW_POINTS
    numbers = curves[["rate_bpw", "distortion"]].astype(np.float64)  # also of a table without rows
    drawn = curves[np.isfinite(numbers["rate_bpw"]) & (numbers["distortion"] > 0) & curves["layer"].isin(index_of)]
    layer, curve = drawn["layer"].to_numpy(object), drawn["curve"].to_numpy(object)
    rates, distortions = drawn["rate_bpw"].to_numpy(), drawn["distortion"].to_numpy()
    starts = np.flatnonzero((layer[1:] != layer[:-1]) | (curve[1:] != curve[:-1])) + 1
    for start, end in itertools.pairwise(dict.fromkeys([0, *starts, len(drawn)])):  # points of a curve are neighbours
        thinned = start + _thinned(end - start, most)
        yield index_of[layer[start]], str(curve[start]), rates[thinned], -10 * np.log10(distortions[thinned] / energy[layer[start]])


def _spectra(spectra: Sequence[Spectrum | None]) -> Iterator[Series]:
    """(Hessian, kind, rank from 1 on, log₁₀ of the value), descending; zeros are left out."""
    for index, spectrum in enumerate(spectra):
        if spectrum is not None:
            for kind, values in (("eigenvalues of H", spectrum.eigenvalues), ("ℓ²", spectrum.cholesky_diagonal**2)):
                positive: Float64Array = np.sort(values[values > 0])[::-1]
                if len(positive):
                    ranks = _ranks(len(positive))
                    yield index, kind, np.asarray(ranks + 1.0, np.float64), np.log10(positive[ranks])


def _pack_series(name: str, series: Sequence[Series], x: Decimals, y: Decimals) -> dict[str, list[PackedColumn]]:
    """Two tables: a row for each series, with its number of points, and a row for each point."""
    empty = np.empty(0)
    return {
        name: [
            number_column("subject", [s[0] for s in series], Decimals(0)),
            text_column("kind", [s[1] for s in series], values=list(dict.fromkeys(s[1] for s in series))),
            number_column("points", [len(s[2]) for s in series], Decimals(0)),
        ],
        f"{name}_points": [
            number_column("x", np.concatenate([empty, *(s[2] for s in series)]), x, delta=True),
            number_column("y", np.concatenate([empty, *(s[3] for s in series)]), y, delta=True),
        ],
    }


def _water_levels(spectra: Sequence[Spectrum | None], targets: Sequence[float]) -> list[PackedColumn]:
    """The eigenvalue from which on a direction gets bits at each target, by reverse waterfilling for i.i.d. Gaussian weights."""
    levels_by_target = []
    for index, spectrum in enumerate(spectra):
        if spectrum is not None and spectrum.rank and spectrum.has_eigenvalues:
            levels = distortion_rate(np.asarray(targets), components(np.maximum(spectrum.eigenvalues, 0.0))).water_level
            levels_by_target += [(index, format_number(t), np.log10(level)) for t, level in zip(targets, levels, strict=True) if level > 0]
    return [
        number_column("subject", [f[0] for f in levels_by_target], Decimals(0)),
        text_column("target", [f[1] for f in levels_by_target], values=[format_number(t) for t in targets]),
        number_column("level", [f[2] for f in levels_by_target], _LOG),
    ]


def layer_drawings(run: Run, table: pd.DataFrame, curves: pd.DataFrame) -> dict[str, list[PackedColumn]]:
    """Tables of the curves of each layer, of the spectra of each Hessian, and which layer has which Hessian."""
    number = {entry.name: entry.hessian for entry in run.layers}
    layer_numbers = [number.get(layer, -1) for layer in dict.fromkeys(table["layer"])]
    used = sorted({index for index in layer_numbers if index >= 0})
    spectra = [read_spectrum(run.path, index, hessian=run.hessians[index].sha256) for index in used]
    index_of = {index: i for i, index in enumerate(used)}
    return {
        "hessian_of_layer": [number_column("hessian", [index_of.get(index, -1) for index in layer_numbers], Decimals(0))],
        **_pack_series("curves", list(_curves(table, curves)), _RATE, _DB),
        **_pack_series("spectra", list(_spectra(spectra)), Decimals(0), _LOG),
        "water_levels": _water_levels(spectra, sorted(table["target_bpw"].unique())),
    }
