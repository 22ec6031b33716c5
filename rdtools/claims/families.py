"""Synthetic layers on which every claim is checked without a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment, channel_scaled, haar_moment, power_law, spiked, two_level

_COLUMNS = 64
_ROWS = 256

#: Second moments by name; what is drawn comes from the generator.
FAMILIES: dict[str, Callable[[np.random.Generator], Float64Array]] = {
    "white": lambda generator: np.eye(_COLUMNS),
    "power law": lambda generator: haar_moment(power_law(_COLUMNS, 1.5), generator),
    "AR(1)": lambda generator: ar1_moment(_COLUMNS, 0.9),
    "spiked": lambda generator: haar_moment(spiked(_COLUMNS, 1e3), generator),
    "two-level": lambda generator: haar_moment(two_level(_COLUMNS, 1e-3), generator),
    "near-singular": lambda generator: haar_moment(np.geomspace(1.0, 1e-9, _COLUMNS), generator),
    "heterogeneous channels": lambda generator: channel_scaled(
        haar_moment(power_law(_COLUMNS, 0.5), generator), np.exp(1.5 * generator.standard_normal(_COLUMNS))
    ),
    "axes": lambda generator: np.diag(power_law(_COLUMNS, 1.0)),
    "rank-deficient": lambda generator: haar_moment(np.where(np.arange(_COLUMNS) < _COLUMNS // 4, 1.0, 0.0), generator),
    "one column": lambda generator: np.full((1, 1), 2.0),
}


def synthetic_layers(*, seed: int = 0) -> list[Layer]:
    """One layer of each family, with iid normal weights."""
    layers = []
    for index, (name, moment) in enumerate(FAMILIES.items()):
        generator = np.random.default_rng([seed, index])
        H = moment(generator)
        layers.append(Layer.of(0.02 * generator.standard_normal((_ROWS, len(H))), H, name=name))
    return layers
