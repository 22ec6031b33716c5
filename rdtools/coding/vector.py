"""The vector parts of a container: lattice words and trellis paths, of a fixed number of bits a weight, as they are.

Layout of lattice words::

    bits, scale, residual scale                           u8, 2×f32
    payload: each stage in turn                           u16 a word; u8 for the second stage of 3 bits

and of trellis paths::

    code, state bits, bits, scale, tiles                  3×u8, f32, u32
    payload: a path for each tile                         32 × bits × u8
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from rdtools.coding.fields import Reader
from rdtools.errors import CorruptFile
from rdtools.records import LatticeCodes, TrellisCode, TrellisCodes

_CODES: tuple[TrellisCode, ...] = ("1mad", "3inst", "hyb")
_LATTICE, _TRELLIS = struct.Struct("<BffI"), struct.Struct("<BBBfII")

#: Bytes of a word, by bits per weight, of each stage.
STAGE_BYTES = {2: (2,), 3: (2, 1), 4: (2, 2)}


def _payload(reader: Reader, size: int, checksum: int) -> memoryview:
    data = reader.take(size)
    if zlib.crc32(data) != checksum:
        raise CorruptFile(f"{reader.name}: checksum mismatch in the payload; the file is damaged: write it again")
    return data


def encode_lattice(codes: LatticeCodes) -> tuple[bytes, bytes]:
    """Side information and payload."""
    payload = b"".join(words.astype(f"<u{size}").tobytes() for words, size in zip(codes.words, STAGE_BYTES[codes.bits], strict=True))
    return _LATTICE.pack(codes.bits, codes.scale, codes.residual_scale, zlib.crc32(payload)), payload


def decode_lattice(reader: Reader, rows: int, columns: int) -> LatticeCodes:
    """What `encode_lattice` wrote, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    bits, scale, residual_scale, checksum = _LATTICE.unpack(reader.take(_LATTICE.size))
    shape = (rows, -(-columns // 8))
    sizes = STAGE_BYTES[bits]
    count = shape[0] * shape[1]
    data = _payload(reader, count * sum(sizes), checksum)
    words, start = [], 0
    for size in sizes:
        words.append(np.frombuffer(data[start : start + count * size], f"<u{size}").astype(np.uint16).reshape(shape))
        start += count * size
    return LatticeCodes(tuple(words), bits, scale, residual_scale)


def encode_trellis(codes: TrellisCodes) -> tuple[bytes, bytes]:
    """Side information and payload."""
    payload = codes.paths.tobytes()
    head = (_CODES.index(codes.code), codes.state_bits, codes.bits, codes.scale, len(codes.paths), zlib.crc32(payload))
    return _TRELLIS.pack(*head), payload


def decode_trellis(reader: Reader) -> TrellisCodes:
    """What `encode_trellis` wrote.

    Raises
    ------
    CorruptFile
    """
    code, state_bits, bits, scale, tiles, checksum = _TRELLIS.unpack(reader.take(_TRELLIS.size))
    paths = np.frombuffer(_payload(reader, tiles * 32 * bits, checksum), np.uint8).reshape(tiles, 32 * bits)
    return TrellisCodes(paths.copy(), _CODES[code], state_bits, bits, scale)
