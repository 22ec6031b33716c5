"""Frames of containers, read: which matrices a file holds, after its checksum and before their symbols are decoded."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.agreement import MAX_SIDE, rotation_fault
from rdtools.coding.codec import Codec
from rdtools.coding.fields import Reader
from rdtools.coding.formats import read_tag
from rdtools.coding.parts import decode_parts
from rdtools.errors import CorruptFile
from rdtools.records import Basis, LayerParts, Rotation, RotationKind
from rdtools.records.quantized import NO_PARTS
from rdtools.transforms.rotation import dense_numbers


@dataclass(frozen=True)
class Matrix:
    """A matrix of a file whose checksum is right, before its symbols are decoded; `follows` as of `rdtools.coding.format_v3`."""

    codec: Codec
    basis: Basis
    side: Reader
    parts: LayerParts = NO_PARTS
    follows: bool = False


def _check_size(reader: Reader, rows: int, columns: int, max_weights: int) -> None:
    """Refuse sizes for which too much memory would be taken."""
    if max(rows, columns) > MAX_SIDE or max(rows, 1) * max(columns, 1) > max_weights:
        raise reader.refusal(
            f"{rows} rows and {columns} columns, expected at most {MAX_SIDE} of each and {max_weights} weights (argument max_weights)"
        )


def _check_sum(reader: Reader, head: int, size: int) -> Reader:
    """Side information after the checksum; `head` is where the head begins."""
    checksum = zlib.crc32(reader.since(head))
    (stored,) = v2.CHECKSUM.unpack(reader.take(v2.CHECKSUM.size))
    if zlib.crc32(reader.ahead(size), checksum) != stored:
        raise CorruptFile(f"{reader.name}: checksum mismatch; the file is truncated or damaged: write it again")
    return reader.part(size)


def _active(side: Reader, columns: int, flagged: bool) -> NDArray[np.bool_]:
    if not flagged:
        return np.ones(columns, dtype=bool)
    return np.unpackbits(np.frombuffer(side.take(-(-columns // 8)), np.uint8), count=columns).astype(bool)


def _column_scales(side: Reader, count: int) -> Float64Array:
    scales = side.bfloat16("column scales", count)
    if not scales.all():
        raise side.refusal("a column scale of 0, expected positive ones")
    return scales


def _seed(side: Reader, kind: RotationKind | None, seed: struct.Struct) -> int:
    """The seed of a rotation; 0 without one, for which none is stored."""
    return 0 if kind is None else int(seed.unpack(side.take(seed.size))[0])


def _rotation(side: Reader, kind: RotationKind | None, order: int, seed: int, max_weights: int) -> Rotation | None:
    """A rotation that exists, and whose matrix takes no more memory than the weights may."""
    if kind is None:
        return None
    rotation = Rotation(kind, order, seed)
    fault = rotation_fault(rotation, order)
    if fault:
        raise side.refusal(f"a {kind} rotation {fault}")
    if dense_numbers(rotation) > max_weights:
        raise side.refusal(f"a {kind} rotation of order {order}, expected a matrix of at most {max_weights} numbers (argument max_weights)")
    return rotation


def read_v2(reader: Reader, max_weights: int) -> list[Matrix]:
    """The matrix of a file of version 2."""
    start = reader.position
    _, _, tag, kinds, flags, rows, columns, size = v2.HEAD.unpack(reader.take(v2.HEAD.size))
    side = _check_sum(reader, start, size)
    codec = read_tag(side, tag)
    input_kind = side.choice("input rotation", v2.ROTATIONS, kinds & 15)
    row_kind = side.choice("row rotation", v2.ROTATIONS, kinds >> 4)
    for kind in (input_kind, row_kind):
        if kind not in (None, "hadamard"):
            raise CorruptFile(
                f"{reader.name}: a {kind} rotation of container version 2 depended on NumPy's generator and BLAS, and cannot be rebuilt; "
                "decode the file with rdtools 0.1 on a machine like the one that wrote it, or quantize the layer again"
            )
    side.flags("flags", v2.INACTIVE_COLUMNS | v2.COLUMN_SCALES, flags)
    _check_size(side, rows, columns, max_weights)
    # the seeds stand before the mask, and the order of the rotation follows from the mask
    input_seed, row_seed = _seed(side, input_kind, v2.SEED), _seed(side, row_kind, v2.SEED)
    active = _active(side, columns, bool(flags & v2.INACTIVE_COLUMNS))
    count = int(active.sum())
    scales = _column_scales(side, count) if flags & v2.COLUMN_SCALES else None
    rotation = _rotation(side, input_kind, count, input_seed, max_weights)
    row_rotation = _rotation(side, row_kind, rows, row_seed, max_weights)
    return [Matrix(codec, Basis(rows, active, rotation, row_rotation, scales), side)]


def read_v3(reader: Reader, max_weights: int) -> list[Matrix]:
    """The matrices of a file of version 3."""
    start = reader.position
    _, _, kind_and_flags, columns = v3.HEAD.unpack(reader.take(v3.HEAD.size))
    flags = kind_and_flags >> 4
    count, shared_size = v3.SEVERAL_HEAD.unpack(reader.take(v3.SEVERAL_HEAD.size)) if flags & v3.SEVERAL else (1, 0)
    heads = [v3.MATRIX_HEAD.unpack(reader.take(v3.MATRIX_HEAD.size)) for _ in range(count)]
    body = _check_sum(reader, start, shared_size + sum(size for *_, size in heads))
    kind = body.choice("input rotation", v3.ROTATIONS, kind_and_flags & 15)
    if flags & v2.COLUMN_SCALES and flags & v3.OWN_SCALES:
        raise body.refusal("column scales that are both shared and own, expected one of the two flags")
    if count == 0 or (count == 1 and flags & (v3.SEVERAL | v3.OWN_SCALES)):
        raise body.refusal(f"{count} matrices with flags {flags:#03x}, expected 2 or more with the flags of several matrices")
    _check_size(body, sum(rows for _, _, rows, _ in heads), columns, max_weights)
    shared = body.part(shared_size) if flags & v3.SEVERAL else body
    seed = _seed(shared, kind, v3.SEED)
    active = _active(shared, columns, bool(flags & v2.INACTIVE_COLUMNS))
    count = int(active.sum())
    rotation = _rotation(shared, kind, count, seed, max_weights)
    scales = _column_scales(shared, count) if flags & v2.COLUMN_SCALES else None
    if flags & v3.SEVERAL:
        shared.finish("the shared side information")
    matrices: list[Matrix] = []
    for tag, row_kind, rows, size in heads:
        side = body.part(size) if flags & v3.SEVERAL else body
        follows, codec = bool(tag & v3.FOLLOWS), read_tag(side, tag & ~(v3.PARTS | v3.FOLLOWS))
        if follows and not (matrices and matrices[-1].codec is codec and codec.exponents):
            raise side.refusal("a matrix that follows another, expected one of integers of the same kind before it")
        own_kind = side.choice("row rotation", v3.ROTATIONS, row_kind)
        row_rotation = _rotation(side, own_kind, rows, _seed(side, own_kind, v3.SEED), max_weights)
        column_scales = scales
        if flags & v3.OWN_SCALES and side.choice("presence of column scales", (False, True), side.u8()):
            column_scales = _column_scales(side, count)
        basis = Basis(rows, active, rotation, row_rotation, column_scales)
        parts = decode_parts(side, basis, max_weights) if tag & v3.PARTS else NO_PARTS
        matrices.append(Matrix(codec, basis, side, parts, follows))
    return matrices
