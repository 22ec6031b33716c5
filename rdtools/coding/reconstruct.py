"""From what a decoder has to Ŵ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.formats import codec_of
from rdtools.records import Basis, QuantizedWeight
from rdtools.transforms import rotate_back

Float64Array = NDArray[np.float64]


def place(values: Float64Array, basis: Basis) -> Float64Array:
    """Ŵ of values: rotated back, scaled, with zeros in dead columns; the formula is that of `Basis`."""
    if basis.row_rotation is not None:
        values = rotate_back(values.T, basis.row_rotation).T
    if basis.rotation is not None:
        values = rotate_back(values, basis.rotation)
    if basis.column_scales is not None:
        values = values * basis.column_scales
    rebuilt = np.zeros((basis.rows, len(basis.live)))
    rebuilt[:, basis.live] = values
    return rebuilt


def reconstruct(weight: QuantizedWeight) -> Float64Array:
    """Ŵ, shape (m, n) float64."""
    basis = weight.basis
    live = int(basis.live.sum())
    if live == 0:
        return np.zeros(weight.shape)
    values = codec_of(weight.codes).values(weight.codes, live)
    return place(values[: basis.rows, :live], basis)
