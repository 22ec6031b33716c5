"""Paths through a trellis, each block of 16 columns with a number of bits per weight of its own, stored as they are.

Layout::

    code, state bits, rows of tiles, CRC-32 of the payload    2×u8, 2×u32
    scales of one to four bits                                4×f32
    bits of each block of columns                             ⌈r/16⌉×u8
    payload: the paths of each block in turn                  tiles × 32 × bits × u8
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.fields import Reader, packed
from rdtools.coding.formats.trellis import TILE
from rdtools.ops import trellis_decode, trellis_values
from rdtools.records import TilePaths


def encode(symbols: TilePaths) -> tuple[bytes, bytes]:
    """Side information and payload."""
    payload = b"".join(path.tobytes() for path in symbols.paths)
    down = len(symbols.paths[0]) if symbols.paths else 0
    head = packed(v3.TILE_HEAD, v2.TRELLIS_CODES.index(symbols.code), symbols.state_bits, down, zlib.crc32(payload))
    return head + packed(v3.TILE_SCALES, *symbols.scales[1:].tolist()) + symbols.bits.tobytes(), payload


def decode(side: Reader, payload: Reader, rows: int, columns: int, _: Map) -> TilePaths:
    """Read what `encode` writes, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    code_tag, state_bits, down, checksum = v3.TILE_HEAD.unpack(side.take(v3.TILE_HEAD.size))
    code, across = side.choice("trellis code", v2.TRELLIS_CODES, code_tag), -(-columns // TILE)
    scales = np.array([0.0, *v3.TILE_SCALES.unpack(side.take(v3.TILE_SCALES.size))])
    bits = side.bytes_array(across)
    if down != (-(-rows // TILE) if across else 0) or (across and bits.max() > 4):
        expected = f"{-(-rows // TILE)} of up to 4"
        raise side.refusal(f"{down} rows of tiles of up to {bits.max(initial=0)} bits for {rows} rows, expected {expected}")
    stored = payload.checked(2 * TILE * down * int(bits.sum()), checksum)
    paths = tuple(stored.bytes_array(down, 2 * TILE * k) for k in bits.tolist())
    return side.build(TilePaths, paths, bits, code, state_bits, scales)


def values(symbols: TilePaths, columns: int) -> Float64Array:
    """(16 p, 16 q) the numbers that paths stand for, from the number of columns r, q = ⌈r/16⌉."""
    table, across = trellis_values(symbols.code, symbols.state_bits), -(-columns // TILE)
    down = len(symbols.paths[0]) if symbols.paths else 0
    matrix = np.zeros((TILE * down, TILE * across))
    for index, (path, bits) in enumerate(zip(symbols.paths, symbols.bits.tolist(), strict=True)):
        if bits and symbols.scales[bits]:
            tiles = trellis_decode(path, table, bits, TILE * TILE)
            matrix[:, TILE * index : TILE * (index + 1)] = symbols.scales[bits] * tiles.reshape(TILE * down, TILE)
    return matrix


def part_values(symbols: TilePaths, columns: int, rows: slice, some: slice) -> Float64Array:
    """`values` of some rows and columns."""
    down, across = (slice(part.start // TILE, -(-part.stop // TILE)) for part in (rows, slice(some.start, min(some.stop, columns))))
    paths = tuple(path[down] for path in symbols.paths[across])
    return values(replace(symbols, paths=paths, bits=symbols.bits[across]), TILE * len(paths))


def length_bits(symbols: TilePaths) -> float:
    """Bits of all paths as stored."""
    return 8.0 * sum(path.size for path in symbols.paths)


CODEC = Codec(
    type=TilePaths,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: [len(path) for path in symbols.paths] == [-(-rows // TILE)] * -(-columns // TILE),
    values=values,
    part_values=part_values,
    length_bits=length_bits,
    rate_kind=lambda _: "fixed",
    diagnostics=lambda symbols: Diagnostics(length_bits(symbols)),
)
