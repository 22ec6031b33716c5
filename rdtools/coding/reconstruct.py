"""From what a decoder has to the layer that runs, and to Ŵ."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.formats import codec_of
from rdtools.linalg import panels
from rdtools.records import EffectiveLayer, QuantizedWeight
from rdtools.records.stored import finished
from rdtools.transforms import rotate_back
from rdtools.transforms.basis_map import input_map_of_basis

#: Numbers that are rotated in one go, 256 MB of them.
BLOCK_ENTRIES = 2**25


def _values(weight: QuantizedWeight) -> Float64Array:
    """Decoded values of the active columns, their rows rotated back."""
    basis = weight.basis
    active = int(basis.live.sum())
    if active == 0:
        return np.zeros((basis.rows, 0))
    values = codec_of(weight.codes).values(weight.codes, active)[: basis.rows, :active]
    if basis.row_rotation is not None:
        for columns in panels(active, basis.rows, BLOCK_ENTRIES):  # in place, because the columns do not depend on each other
            values[:, columns] = rotate_back(values[:, columns].T, basis.row_rotation).T
    return values


def effective_layer(weight: QuantizedWeight) -> EffectiveLayer:
    """The decoded values behind the input map."""
    return EffectiveLayer(finished(_values(weight)), input_map_of_basis(weight.basis))


def reconstruct(weight: QuantizedWeight) -> Float64Array:
    """Ŵ, shape (m, n) float64; takes memory for a block of rows beside it, and for the active columns once more where some are not."""
    values, input_map = _values(weight), input_map_of_basis(weight.basis)
    (m, active), n = values.shape, input_map.inputs
    pulled = values if active == n else np.zeros((m, n))
    for rows in panels(m, n, BLOCK_ENTRIES) if input_map.links else ():  # nor do the rows
        pulled[rows] = input_map.pull_back(values[rows])
    return pulled
