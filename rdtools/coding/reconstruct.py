"""From what a decoder has to the layer that runs, and to Ŵ."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.formats import codec_of
from rdtools.coding.parts import coded_columns
from rdtools.records import EffectiveLayer, InputMap, QuantizedWeight
from rdtools.records.stored import finished
from rdtools.transforms import rotate_back
from rdtools.transforms.basis_map import input_map_of_basis


def _values(weight: QuantizedWeight) -> Float64Array:
    """Decoded values of the coded columns, their rows rotated back."""
    basis = weight.basis
    columns = coded_columns(basis, weight.parts)
    if columns == 0:
        return np.zeros((basis.rows, 0))
    values = codec_of(weight.codes).values(weight.codes, columns)[: basis.rows, :columns]
    return values if basis.row_rotation is None else rotate_back(values.T, basis.row_rotation).T


def _input_map(weight: QuantizedWeight) -> InputMap:
    of_basis = input_map_of_basis(weight.basis)
    return InputMap([*of_basis.links, *weight.parts.links], columns=of_basis.columns)


def effective_layer(weight: QuantizedWeight) -> EffectiveLayer:
    """The decoded values behind the input map, with what runs beside them."""
    parts = weight.parts
    return EffectiveLayer(finished(_values(weight)), _input_map(weight), parts.activation, parts.low_rank)


def reconstruct(weight: QuantizedWeight) -> Float64Array:
    """Ŵ, shape (m, n) float64; with ``U Vᵀ`` where there is a low-rank term, and without rounding of activations."""
    pulled = _input_map(weight).pull_back(_values(weight))
    return pulled if weight.parts.low_rank is None else pulled + weight.parts.low_rank.matrix
