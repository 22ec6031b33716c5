"""Integers on uniform grids, range-coded in blocks of columns that decode apart from each other.

Layout::

    flags                                                 u8          with INTEGER_GAINS gains follow from the integers
    step                                                  f32
    step exponents                                        see `rdtools.coding.entropy.exponents`, if the columns differ
    row exponents                                         see there, if the rows differ
    groups, group size                                    2×varint    if there are row scales
    row scales                                            m×G×bf16    if there are
    zero points                                           m×G×i8      if there are
    gain std                                              f32         if there is one
    column gains                                          r×bf16      if there are
    code model, its numbers                               u8; fixed: levels u32; column: weight std, noise variance 2×f32;
                                                          adaptive: these and what `rdtools.coding.formats.learnt` has;
                                                          shared: a histogram; histogram: one for each column
    of each block of columns                              see `rdtools.coding.formats.word_blocks`

The payload of a block is u32 words of a range coder: column by column, or with Gaussian models those of one model after those of another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, beside, is_tensor, on_host, panels
from rdtools.coding import format_v2 as fmt
from rdtools.coding import format_v3
from rdtools.coding.codec import Codec, Diagnostics, Map, Sample
from rdtools.coding.entropy.blocks import Block, decode_block, spans
from rdtools.coding.entropy.blocks import Sequence as BlockSequence
from rdtools.coding.entropy.coder import encode_runs
from rdtools.coding.entropy.exponents import exponent_bytes, read_exponents, step_exponents
from rdtools.coding.entropy.models import FrequencyTable, count_integers, mean_column_entropy, pooled_entropy
from rdtools.coding.fields import Reader, packed, varint
from rdtools.coding.formats import learnt
from rdtools.coding.formats.integer_models import MODEL_CODERS, StoredModel, scalar_code_length
from rdtools.coding.formats.sampled_blocks import sample_blocks
from rdtools.coding.formats.word_blocks import block_bytes, read_block
from rdtools.coding.scales import bfloat16_bytes
from rdtools.errors import UsageError
from rdtools.normal import gain_of_mean_square, lmmse_gain
from rdtools.records import ENTROPY_MODELS, CodeModelKind, Gains, RowScales, ScalarSymbols, UniformGrid

#: Frequencies of Gaussian models that any file may make a decoder compute, in about a second: 64 of the widest tables.
MAX_FREQUENCIES = 2**25


def encode(symbols: ScalarSymbols, before: Sequence[ScalarSymbols] = ()) -> tuple[bytes, bytes]:
    """Side information and payload; the matrices before, if any, have the same step exponents."""
    model: Any = symbols.model  # of the class that the entry of its kind expects
    side, tables = _head(symbols, before)
    if model.learns:
        head, coded = learnt.encode_learnt(symbols, model, _learnable(before))
        return side + head, coded
    heads, payload = bytearray(), bytearray()
    for (first, stop), sequence in _sequences(symbols, tables):
        numbers, data = block_bytes(*encode_runs(sequence.read(symbols.integers[:, first:stop])))
        heads += numbers
        payload += data
    return side + bytes(heads), bytes(payload)


def _sequences(symbols: ScalarSymbols, tables: Sequence[FrequencyTable]) -> list[tuple[tuple[int, int], BlockSequence]]:
    """Columns of each block, and the order and models of its integers."""
    model: Any = symbols.model
    columns = spans(*symbols.integers.shape)
    return list(zip(columns, MODEL_CODERS[model.kind].sequences(symbols, model, tables, columns), strict=True))


def sample(symbols: ScalarSymbols) -> Sample | None:
    """A part of the blocks of columns coded and decoded; None for a single block, or models that are learnt from one to the next."""
    if symbols.model.learns or len(spans(*symbols.integers.shape)) < 2:
        return None
    side, tables = _head(symbols, ())
    return sample_blocks(side, symbols.integers, _sequences(symbols, tables), scalar_code_length(symbols)[0])


def _head(symbols: ScalarSymbols, before: Sequence[ScalarSymbols]) -> tuple[bytes, Sequence[FrequencyTable]]:
    """Side information before that of the blocks, and the histograms in it."""
    integers, grid, gains = symbols.integers, symbols.grid, symbols.gains
    model: Any = symbols.model
    if grid.levels and integers.size:
        levels = grid.column_levels(integers.shape[1])
        if (integers.min(0) < -(levels // 2)).any() or (integers.max(0) >= levels - levels // 2).any():
            raise UsageError(f"encode: integers beyond the levels of their columns, {levels.min()} to {levels.max()} of them; clip them")
    flags = (
        fmt.STEP_EXPONENTS * (grid.exponents is not None)
        | fmt.ROW_EXPONENTS * (model.row_exponents is not None)
        | fmt.ROW_SCALES * (grid.rows is not None)
        | fmt.ZERO_POINTS * (grid.rows is not None and grid.rows.zero_points is not None)
        | fmt.GAIN_STD * (gains.lmmse_std > 0)
        | fmt.COLUMN_GAINS * (gains.columns is not None)
        | fmt.MID_RISE * (grid.offset == 0.5)
        | format_v3.INTEGER_GAINS * gains.of_integers
    )
    side = bytearray(packed(fmt.SCALAR_HEAD, flags, grid.step))
    if grid.exponents is not None and not before:
        side += exponent_bytes(grid.exponents)
    if model.row_exponents is not None:
        side += exponent_bytes(model.row_exponents)
    if grid.rows is not None:
        side += varint(grid.rows.scales.shape[1]) + varint(grid.rows.group_size) + bfloat16_bytes(grid.rows.scales)
        if grid.rows.zero_points is not None:
            side += grid.rows.zero_points.tobytes()
    if gains.lmmse_std > 0:
        side += packed(fmt.GAIN, gains.lmmse_std)
    if gains.columns is not None:
        side += bfloat16_bytes(gains.columns)

    side += bytes([_models().index(model.kind)])
    numbers, tables = MODEL_CODERS[model.kind].numbers(symbols, model)
    return bytes(side) + numbers, tables


def _learnable(before: Sequence[ScalarSymbols]) -> learnt.Before:
    """Symbols from whose rows models of columns can go on to learn."""
    return [symbols for symbols in before if symbols.model.gaussian]


def _models() -> tuple[CodeModelKind, ...]:
    """Kinds of entropy models by their stored place."""
    return (*fmt.MODELS, *format_v3.NEW_MODELS)


def _read_symbols(side: Reader, rows: int, columns: int, before: Sequence[ScalarSymbols]) -> tuple[ScalarSymbols, StoredModel]:
    """The symbols without their integers, and their model as it is stored."""
    flags, step = fmt.SCALAR_HEAD.unpack(side.take(fmt.SCALAR_HEAD.size))
    if flags & fmt.ZERO_POINTS and not flags & fmt.ROW_SCALES:
        raise side.refusal("zero points without row scales, expected both or none")
    exponents = step_exponents(side, columns, before) if flags & fmt.STEP_EXPONENTS else None
    row_exponents = read_exponents(side, rows) if flags & fmt.ROW_EXPONENTS else None
    row_scales = None
    if flags & fmt.ROW_SCALES:
        groups, group_size = side.count("number of groups", max(columns, 1)), side.count("group size", 2**31)
        scales = side.bfloat16("row scales", rows, groups)
        zero_points = side.bytes_array(rows, groups).view(np.int8) if flags & fmt.ZERO_POINTS else None
        row_scales = side.build(RowScales, scales, zero_points, group_size)
    lmmse_std = fmt.GAIN.unpack(side.take(fmt.GAIN.size))[0] if flags & fmt.GAIN_STD else 0.0
    fitted = side.bfloat16("column gains", columns) if flags & fmt.COLUMN_GAINS else None
    gains = side.build(Gains, lmmse_std, fitted, bool(flags & format_v3.INTEGER_GAINS))
    kind = side.choice("entropy model", _models(), side.u8())
    if row_exponents is not None and not ENTROPY_MODELS[kind].gaussian:
        raise side.refusal(f"row exponents beside a {kind} model, expected them beside a Gaussian one only")
    stored = MODEL_CODERS[kind].read(side, rows, columns, row_exponents, _learnable(before))
    grid = side.build(UniformGrid, step, exponents, 0.5 if flags & fmt.MID_RISE else 0.0, stored.levels, row_scales)
    return side.build(ScalarSymbols, np.empty((rows, columns), dtype=np.int32), grid, stored.model, gains), stored


def decode(side: Reader, payload: Reader, rows: int, columns: int, apply: Map, before: Sequence[ScalarSymbols] = ()) -> ScalarSymbols:
    """Read what `encode` writes, for m rows and r columns, after the matrices that were given to it.

    Raises
    ------
    CorruptFile
    """
    symbols, stored = _read_symbols(side, rows, columns, before)
    model: Any = symbols.model
    if model.learns:
        learnt.decode_groups(side, payload, symbols, model, stored.past, apply)
        return symbols
    bounds, remaining = spans(rows, columns), payload.remaining
    words_read = [
        read_block(side, payload, rows * (stop - first), name=f"block {number} of {len(bounds)}")
        for number, (first, stop) in enumerate(bounds)
    ]
    orders = MODEL_CODERS[model.kind].sequences(symbols, model, stored.tables, bounds)
    size, most = sum(model.size for order in orders for _, model in order.runs), max(MAX_FREQUENCIES, 2**12 * remaining)
    if size > most:
        raise side.refusal(f"Gaussian models of {size} frequencies for {remaining} bytes, expected at most {most}")
    blocks = [Block(rows, order, words, escaped, payload.name) for order, (words, escaped) in zip(orders, words_read, strict=True)]
    for (first, stop), integers in zip(bounds, apply(decode_block, blocks), strict=True):
        symbols.integers[:, first:stop] = integers
    return symbols


#: Integers count as no larger than this in a mean square, which then sums exactly; their gain is 1 by far.
_LARGEST = 2**15


def integer_gains(integers: Matrix) -> Float64Array:
    """(r,) LMMSE gain of each column, from the mean square of its integers (m, r) alone."""
    squares = np.zeros(integers.shape[1], dtype=np.int64)
    for rows in (slice(None),) if is_tensor(integers) else panels(*integers.shape):
        bounded = as_dtype(integers[rows].clip(-_LARGEST, _LARGEST), "int64")
        squares += on_host((bounded * bounded).sum(0)) if is_tensor(bounded) else np.einsum("ij,ij->j", bounded, bounded)
    return gain_of_mean_square(squares / max(len(integers), 1))


def reconstruction_gains(symbols: ScalarSymbols) -> Float64Array:
    """(r,) gain of each column, stored ones apart: of its integers, of its step, or 1."""
    if symbols.gains.of_integers:
        return integer_gains(symbols.integers)
    steps, std = symbols.column_steps, symbols.gains.lmmse_std
    return lmmse_gain(steps / std) if std > 0 else np.ones_like(steps)


def column_scales(symbols: ScalarSymbols) -> Float64Array:
    """(r,) distance between neighbouring points of each column, row scales apart: step times gains."""
    scales = reconstruction_gains(symbols) * symbols.column_steps
    return scales if symbols.gains.columns is None else scales * symbols.gains.columns


def spread_groups(values: NDArray[Any], group_size: int, columns: int) -> Float64Array:
    """(m, r) from (m, G): the value of each column's group."""
    group = np.zeros(columns, dtype=np.intp) if group_size == 0 else np.arange(columns) // group_size
    return np.asarray(values[:, group], dtype=np.float64)


def _groups(rows: RowScales, columns: int, some: slice) -> Iterator[tuple[int, slice]]:
    """Each group of columns that have a scale of their own and are among some of the columns, and where it is among these."""
    size = rows.group_size or max(columns, 1)
    for group, first in enumerate(range(0, columns, size)):
        start, stop = max(first, some.start), min(first + size, some.stop)
        if start < stop:
            yield group, slice(start - some.start, stop - some.start)


def values(symbols: ScalarSymbols, columns: int) -> Matrix:
    """(m, r) the numbers that integers stand for, where they are; the formula is that of `ScalarSymbols`."""
    return part_values(symbols, columns, slice(None), slice(0, columns))


def part_values(symbols: ScalarSymbols, columns: int, some_rows: slice, some: slice) -> Matrix:
    """`values` of some rows and columns."""
    grid, rows = symbols.grid, symbols.grid.rows
    scales = column_scales(symbols)
    levels: Matrix = as_dtype(symbols.integers[some_rows, some], "float64")
    levels += grid.offset
    if grid.levels:
        scales = np.where(grid.column_levels(columns) > 1, scales, 0.0)  # a single level is at zero
    if rows is not None and rows.zero_points is not None:
        for group, part in _groups(rows, columns, some):
            levels[:, part] -= beside(rows.zero_points[some_rows, group, None], levels)
    levels *= beside(scales[some], levels)
    if rows is not None:
        for group, part in _groups(rows, columns, some):
            levels[:, part] *= beside(rows.scales[some_rows, group, None], levels)
    return levels


def clipped_fraction(symbols: ScalarSymbols) -> float:
    """Share of the integers of a fixed-rate grid that are the minimum or the maximum of its levels; nan for other integers."""
    if not symbols.grid.levels or symbols.integers.size == 0:
        return float("nan")
    levels = symbols.grid.column_levels(symbols.integers.shape[1])
    lowest = -(levels // 2)
    return float(np.mean((levels > 1) & ((symbols.integers == lowest) | (symbols.integers == lowest + levels - 1))))


def _diagnostics(symbols: ScalarSymbols) -> Diagnostics:
    counts = count_integers(symbols.integers)
    return Diagnostics(
        length_bits=math.fsum(scalar_code_length(symbols, counts)),
        symbols=symbols.integers.size,
        entropy_shared_bits=pooled_entropy(counts),
        entropy_column_bits=mean_column_entropy(counts),
        clipped_fraction=clipped_fraction(symbols),
    )


CODEC = Codec(
    type=ScalarSymbols,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: symbols.integers.shape == (rows, columns),
    values=values,
    part_values=part_values,
    length_bits=lambda symbols: math.fsum(scalar_code_length(symbols)),
    rate_kind=lambda symbols: MODEL_CODERS[symbols.model.kind].rate_kind,
    diagnostics=_diagnostics,
    sample=sample,
    values_on_device=True,
    exponents=lambda symbols: symbols.grid.exponents,
)
