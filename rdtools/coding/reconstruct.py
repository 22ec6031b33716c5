"""From what a decoder has to the layer that runs, and to Ŵ."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.formats import codec_of
from rdtools.records import EffectiveLayer, QuantizedWeight
from rdtools.records.stored import finished
from rdtools.transforms import rotate_back
from rdtools.transforms.basis_map import input_map_of_basis


def effective_layer(weight: QuantizedWeight) -> EffectiveLayer:
    """The decoded values, their rows rotated back, behind the input map."""
    basis = weight.basis
    input_map = input_map_of_basis(basis)
    active = int(basis.live.sum())
    if active == 0:
        return EffectiveLayer(np.zeros((basis.rows, 0)), input_map)
    values = codec_of(weight.codes).values(weight.codes, active)[: basis.rows, :active]
    if basis.row_rotation is not None:
        values = rotate_back(values.T, basis.row_rotation).T
    return EffectiveLayer(finished(values), input_map)


def reconstruct(weight: QuantizedWeight) -> Float64Array:
    """Ŵ, shape (m, n) float64."""
    layer = effective_layer(weight)
    matrix = layer.input_map.pull_back(layer.weight)
    return matrix.copy() if matrix is layer.weight else matrix
