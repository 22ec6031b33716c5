"""Eigenvalues and squared Cholesky diagonal of the Hessians of the middle block of a run, with water levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.one_block import layers_of_middle_block

from rdtools.moments.layer import Layer
from rdtools.report.figures.spectra import draw as draw
from rdtools.theory.waterfilling import components, distortion_rate

RATES = (2.0, 3.0, 4.0)
#: Points of a curve that are kept.
POINTS = 120


def curves(layer: Layer, types: str) -> pd.DataFrame:
    """Points of λ and ℓ², descending, and the water levels, all over the mean of λ."""
    spectrum = layer.spectrum
    scale, count = spectrum.eigenvalues.mean(), spectrum.active
    kept = np.unique(np.geomspace(1, count, POINTS).astype(int))
    values = {"lambda": spectrum.eigenvalues, "ell_squared": np.sort(spectrum.cholesky_diagonal**2)[::-1]}
    known = components(spectrum.eigenvalues)
    level = {f"water_level_{rate:g}": np.array([distortion_rate(rate, known).water_level]) for rate in RATES}
    parts = [(name, kept, full[kept - 1]) for name, full in values.items()] + [(name, np.array([0]), full) for name, full in level.items()]
    return pd.concat(
        [
            pd.DataFrame({"types": types, "layer": layer.key.name, "columns": count, "curve": name, "index": index, "value": full / scale})
            for name, index, full in parts
        ]
    )


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of each Hessian of the middle block of the first run; types that share one are named together."""
    shared: dict[int, list[str]] = {}
    layers = layers_of_middle_block(folders[0])
    for kind, layer in layers.items():
        shared.setdefault(id(layer.hessian), []).append(kind)
    return pd.concat(
        [curves(layers[kinds[0]], ", ".join(kind.removesuffix("_proj") for kind in kinds)) for kinds in shared.values()], ignore_index=True
    )
