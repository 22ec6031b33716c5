"""From what a decoder has to the layer that runs, and to Ŵ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from rdtools.arrays import Float64Array, Matrix, beside, contiguous, is_tensor, panels, set_columns, zeros
from rdtools.coding.formats import codec_of
from rdtools.coding.parts import coded_columns
from rdtools.records import EffectiveLayer, InputMap, QuantizedWeight
from rdtools.records.stored import finished
from rdtools.transforms import rotate_back
from rdtools.transforms.basis_map import input_map_of_basis

#: Numbers that are rotated in one go, 256 MB of them.
BLOCK_ENTRIES = 2**25


def _values(weight: QuantizedWeight) -> Float64Array:
    """Decoded values of the coded columns, their rows rotated back."""
    basis = weight.basis
    columns = coded_columns(basis, weight.parts)
    if columns == 0:
        return np.zeros((basis.rows, 0))
    values = codec_of(weight.symbols).values(weight.symbols, columns)[: basis.rows, :columns]
    if basis.row_rotation is not None:
        for some in panels(columns, basis.rows, BLOCK_ENTRIES):  # in place, because the columns do not depend on each other
            values[:, some] = rotate_back(values[:, some].T, basis.row_rotation).T
    return np.asarray(values)


def _sixteens(rows: int, columns: int, entries: int) -> Iterator[slice]:
    """Slices of rows as of `panels`, all but the last of a multiple of 16."""
    height = max(16, entries // max(1, columns) // 16 * 16)
    return (slice(first, min(first + height, rows)) for first in range(0, rows, height))


def _values_of_rows(weight: QuantizedWeight, rows: slice, entries: int) -> Float64Array:
    """`_values` of some rows; where rows are rotated, from so many entries of some columns after others."""
    basis, symbols = weight.basis, weight.symbols
    columns, part = coded_columns(basis, weight.parts), codec_of(weight.symbols).part_values
    assert part is not None  # `rows_of` asks before
    if columns == 0:
        return np.zeros((rows.stop - rows.start, 0))
    if basis.row_rotation is None:
        return np.asarray(part(symbols, columns, rows, slice(0, columns))[: rows.stop - rows.start, :columns])
    values = np.empty((rows.stop - rows.start, columns))
    for some in _sixteens(columns, basis.rows, entries // 4):  # which are there four times on the way
        decoded = part(symbols, columns, slice(0, basis.rows), some)[: basis.rows, : some.stop - some.start]
        values[:, some] = rotate_back(decoded.T, basis.row_rotation).T[rows]
    return values


def rows_of(weight: QuantizedWeight, entries: int, like: Matrix | None = None) -> Iterator[tuple[slice, Matrix]]:
    """Ŵ as `reconstruct` has it, so many entries of some rows after others, with memory for these and for three times as many.

    All of Ŵ is there at once on a device, and for symbols that can only be decoded together.

    Parameters
    ----------
    weight, like : as of `reconstruct`
    entries : of the rows that are decoded together, if 16 rows do not have more

    Yields
    ------
    rows, and Ŵ of these, which may be overwritten
    """
    blocks = _sixteens(weight.basis.rows, len(weight.basis.active), entries)
    if is_tensor(like) or codec_of(weight.symbols).part_values is None:
        decoded = reconstruct(weight, like)
        yield from ((rows, decoded[rows]) for rows in blocks)
        return
    input_map, low_rank = _input_map(weight), weight.parts.low_rank
    for rows in blocks:
        values = _values_of_rows(weight, rows, entries)
        if input_map.links:
            coded = values
            values = coded if coded.shape[1] == input_map.inputs else np.empty((len(coded), input_map.inputs))
            for some in _sixteens(len(coded), coded.shape[1], entries // 4):  # which a rotation needs several times
                values[some] = input_map.pull_back(coded[some])
        if low_rank is not None:
            values = values + low_rank.left[rows] @ low_rank.right.T
        yield rows, values


def _input_map(weight: QuantizedWeight) -> InputMap:
    of_basis = input_map_of_basis(weight.basis)
    return InputMap([*of_basis.links, *weight.parts.links], columns=of_basis.columns)


def effective_layer(weight: QuantizedWeight) -> EffectiveLayer:
    """The decoded values behind the input map, with what runs beside them."""
    parts = weight.parts
    return EffectiveLayer(finished(_values(weight)), _input_map(weight), parts.activation, parts.low_rank, parts.bias)


def _reconstruct_beside(weight: QuantizedWeight, like: Matrix) -> Matrix:
    """Ŵ of the basis alone, on the device of a tensor."""
    basis, symbols = weight.basis, cast(Any, weight.symbols)
    columns, codec = coded_columns(basis, weight.parts), codec_of(symbols)
    if columns == 0:
        return zeros(weight.shape, like)
    if codec.values_on_device:
        values = codec.values(replace(symbols, integers=beside(symbols.integers, like)), columns)
    else:
        values = beside(codec.values(symbols, columns), like)
    values = values[: basis.rows, :columns]
    if basis.row_rotation is not None:
        values = rotate_back(contiguous(values.T), basis.row_rotation).T
    if basis.rotation is not None:
        values = rotate_back(values, basis.rotation)
    if basis.column_scales is not None:
        values = values * beside(basis.column_scales, values)
    if columns == len(basis.active):
        return values
    pulled = zeros(weight.shape, like)
    set_columns(pulled, basis.active, values)
    return pulled


def reconstruct(weight: QuantizedWeight, like: Matrix | None = None) -> Matrix:
    """Ŵ, shape (m, n) float64; with ``U Vᵀ`` where there is a low-rank term, without rounding of activations, and without a bias.

    Takes memory for a block of rows beside it, and for the coded columns once more where they are not as many as the inputs.

    Parameters
    ----------
    weight : decoded, in main memory
    like : a tensor on the device where Ŵ is wanted and put together, with the sums of its kernels; None for main memory, where Ŵ has the
        same bits on every machine. What runs beside the weights is put together in main memory
    """
    if is_tensor(like):
        alone = weight.parts.low_rank is None and not weight.parts.links
        return _reconstruct_beside(weight, like) if alone else beside(reconstruct(weight), like)
    values, input_map = _values(weight), _input_map(weight)
    (m, coded), n = values.shape, input_map.inputs
    pulled = values if coded == n else np.zeros((m, n))
    for rows in panels(m, n, BLOCK_ENTRIES) if input_map.links else ():  # nor do the rows
        pulled[rows] = input_map.pull_back(values[rows])
    if weight.parts.low_rank is not None:
        pulled += weight.parts.low_rank.matrix
    return pulled
