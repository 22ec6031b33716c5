"""From what a decoder has to the layer that runs, and to Ŵ."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.formats import codec_of
from rdtools.records import EffectiveLayer, QuantizedWeight
from rdtools.records.stored import finished
from rdtools.transforms import rotate_back
from rdtools.transforms.basis_map import input_map_of_basis


def _values(weight: QuantizedWeight) -> Float64Array:
    """Decoded values of the active columns, their rows rotated back."""
    basis = weight.basis
    count = int(basis.active.sum())
    if count == 0:
        return np.zeros((basis.rows, 0))
    values = codec_of(weight.symbols).values(weight.symbols, count)[: basis.rows, :count]
    return values if basis.row_rotation is None else rotate_back(values.T, basis.row_rotation).T


def effective_layer(weight: QuantizedWeight) -> EffectiveLayer:
    """The decoded values behind the input map."""
    return EffectiveLayer(finished(_values(weight)), input_map_of_basis(weight.basis))


def reconstruct(weight: QuantizedWeight) -> Float64Array:
    """Ŵ, shape (m, n) float64."""
    return input_map_of_basis(weight.basis).pull_back(_values(weight))
