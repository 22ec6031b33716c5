"""The file that a rate is measured on: codes, scales and models of one matrix, with checksums.

Layout, little-endian::

    "RDTQ", version, content, rotation kinds, flags       4s 4×u8     kinds: inputs in the low four bits, outputs in the high ones
    rows m, columns n                                     2×u32
    bytes of side information after the checksum          u32
    CRC-32 of the above and of the side information       u32
    rotation seeds                                        u32 each    inputs, then outputs, if rotated
    live columns                                          n bits      if some are dead
    column scales                                         r×bf16      if the flag is set
    side information of the content                                   see `rdtools.coding.scalar` and `rdtools.coding.vector`
    payload                                                           coded symbols, with a CRC-32 of each block above

Everything but the payload is side information.
"""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from rdtools.coding.fields import Reader
from rdtools.coding.scalar import Map, decode_scalar, encode_scalar
from rdtools.coding.scales import pack_bfloat16
from rdtools.coding.vector import decode_lattice, decode_trellis, encode_lattice, encode_trellis
from rdtools.errors import CorruptFile
from rdtools.records import Basis, LatticeCodes, QuantizedWeight, Rotation, RotationKind, ScalarCodes, TrellisCodes

MAGIC = b"RDTQ"
VERSION = 2
_HEADER = struct.Struct("<4sBBBBIII")
_CONTENTS = (ScalarCodes, LatticeCodes, TrellisCodes)
_ROTATIONS: tuple[RotationKind | None, ...] = (None, "haar", "hadamard", "kronecker")
_DEAD_COLUMNS, _COLUMN_SCALES = 1, 2


@dataclass(frozen=True)
class Container:
    """An encoded matrix.

    Attributes
    ----------
    data : the file
    payload_bytes : how much of it is coded symbols
    """

    data: bytes
    payload_bytes: int


def _encode_codes(codes: ScalarCodes | LatticeCodes | TrellisCodes) -> tuple[bytes, bytes]:
    if isinstance(codes, ScalarCodes):
        return encode_scalar(codes)
    return encode_lattice(codes) if isinstance(codes, LatticeCodes) else encode_trellis(codes)


def encode(weight: QuantizedWeight) -> Container:
    """Write a quantized weight as a file; `decode` gives back an equal record."""
    basis = weight.basis
    m, n = weight.shape
    turns = (basis.rotation, basis.row_rotation)
    dead = not basis.live.all()
    side = b"".join(struct.pack("<I", turn.seed) for turn in turns if turn is not None)
    if dead:
        side += np.packbits(basis.live).tobytes()
    if basis.column_scales is not None:
        side += pack_bfloat16(basis.column_scales).astype("<u2").tobytes()
    content, payload = _encode_codes(weight.codes)
    side += content
    kinds = [_ROTATIONS.index(None if turn is None else turn.kind) for turn in turns]
    flags = _DEAD_COLUMNS * dead | _COLUMN_SCALES * (basis.column_scales is not None)
    header = _HEADER.pack(MAGIC, VERSION, _CONTENTS.index(type(weight.codes)), kinds[0] | kinds[1] << 4, flags, m, n, len(side))
    checksum = struct.pack("<I", zlib.crc32(side, zlib.crc32(header)))
    return Container(header + checksum + side + payload, len(payload))


def decode(data: bytes, *, name: str = "container", executor: Executor | None = None) -> QuantizedWeight:
    """Read what `encode` wrote.

    Parameters
    ----------
    data : the file
    name : for messages
    executor : decodes blocks of columns in its workers; None to decode them one after another. The result is the same.

    Raises
    ------
    CorruptFile
        For another kind of file, a truncated one, a flipped bit or another version; the message starts with `name`.
    """
    if len(data) < _HEADER.size + 4 or data[:4] != MAGIC:
        raise CorruptFile(f"{name}: not a container of rdtools: {len(data)} bytes starting {data[:4]!r}, expected {MAGIC!r}")
    _, version, content, turns, flags, m, n, size = _HEADER.unpack_from(data)
    if version != VERSION:
        raise CorruptFile(f"{name}: container version {version}, expected {VERSION}; read it with the rdtools that wrote it")
    reader = Reader(data, name)
    header = reader.take(_HEADER.size)
    checksum = reader.u32()
    if zlib.crc32(reader.ahead(size), zlib.crc32(header)) != checksum:
        raise CorruptFile(f"{name}: checksum mismatch; the file is truncated or damaged: write it again")
    kinds = [_ROTATIONS[turns & 15], _ROTATIONS[turns >> 4]]
    seeds = [reader.u32() if kind else 0 for kind in kinds]
    live = np.ones(n, dtype=bool)
    if flags & _DEAD_COLUMNS:
        live = np.unpackbits(np.frombuffer(reader.take(-(-n // 8)), np.uint8), count=n).astype(bool)
    r = int(live.sum())
    scales = reader.bfloat16(r) if flags & _COLUMN_SCALES else None
    rotation, row_rotation = (
        None if kind is None else Rotation(kind, order, seed) for kind, order, seed in zip(kinds, (r, m), seeds, strict=True)
    )
    basis = Basis(m, live, rotation, row_rotation, scales)
    codes: ScalarCodes | LatticeCodes | TrellisCodes
    if _CONTENTS[content] is ScalarCodes:
        apply: Map = map if executor is None else executor.map
        codes = decode_scalar(reader, m, r, apply)
    else:
        codes = decode_lattice(reader, m, r) if _CONTENTS[content] is LatticeCodes else decode_trellis(reader)
    reader.finish()
    return QuantizedWeight(basis, codes)
