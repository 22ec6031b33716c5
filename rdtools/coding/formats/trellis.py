"""Paths through a trellis, of a fixed number of bits per weight, stored as they are.

Layout::

    code, state bits, bits, scale                         3×u8, f32
    tiles, CRC-32 of the payload                          2×u32
    payload: a path for each tile                         32 × bits × u8
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import format_v2 as fmt
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.fields import Reader, packed
from rdtools.ops import trellis_decode, trellis_values
from rdtools.records import TrellisPaths

#: Rows and columns of the tile that a trellis path runs through.
TILE = fmt.TILE


def encode(symbols: TrellisPaths) -> tuple[bytes, bytes]:
    """Side information and payload."""
    payload = symbols.paths.tobytes()
    code_tag = fmt.TRELLIS_CODES.index(symbols.code)
    return packed(
        fmt.TRELLIS_HEAD, code_tag, symbols.state_bits, symbols.bits, symbols.scale, len(symbols.paths), zlib.crc32(payload)
    ), payload


def decode(side: Reader, payload: Reader, rows: int, columns: int, _: Map) -> TrellisPaths:
    """Read what `encode` writes, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    code_tag, state_bits, bits, scale, tiles, checksum = fmt.TRELLIS_HEAD.unpack(side.take(fmt.TRELLIS_HEAD.size))
    code = side.choice("trellis code", fmt.TRELLIS_CODES, code_tag)
    expected = -(-rows // fmt.TILE) * -(-columns // fmt.TILE)
    if tiles != expected:
        raise side.refusal(f"{tiles} tiles, expected {expected} of {fmt.TILE} x {fmt.TILE} for {rows} rows and {columns} columns")
    width = fmt.TILE * fmt.TILE * bits // 8
    paths = payload.checked(tiles * width, checksum).bytes_array(tiles, width)
    return side.build(TrellisPaths, paths, code, state_bits, bits, scale)


def tiles_to_matrix(tiles: Float64Array, tile_columns: int) -> Float64Array:
    """(16 p, 16 q) matrix from (p q, 256) tiles in order of rows of tiles."""
    grid = tiles.reshape(-1, tile_columns, fmt.TILE, fmt.TILE)
    return grid.transpose(0, 2, 1, 3).reshape(len(grid) * fmt.TILE, tile_columns * fmt.TILE)


def values(symbols: TrellisPaths, columns: int) -> Float64Array:
    """(16 p, 16 q) the numbers that paths stand for, from the number of columns r, q = ⌈r/16⌉."""
    table, across, size = trellis_values(symbols.code, symbols.state_bits), -(-columns // fmt.TILE), fmt.TILE * fmt.TILE
    down = len(symbols.paths) // max(across, 1)
    matrix = np.empty((fmt.TILE * down, fmt.TILE * across))
    for row in range(down):
        tiles = trellis_decode(symbols.paths[row * across : (row + 1) * across], table, symbols.bits, size)
        matrix[fmt.TILE * row : fmt.TILE * (row + 1)] = tiles_to_matrix(tiles, across)
    matrix *= symbols.scale
    return matrix


def part_values(symbols: TrellisPaths, columns: int, rows: slice, some: slice) -> Float64Array:
    """`values` of some rows and columns."""
    across = -(-columns // fmt.TILE)
    tiles = symbols.paths.reshape(-1, across, symbols.paths.shape[1])
    down, right = (slice(part.start // fmt.TILE, -(-part.stop // fmt.TILE)) for part in (rows, some))
    chosen = tiles[down, right]
    return values(replace(symbols, paths=chosen.reshape(-1, chosen.shape[2])), fmt.TILE * chosen.shape[1])


def length_bits(symbols: TrellisPaths) -> float:
    """Bits of all paths as stored."""
    return 8.0 * symbols.paths.size


CODEC = Codec(
    type=TrellisPaths,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: len(symbols.paths) == -(-rows // TILE) * -(-columns // TILE),
    values=values,
    part_values=part_values,
    length_bits=length_bits,
    rate_kind=lambda _: "fixed",
    diagnostics=lambda symbols: Diagnostics(length_bits(symbols)),
)
