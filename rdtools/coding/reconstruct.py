"""From what a decoder has to Ŵ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.models import column_levels
from rdtools.normal import lmmse_gain
from rdtools.ops import rvq_decode, trellis_decode, trellis_values
from rdtools.records import Basis, LatticeCodes, QuantizedWeight, ScalarCodes, TrellisCodes
from rdtools.transforms import rotate_back

Float64Array = NDArray[np.float64]

#: Rows and columns of the tile that a trellis path runs through.
TILE = 16


def reconstruction_gains(column_steps: Float64Array, gain_std: float) -> Float64Array:
    """Gain of each column: ``lmmse_gain(step / gain_std)``, or 1 where `gain_std` is 0."""
    return lmmse_gain(column_steps / gain_std) if gain_std > 0 else np.ones_like(column_steps)


def spread_groups(values: NDArray[Any], group_size: int, columns: int) -> Float64Array:
    """(m, r) from (m, G): the value of each column's group."""
    group = np.zeros(columns, dtype=np.intp) if group_size == 0 else np.arange(columns) // group_size
    return np.asarray(values[:, group], dtype=np.float64)


def _scalar_values(codes: ScalarCodes) -> Float64Array:
    steps = codes.column_steps
    scales = reconstruction_gains(steps, codes.gain_std) * steps
    if codes.column_gains is not None:
        scales = scales * codes.column_gains
    values: Float64Array = codes.integers + np.float64(codes.offset)
    if codes.model.kind == "fixed":
        scales = np.where(column_levels(codes) > 1, scales, 0.0)  # a single level is at zero
    if codes.zero_points is not None:
        values -= spread_groups(codes.zero_points, codes.group_size, values.shape[1])
    values *= scales
    if codes.row_scales is not None:
        values *= spread_groups(codes.row_scales, codes.group_size, values.shape[1])
    return values


def tiles_to_matrix(tiles: Float64Array, tile_columns: int) -> Float64Array:
    """(16 p, 16 q) matrix from (p q, 256) tiles in order of rows of tiles."""
    grid = tiles.reshape(-1, tile_columns, TILE, TILE)
    return grid.transpose(0, 2, 1, 3).reshape(len(grid) * TILE, tile_columns * TILE)


def _values(codes: ScalarCodes | LatticeCodes | TrellisCodes, columns: int) -> Float64Array:
    if isinstance(codes, ScalarCodes):
        return _scalar_values(codes)
    if isinstance(codes, LatticeCodes):
        vectors = rvq_decode(tuple(words.ravel() for words in codes.words), codes.bits, codes.residual_scale or None)
        return codes.scale * vectors.reshape(len(codes.words[0]), -1)
    table = trellis_values(codes.code, codes.state_bits)
    tiles = trellis_decode(codes.paths, table, codes.bits, TILE * TILE)
    return codes.scale * tiles_to_matrix(tiles, -(-columns // TILE))


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
    return place(_values(weight.codes, live)[: basis.rows, :live], basis)
