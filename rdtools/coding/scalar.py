"""The scalar part of a container: integers on uniform grids, range-coded in blocks of columns that decode apart from each other.

Layout::

    flags                                                 u8
    step                                                  f32
    step exponents                                        r×u8        if the columns differ
    groups, group size                                    2×varint    if there are row scales
    row scales                                            m×G×bf16    if there are
    zero points                                           m×G×u8      if there are
    gain deviation                                        f32         if there is one
    column gains                                          r×bf16      if there are
    code model, its numbers                               u8; fixed: levels u32; column: weight deviation and noise variance 2×f32;
                                                          shared: a histogram; histogram: one for each column
    of each block of columns: words of payload, escaped codes (their number, then each), CRC-32 of the payload
                                                          varints, u32

The payload of a block is u32 words of a range coder, column by column.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from rdtools.coding.fields import Reader, histogram_bytes, varint
from rdtools.coding.models import (
    FrequencyTable,
    column_levels,
    column_stds,
    column_table,
    column_tables,
    count_codes,
    shared_table,
    uniform_table,
)
from rdtools.coding.scales import pack_bfloat16
from rdtools.errors import CorruptFile
from rdtools.records import CodeModel, CodeModelKind, ScalarCodes

#: Symbols in a block: enough that its 10 bytes of side information are nothing, few enough to share the work.
BLOCK_SYMBOLS = 2**20

_MODELS: tuple[CodeModelKind, ...] = ("fixed", "shared", "column", "histogram")
_STEP_EXPONENTS, _ROW_SCALES, _ZERO_POINTS, _GAIN_STD, _COLUMN_GAINS, _MID_RISE = (1 << k for k in range(6))

#: ``map`` of whoever decodes blocks: the built-in one, or that of an executor.
Map = Callable[[Callable[["Block"], NDArray[np.int32]], Iterable["Block"]], Iterable[NDArray[np.int32]]]


@dataclass(frozen=True)
class Block:
    """What one block of columns decodes from, by itself.

    Attributes
    ----------
    rows : m
    tables : the frequency table of each of its columns; one object where they agree
    payload : u32 words
    escaped : the integers behind its escape symbols
    name : of the file, for messages
    """

    rows: int
    tables: list[FrequencyTable]
    payload: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    name: str


def _spans(rows: int, columns: int) -> list[tuple[int, int]]:
    """First and past-the-last columns of the blocks."""
    width = max(1, BLOCK_SYMBOLS // max(rows, 1))
    return [(first, min(first + width, columns)) for first in range(0, columns, width)] if rows else []


def _tables(codes: ScalarCodes, histograms: list[FrequencyTable]) -> list[FrequencyTable]:
    """The frequency table of each column; one object where they agree, so that it is built once."""
    model, r = codes.model, codes.integers.shape[1]
    if model.kind == "column":
        stds = column_stds(model, codes.column_steps).tolist()
        normal = {std: column_table(std) for std in set(stds)}
        return [normal[std] for std in stds]
    if model.kind == "fixed":
        levels = column_levels(codes).tolist()
        uniform = {k: uniform_table(k) for k in set(levels)}
        return [uniform[k] for k in levels]
    return histograms * r if model.kind == "shared" else histograms


def _runs(tables: list[FrequencyTable]) -> list[tuple[FrequencyTable, int, int]]:
    """Neighbouring columns that share a table: (table, first, past the last)."""
    starts = [i for i, table in enumerate(tables) if i == 0 or table is not tables[i - 1]]
    return [(tables[i], i, j) for i, j in zip(starts, [*starts[1:], len(tables)], strict=True)]


def _coder_model(table: FrequencyTable) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(table.frequencies / table.frequencies.sum(), perfect=False)


def _encode_block(integers: NDArray[np.int32], tables: list[FrequencyTable]) -> tuple[NDArray[np.uint32], list[int]]:
    """Payload words and escaped codes of some columns."""
    encoder = constriction.stream.queue.RangeEncoder()
    escaped: list[int] = []
    for table, first, stop in _runs(tables):
        values = integers[:, first:stop].T.ravel()
        if len(table.values) and table.values[-1] - table.values[0] == len(table.values) - 1:
            symbols = values.astype(np.int64) - table.values[0]
        else:
            symbols = np.searchsorted(table.values, values)
        if table.escapes:
            outside = (values < table.values[0]) | (values > table.values[-1])
            escaped += values[outside].tolist()
            symbols[outside] = len(table.values)
        if len(table.frequencies) > 1:  # a single code needs no bits
            encoder.encode(symbols.astype(np.int32), _coder_model(table))
    return np.asarray(encoder.get_compressed()), escaped


def _decode_block(block: Block) -> NDArray[np.int32]:
    decoder = constriction.stream.queue.RangeDecoder(block.payload)
    integers = np.empty((block.rows, len(block.tables)), dtype=np.int32)
    used = 0
    for table, first, stop in _runs(block.tables):
        count = block.rows * (stop - first)
        single = len(table.frequencies) == 1
        symbols = np.zeros(count, dtype=np.int64) if single else decoder.decode(_coder_model(table), count)
        values = np.append(table.values, 0)[symbols]
        outside = np.flatnonzero(symbols == len(table.values))
        if used + len(outside) > len(block.escaped):
            raise CorruptFile(f"{block.name}: fewer escaped codes than escape symbols; the file is damaged")
        values[outside] = block.escaped[used : used + len(outside)]
        used += len(outside)
        integers[:, first:stop] = values.reshape(stop - first, block.rows).T
    return integers


def encode_scalar(codes: ScalarCodes) -> tuple[bytes, bytes]:
    """Side information and payload."""
    integers, model = codes.integers, codes.model
    m, r = integers.shape
    flags = (
        _STEP_EXPONENTS * (codes.step_exponents is not None)
        | _ROW_SCALES * (codes.row_scales is not None)
        | _ZERO_POINTS * (codes.zero_points is not None)
        | _GAIN_STD * (codes.gain_std > 0)
        | _COLUMN_GAINS * (codes.column_gains is not None)
        | _MID_RISE * (codes.offset == 0.5)
    )
    side = bytearray(struct.pack("<Bf", flags, codes.step))
    if codes.step_exponents is not None:
        side += codes.step_exponents.tobytes()
    if codes.row_scales is not None:
        side += varint(codes.row_scales.shape[1]) + varint(codes.group_size) + pack_bfloat16(codes.row_scales).astype("<u2").tobytes()
    if codes.zero_points is not None:
        side += codes.zero_points.tobytes()
    if codes.gain_std > 0:
        side += struct.pack("<f", codes.gain_std)
    if codes.column_gains is not None:
        side += pack_bfloat16(codes.column_gains).astype("<u2").tobytes()

    side += struct.pack("<B", _MODELS.index(model.kind))
    histograms: list[FrequencyTable] = []
    if model.kind == "fixed":
        side += struct.pack("<I", model.levels)
    elif model.kind == "column":
        side += struct.pack("<ff", model.weight_std, model.noise_variance)
    elif integers.size:
        counts = count_codes(integers)
        histograms = [shared_table(counts)] if model.kind == "shared" else column_tables(counts)
        side += b"".join(map(histogram_bytes, histograms))

    tables = _tables(codes, histograms)
    payload = bytearray()
    for first, stop in _spans(m, r):
        words, escaped = _encode_block(integers[:, first:stop], tables[first:stop])
        data = words.astype("<u4").tobytes()
        side += varint(len(words)) + b"".join(map(varint, (len(escaped), *escaped))) + struct.pack("<I", zlib.crc32(data))
        payload += data
    return bytes(side), bytes(payload)


def decode_scalar(reader: Reader, rows: int, columns: int, apply: Map) -> ScalarCodes:
    """What `encode_scalar` wrote, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    flags = reader.u8()
    step = reader.f32()
    exponents = reader.bytes_array(columns) if flags & _STEP_EXPONENTS else None
    groups = group_size = 0
    row_scales = None
    if flags & _ROW_SCALES:
        groups, group_size = reader.varint(), reader.varint()
        row_scales = reader.bfloat16(rows, groups)
    zero_points = reader.bytes_array(rows, groups) if flags & _ZERO_POINTS else None
    gain_std = reader.f32() if flags & _GAIN_STD else 0.0
    column_gains = reader.bfloat16(columns) if flags & _COLUMN_GAINS else None
    kind = _MODELS[min(reader.u8(), len(_MODELS) - 1)]
    model = CodeModel(kind)
    histograms: list[FrequencyTable] = []
    if kind == "fixed":
        model = CodeModel(kind, levels=reader.u32())
    elif kind == "column":
        model = CodeModel(kind, weight_std=reader.f32(), noise_variance=reader.f32())
    elif rows * columns:
        histograms = [reader.histogram() for _ in range(1 if kind == "shared" else columns)]
    codes = ScalarCodes(
        integers=np.empty((rows, columns), dtype=np.int32),
        step=step,
        model=model,
        step_exponents=exponents,
        row_scales=row_scales,
        zero_points=zero_points,
        group_size=group_size,
        offset=0.5 if flags & _MID_RISE else 0.0,
        gain_std=gain_std,
        column_gains=column_gains,
    )
    tables = _tables(codes, histograms)
    spans = _spans(rows, columns)
    heads = []
    for _ in spans:
        words = reader.varint()
        escaped = np.array([reader.varint() for _ in range(reader.varint())], dtype=np.int64)
        heads.append((words, escaped, reader.u32()))
    blocks = []
    for number, ((first, stop), (words, escaped, checksum)) in enumerate(zip(spans, heads, strict=True)):
        data = reader.take(4 * words)
        if zlib.crc32(data) != checksum:
            raise CorruptFile(f"{reader.name}: checksum mismatch in block {number} of {len(spans)}; the file is damaged: write it again")
        blocks.append(Block(rows, tables[first:stop], np.frombuffer(data, "<u4").astype(np.uint32), escaped, reader.name))
    for (first, stop), integers in zip(spans, apply(_decode_block, blocks), strict=True):
        codes.integers[:, first:stop] = integers
    return codes
