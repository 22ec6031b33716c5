"""The file that a rate is measured on: codes, scales and models of one matrix, with a checksum.

Layout, little-endian::

    "RDTQ", version, code model, flags, rotation kind     4s 4×u8
    rows m, columns n, payload words                      3×u32
    rotation seed                                         u32         if rotated
    live columns                                          n bits      if some are dead
    step                                                  f32
    step exponents                                        r×u8        if the columns differ
    row scales                                            m×bf16      if the flag is set
    gain deviation                                        f32         if the flag is set
    code model    fixed: levels u32; column: weight deviation f32;
                  shared: histogram, as `histogram_bytes` writes it
    escaped codes                                         their number, then each, as variable-length integers
    payload                                               u32 words of a range coder
    CRC-32 of all that                                    u32

Codes are coded column by column. Everything but the payload is side information.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from rdtools.coding.models import FrequencyTable, column_table, count_codes, shared_table, uniform_table
from rdtools.coding.scales import pack_bfloat16, unpack_bfloat16
from rdtools.errors import CorruptFile
from rdtools.records import CodeModel, CodeModelKind, QuantizedWeight, Rotation, RotationKind

MAGIC = b"RDTQ"
VERSION = 1
_HEADER = struct.Struct("<4sBBBBIII")
_MODELS: tuple[CodeModelKind, ...] = ("fixed", "shared", "column")
_ROTATIONS: tuple[RotationKind | None, ...] = (None, "haar", "hadamard", "kronecker")
_STEP_EXPONENTS, _ROW_SCALES, _GAIN, _MID_RISE, _DEAD_COLUMNS = (1 << k for k in range(5))


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


def _varint(value: int) -> bytes:
    """Variable-length integer: zigzag sign, seven bits a byte, low first."""
    u = (value << 1) if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while u > 127:
        out.append(u & 127 | 128)
        u >>= 7
    out.append(u)
    return bytes(out)


def histogram_bytes(table: FrequencyTable) -> bytes:
    """A histogram as variable-length integers: number of runs of consecutive codes; of each its distance, length and frequencies.

    The distance is that of the first code from zero, then from the end of the run before; so an outlier costs a few bytes.
    """
    starts = [0, *(np.flatnonzero(np.diff(table.values) > 1) + 1).tolist()]
    out = [_varint(len(starts))]
    previous = 0
    for first, stop in zip(starts, [*starts[1:], len(table.values)], strict=True):
        out += [_varint(int(table.values[first]) - previous), _varint(stop - first)]
        out += map(_varint, table.frequencies[first:stop].tolist())
        previous = int(table.values[stop - 1])
    return b"".join(out)


class _Reader:
    """Reads a container from front to back, naming the file when it ends too soon."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._position, self._name = memoryview(data), 0, name

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._position:
            raise CorruptFile(f"{self._name}: ends inside a field; the file was not written by this version of rdtools")
        self._position += count
        return self._data[self._position - count : self._position]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def f32(self) -> float:
        return float(np.frombuffer(self.take(4), "<f4")[0])

    def bfloat16(self, count: int) -> NDArray[np.float64]:
        return unpack_bfloat16(np.frombuffer(self.take(2 * count), "<u2"))

    def varint(self) -> int:
        u = shift = 0
        while True:
            byte = self.take(1)[0]
            u |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return u >> 1 if u % 2 == 0 else -((u + 1) >> 1)
            if shift > 63:
                raise CorruptFile(f"{self._name}: an integer of more than 63 bits; the file is damaged")

    def histogram(self) -> FrequencyTable:
        values: list[int] = []
        frequencies: list[int] = []
        for _ in range(self.varint()):
            first = (values[-1] if values else 0) + self.varint()
            length = self.varint()
            values += range(first, first + length)
            frequencies += (self.varint() for _ in range(length))
        return FrequencyTable(np.array(values, dtype=np.int64), np.array(frequencies, dtype=np.int64))

    def finish(self) -> None:
        if self._position != len(self._data):
            raise CorruptFile(f"{self._name}: {len(self._data) - self._position} bytes after the payload; the file is damaged")


def _tables(model: CodeModel, column_steps: NDArray[np.float64], shared: FrequencyTable | None) -> list[FrequencyTable]:
    """The frequency table of each column; one object where they agree, so that it is built once."""
    if model.kind == "column":
        built = {step: column_table(model.weight_std / step) for step in set(column_steps.tolist())}
        return [built[step] for step in column_steps.tolist()]
    table = uniform_table(model.levels) if shared is None else shared
    return [table] * len(column_steps)


def _runs(tables: list[FrequencyTable]) -> list[tuple[FrequencyTable, int, int]]:
    """Neighbouring columns that share a table: (table, first, past the last)."""
    starts = [i for i, table in enumerate(tables) if i == 0 or table is not tables[i - 1]]
    return [(tables[i], i, j) for i, j in zip(starts, [*starts[1:], len(tables)], strict=True)]


def _coder_model(table: FrequencyTable) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(table.frequencies / table.frequencies.sum(), perfect=False)


def encode(weight: QuantizedWeight) -> Container:
    """Write a quantized weight as a file; `decode` gives back an equal record."""
    codes, model = weight.codes, weight.code_model
    m, r = codes.shape
    n = len(weight.live)
    flags = (
        _STEP_EXPONENTS * (weight.step_exponents is not None)
        | _ROW_SCALES * (weight.row_scales is not None)
        | _GAIN * (weight.gain_std > 0)
        | _MID_RISE * (weight.offset == 0.5)
        | _DEAD_COLUMNS * (r < n)
    )
    side = bytearray()
    if weight.rotation is not None:
        side += struct.pack("<I", weight.rotation.seed)
    if r < n:
        side += np.packbits(weight.live).tobytes()
    side += struct.pack("<f", weight.step)
    if weight.step_exponents is not None:
        side += weight.step_exponents.tobytes()
    if weight.row_scales is not None:
        side += pack_bfloat16(weight.row_scales).astype("<u2").tobytes()
    if weight.gain_std > 0:
        side += struct.pack("<f", weight.gain_std)

    shared = None
    if model.kind == "fixed":
        side += struct.pack("<I", model.levels)
    elif model.kind == "column":
        side += struct.pack("<f", model.weight_std)
    elif codes.size:
        shared = shared_table(count_codes(codes))
        side += histogram_bytes(shared)

    encoder = constriction.stream.queue.RangeEncoder()
    escaped: list[int] = []
    if codes.size:
        for table, first, stop in _runs(_tables(model, weight.column_steps, shared)):
            values = codes[:, first:stop].T.ravel()
            symbols = np.searchsorted(table.values, values)
            if table.escapes:
                outside = (values < table.values[0]) | (values > table.values[-1])
                escaped += values[outside].tolist()
                symbols[outside] = len(table.values)
            if len(table.frequencies) > 1:  # a single code needs no bits
                encoder.encode(symbols.astype(np.int32), _coder_model(table))
    side += b"".join(map(_varint, (len(escaped), *escaped)))

    words = encoder.get_compressed().astype("<u4")
    kind = _ROTATIONS.index(None if weight.rotation is None else weight.rotation.kind)
    header = _HEADER.pack(MAGIC, VERSION, _MODELS.index(model.kind), flags, kind, m, n, len(words))
    body = header + bytes(side) + words.tobytes()
    return Container(body + struct.pack("<I", zlib.crc32(body)), words.nbytes)


def decode(data: bytes, *, name: str = "container") -> QuantizedWeight:
    """Read what `encode` wrote.

    Raises
    ------
    CorruptFile
        For another kind of file, a truncated one, a flipped bit or another version; the message starts with `name`.
    """
    if len(data) < _HEADER.size + 4 or data[:4] != MAGIC:
        raise CorruptFile(f"{name}: not a container of rdtools: {len(data)} bytes starting {data[:4]!r}, expected {MAGIC!r}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise CorruptFile(f"{name}: checksum mismatch; the file is truncated or damaged: write it again")
    _, version, model_index, flags, rotation_index, m, n, words = _HEADER.unpack_from(data)
    if version != VERSION or model_index >= len(_MODELS) or rotation_index >= len(_ROTATIONS):
        raise CorruptFile(f"{name}: container version {version}, expected {VERSION}; read it with the rdtools that wrote it")
    reader = _Reader(data[:-4], name)
    reader.take(_HEADER.size)
    seed = reader.u32() if rotation_index else 0
    live = np.ones(n, dtype=bool)
    if flags & _DEAD_COLUMNS:
        live = np.unpackbits(np.frombuffer(reader.take(-(-n // 8)), np.uint8), count=n).astype(bool)
    r = int(live.sum())
    step = reader.f32()
    exponents = np.frombuffer(reader.take(r), np.uint8).copy() if flags & _STEP_EXPONENTS else None
    row_scales = reader.bfloat16(m) if flags & _ROW_SCALES else None
    gain_std = reader.f32() if flags & _GAIN else 0.0

    kind, shared = _MODELS[model_index], None
    model = CodeModel(kind)
    if kind == "fixed":
        model = CodeModel(kind, levels=reader.u32())
    elif kind == "column":
        model = CodeModel(kind, weight_std=reader.f32())
    elif m * r:
        shared = reader.histogram()
    escaped = np.array([reader.varint() for _ in range(reader.varint())], dtype=np.int64)
    payload = np.frombuffer(reader.take(4 * words), "<u4").astype(np.uint32)
    reader.finish()

    rotation_kind = _ROTATIONS[rotation_index]
    weight = QuantizedWeight(
        codes=np.empty((m, r), dtype=np.int32),
        step=step,
        step_exponents=exponents,
        row_scales=row_scales,
        live=live,
        code_model=model,
        offset=0.5 if flags & _MID_RISE else 0.0,
        gain_std=gain_std,
        rotation=None if rotation_kind is None else Rotation(rotation_kind, r, seed),
    )
    if weight.codes.size:
        decoder = constriction.stream.queue.RangeDecoder(payload)
        used = 0
        for table, first, stop in _runs(_tables(model, weight.column_steps, shared)):
            count = m * (stop - first)
            single = len(table.frequencies) == 1
            symbols = np.zeros(count, dtype=np.int64) if single else decoder.decode(_coder_model(table), count)
            values = np.append(table.values, 0)[symbols]
            outside = np.flatnonzero(symbols == len(table.values))
            if used + len(outside) > len(escaped):
                raise CorruptFile(f"{name}: fewer escaped codes than escape symbols; the file is damaged")
            values[outside] = escaped[used : used + len(outside)]
            used += len(outside)
            weight.codes[:, first:stop] = values.reshape(stop - first, m).T
    return weight
