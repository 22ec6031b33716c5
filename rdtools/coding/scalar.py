"""The scalar part of a container: integers on uniform grids, range-coded in blocks of columns that decode apart from each other.

Layout::

    flags                                                 u8
    step                                                  f32
    step exponents                                        see `rdtools.coding.exponents`, if the columns differ
    row exponents                                         see there, if the rows differ
    groups, group size                                    2×varint    if there are row scales
    row scales                                            m×G×bf16    if there are
    zero points                                           m×G×i8      if there are
    gain deviation                                        f32         if there is one
    column gains                                          r×bf16      if there are
    code model, its numbers                               u8; fixed: levels u32; column: weight deviation and noise variance 2×f32;
                                                          shared: a histogram; histogram: one for each column
    of each block of columns: words of payload, escaped codes (their number, then each), CRC-32 of the payload
                                                          varints, u32

The payload of a block is u32 words of a range coder: column by column, or with normal laws those of one law after those of another.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.coder import decode_runs, encode_runs
from rdtools.coding.exponents import exponent_bytes, read_exponents
from rdtools.coding.fields import Reader, histogram_bytes, varint
from rdtools.coding.models import (
    FrequencyTable,
    Laws,
    column_levels,
    column_table,
    column_tables,
    count_codes,
    law_stds,
    shared_table,
    uniform_table,
)
from rdtools.coding.scales import pack_bfloat16
from rdtools.errors import CorruptFile
from rdtools.records import CodeModel, CodeModelKind, ScalarCodes

#: Symbols in a block: enough that its 10 bytes of side information are nothing, few enough to share the work.
BLOCK_SYMBOLS = 2**20

_MODELS: tuple[CodeModelKind, ...] = ("fixed", "shared", "column", "histogram")
_STEP_EXPONENTS, _ROW_EXPONENTS, _ROW_SCALES, _ZERO_POINTS, _GAIN_STD, _COLUMN_GAINS, _MID_RISE = (1 << k for k in range(7))

#: ``map`` of whoever decodes blocks: the built-in one, or that of an executor.
Map = Callable[[Callable[["Block"], NDArray[np.int32]], Iterable["Block"]], Iterable[NDArray[np.int32]]]


@dataclass(frozen=True)
class Sequence:
    """In what order the integers of a block are coded, and under what tables.

    Attributes
    ----------
    columns : (p,) columns of the block in the order in which they are read
    order : (m p,) places in those columns, one after another, in the order in which they are coded; None for one after another
    runs : (number of integers, table), in order
    """

    columns: NDArray[np.intp]
    order: NDArray[np.intp] | None
    runs: list[tuple[int, FrequencyTable]]

    def read(self, integers: NDArray[np.int32]) -> list[tuple[NDArray[np.int32], FrequencyTable]]:
        """The integers (m, p) of each run."""
        flat = integers.T[self.columns].ravel()
        flat = flat if self.order is None else flat[self.order]
        stops = np.cumsum([count for count, _ in self.runs])
        return [(flat[stop - count : stop], table) for (count, table), stop in zip(self.runs, stops.tolist(), strict=True)]

    def write(self, runs: list[NDArray[np.int64]], rows: int) -> NDArray[np.int32]:
        """The integers (m, p) from those of each run."""
        flat = np.concatenate(runs)
        if self.order is not None:
            flat[self.order] = flat.copy()
        integers = np.empty((rows, len(self.columns)), dtype=np.int32)
        integers[:, self.columns] = flat.reshape(-1, rows).T
        return integers


@dataclass(frozen=True)
class Block:
    """What one block of columns decodes from, by itself.

    Attributes
    ----------
    rows : m
    sequence : of its integers
    payload : u32 words
    escaped : the integers behind its escape symbols
    name : of the file, for messages
    """

    rows: int
    sequence: Sequence
    payload: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    name: str


def _spans(rows: int, columns: int) -> list[tuple[int, int]]:
    """First and past-the-last columns of the blocks."""
    width = max(1, BLOCK_SYMBOLS // max(rows, 1))
    return [(first, min(first + width, columns)) for first in range(0, columns, width)] if rows else []


def _by_law(codes: ScalarCodes, spans: list[tuple[int, int]]) -> list[Sequence]:
    """Integers of one law together: whole columns where rows are equal, else wherever they are."""
    laws = Laws.of(codes)
    tables = [column_table(std) for std in law_stds(codes.model, laws.steps).tolist()]
    m = len(codes.integers)
    sequences = []
    for first, stop in spans:
        if codes.row_exponents is None:
            law = np.searchsorted(laws.distinct, -laws.columns[first:stop])
            columns, order, counts = np.argsort(law, kind="stable"), None, m * np.bincount(law)
        else:
            index = laws.index(first, stop).ravel()
            columns, order, counts = np.arange(stop - first), np.argsort(index, kind="stable"), np.bincount(index)
        sequences.append(Sequence(columns, order, [(int(counts[k]), tables[k]) for k in np.flatnonzero(counts)]))
    return sequences


def _by_column(codes: ScalarCodes, histograms: list[FrequencyTable], spans: list[tuple[int, int]]) -> list[Sequence]:
    """Column after column, neighbours that share a table in one run."""
    m, r = codes.integers.shape
    if codes.model.kind == "fixed":
        levels = column_levels(codes).tolist()
        uniform = {k: uniform_table(k) for k in set(levels)}
        tables = [uniform[k] for k in levels]
    else:
        tables = histograms * r if codes.model.kind == "shared" else histograms
    sequences = []
    for first, stop in spans:
        starts = [i for i in range(first, stop) if i == first or tables[i] is not tables[i - 1]]
        runs = [(m * (j - i), tables[i]) for i, j in zip(starts, [*starts[1:], stop], strict=True)]
        sequences.append(Sequence(np.arange(stop - first), None, runs))
    return sequences


def _sequences(codes: ScalarCodes, histograms: list[FrequencyTable], spans: list[tuple[int, int]]) -> list[Sequence]:
    return _by_law(codes, spans) if codes.model.kind == "column" else _by_column(codes, histograms, spans)


def _decode_block(block: Block) -> NDArray[np.int32]:
    return block.sequence.write(decode_runs(block.payload, block.escaped, block.sequence.runs, name=block.name), block.rows)


def encode_scalar(codes: ScalarCodes) -> tuple[bytes, bytes]:
    """Side information and payload."""
    integers, model = codes.integers, codes.model
    m, r = integers.shape
    flags = (
        _STEP_EXPONENTS * (codes.step_exponents is not None)
        | _ROW_EXPONENTS * (codes.row_exponents is not None)
        | _ROW_SCALES * (codes.row_scales is not None)
        | _ZERO_POINTS * (codes.zero_points is not None)
        | _GAIN_STD * (codes.gain_std > 0)
        | _COLUMN_GAINS * (codes.column_gains is not None)
        | _MID_RISE * (codes.offset == 0.5)
    )
    side = bytearray(struct.pack("<Bf", flags, codes.step))
    if codes.step_exponents is not None:
        side += exponent_bytes(codes.step_exponents)
    if codes.row_exponents is not None:
        side += exponent_bytes(codes.row_exponents)
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

    spans, payload = _spans(m, r), bytearray()
    for (first, stop), sequence in zip(spans, _sequences(codes, histograms, spans), strict=True):
        words, escaped = encode_runs(sequence.read(integers[:, first:stop]))
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
    exponents = read_exponents(reader, columns) if flags & _STEP_EXPONENTS else None
    row_exponents = read_exponents(reader, rows) if flags & _ROW_EXPONENTS else None
    groups = group_size = 0
    row_scales = None
    if flags & _ROW_SCALES:
        groups, group_size = reader.varint(), reader.varint()
        row_scales = reader.bfloat16(rows, groups)
    zero_points = reader.bytes_array(rows, groups).view(np.int8) if flags & _ZERO_POINTS else None
    gain_std = reader.f32() if flags & _GAIN_STD else 0.0
    column_gains = reader.bfloat16(columns) if flags & _COLUMN_GAINS else None
    kind_index = reader.u8()
    if kind_index >= len(_MODELS):
        raise CorruptFile(f"{reader.name}: code model {kind_index}, which this version does not know; the file is damaged")
    kind = _MODELS[kind_index]
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
        row_exponents=row_exponents,
        row_scales=row_scales,
        zero_points=zero_points,
        group_size=group_size,
        offset=0.5 if flags & _MID_RISE else 0.0,
        gain_std=gain_std,
        column_gains=column_gains,
    )
    spans = _spans(rows, columns)
    heads = []
    for _ in spans:
        words = reader.varint()
        escaped = np.array([reader.varint() for _ in range(reader.varint())], dtype=np.int64)
        heads.append((words, escaped, reader.u32()))
    blocks = []
    for number, (sequence, (words, escaped, checksum)) in enumerate(zip(_sequences(codes, histograms, spans), heads, strict=True)):
        data = reader.take(4 * words)
        if zlib.crc32(data) != checksum:
            raise CorruptFile(f"{reader.name}: checksum mismatch in block {number} of {len(spans)}; the file is damaged: write it again")
        blocks.append(Block(rows, sequence, np.frombuffer(data, "<u4").astype(np.uint32), escaped, reader.name))
    for (first, stop), integers in zip(spans, apply(_decode_block, blocks), strict=True):
        codes.integers[:, first:stop] = integers
    return codes
