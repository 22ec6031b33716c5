"""Integers that walk a trellis of cosets down every column, range-coded row by row in blocks of columns that decode apart from each other.

Layout::

    flags, step                                           u8 f32      flags of `rdtools.coding.format_v2` for the two kinds of exponents
    step exponents                                        see `rdtools.coding.entropy.exponents`, if the columns differ
    row exponents                                         see there, if the rows differ
    bits of a state, rows of a walk                       u8, varint
    weight std, noise variance                            2×f32
    strength, columns of a group                          u8 u16      with the flag COSET_ADAPTIVE: see `rdtools.coding.formats.learnt`
    of each block of columns                              see `rdtools.coding.formats.word_blocks`

The state of a column, which starts at 0, says the parity of its next integer, and the Gaussian of a column and row has a table for each
parity: see `rdtools.coding.entropy.coset`. The words are those of `rdtools.kernels.coset_coder_reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Int64Array, Matrix, as_dtype, beside
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.entropy.blocks import spans
from rdtools.coding.entropy.coset import coset_code_length, coset_tables
from rdtools.coding.entropy.exponents import exponent_bytes, read_exponents, step_exponents
from rdtools.coding.fields import Reader, packed, varint
from rdtools.coding.formats import learnt
from rdtools.coding.formats.word_blocks import block_bytes, read_block
from rdtools.errors import CodingError, CorruptFile
from rdtools.ops import coset_decode, coset_encode, coset_transitions
from rdtools.ops.coset_coder import Tables
from rdtools.records import CodeModelKind, CosetSymbols, GaussianModel, UniformGrid

#: Flags and rate kinds of the two kinds of models that the integers may have.
_ADAPTIVE: dict[CodeModelKind, int] = {"column": 0, "adaptive": v3.COSET_ADAPTIVE}
_RATE_KINDS: dict[CodeModelKind, str] = {"column": "entropy_trellis", "adaptive": "entropy_adaptive"}


def encode(symbols: CosetSymbols, before: Sequence[CosetSymbols] = ()) -> tuple[bytes, bytes]:
    """Side information and payload; the matrices before, if any, have the same step exponents.

    Raises
    ------
    CodingError
        For integers that are no walks of the trellis.
    """
    grid = symbols.grid
    model: Any = symbols.model
    flags = v2.STEP_EXPONENTS * (grid.exponents is not None) | v2.ROW_EXPONENTS * (model.row_exponents is not None)
    flags |= _ADAPTIVE[model.kind]
    side = bytearray(packed(v2.SCALAR_HEAD, flags, grid.step))
    side += b"".join(exponent_bytes(e) for e in (None if before else grid.exponents, model.row_exponents) if e is not None)
    side += packed(v3.COSET_STATE, symbols.states.bit_length() - 1) + varint(symbols.segment)
    side += packed(v2.GAUSSIAN, model.weight_std, model.noise_variance)
    if model.learns:
        head, coded = learnt.encode_learnt(symbols, model, before)
        return bytes(side) + head, coded
    if flags & v3.COSET_ADAPTIVE:
        side += learnt.head_bytes(model)
    transitions, payload = coset_transitions(symbols.states), bytearray()
    rows, columns, gaussian, tables = coset_tables(symbols)
    for first, stop in spans(*symbols.integers.shape):
        block = symbols.integers[:, first:stop]
        words, escaped, fault = coset_encode(block, rows, columns[first:stop], gaussian, tables, transitions, symbols.segment)
        if fault:
            raise CodingError(f"columns {first} to {stop - 1}: {fault}; expected those of a trellis of {symbols.states} states")
        numbers, data = block_bytes(words, escaped.tolist())
        side += numbers
        payload += data
    return bytes(side), bytes(payload)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of columns, which decodes by itself."""

    words: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    rows: Int64Array
    columns: Int64Array
    gaussian: Int64Array
    tables: Tables
    states: int
    segment: int
    name: str


def _decode_block(block: _Block) -> NDArray[np.int32]:
    transitions = coset_transitions(block.states)
    integers, fault = coset_decode(
        block.words, block.escaped, block.rows, block.columns, block.gaussian, block.tables, transitions, block.segment
    )
    if fault:
        raise CorruptFile(f"{block.name}: {fault}; the file is damaged: write it again")
    return integers


def decode(side: Reader, payload: Reader, rows: int, columns: int, apply: Map, before: Sequence[CosetSymbols] = ()) -> CosetSymbols:
    """Read what `encode` writes, for m rows and r columns, after the matrices that were given to it.

    Raises
    ------
    CorruptFile
    """
    flags, step = v2.SCALAR_HEAD.unpack(side.take(v2.SCALAR_HEAD.size))
    flags = side.flags("flags of integers", v2.STEP_EXPONENTS | v2.ROW_EXPONENTS | v3.COSET_ADAPTIVE, flags)
    exponents = step_exponents(side, columns, before) if flags & v2.STEP_EXPONENTS else None
    row_exponents = read_exponents(side, rows) if flags & v2.ROW_EXPONENTS else None
    state_bits = side.choice("bits of a state", {bits: bits for bits in v3.COSET_STATE_BITS}, side.u8())
    segment = side.count("rows of a walk", 2**31)
    weight_std, noise_variance = v2.GAUSSIAN.unpack(side.take(v2.GAUSSIAN.size))
    model: Any = side.build(GaussianModel, weight_std, noise_variance, row_exponents)
    past: learnt.Before = before
    if flags & v3.COSET_ADAPTIVE:
        model, past = learnt.read_head(side, model, rows, before)
    grid = side.build(UniformGrid, step, exponents)
    symbols = side.build(CosetSymbols, np.empty((rows, columns), dtype=np.int32), grid, model, 1 << state_bits, segment)
    if model.learns:
        learnt.decode_groups(side, payload, symbols, model, past, apply)
        return symbols
    row_gaussians, column_gaussians, gaussian, tables = coset_tables(symbols)
    blocks, blocks_of_columns = [], spans(rows, columns)
    for number, (first, stop) in enumerate(blocks_of_columns):
        words, escaped = read_block(side, payload, rows * (stop - first), name=f"block {number} of {len(blocks_of_columns)}")
        blocks.append(
            _Block(words, escaped, row_gaussians, column_gaussians[first:stop], gaussian, tables, symbols.states, segment, payload.name)
        )
    for (first, stop), integers in zip(blocks_of_columns, apply(_decode_block, blocks), strict=True):
        symbols.integers[:, first:stop] = integers
    return symbols


def values(symbols: CosetSymbols, columns: int) -> Matrix:
    """(m, r) the numbers that integers stand for, where they are: half a step each."""
    return part_values(symbols, columns, slice(None), slice(0, columns))


def part_values(symbols: CosetSymbols, _: int, rows: slice, some: slice) -> Matrix:
    """`values` of some rows and columns."""
    numbers = as_dtype(symbols.integers[rows, some], "float64")
    numbers *= beside(0.5 * symbols.column_steps[some], numbers)
    return numbers


CODEC = Codec(
    type=CosetSymbols,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: symbols.integers.shape == (rows, columns),
    values=values,
    part_values=part_values,
    length_bits=coset_code_length,
    rate_kind=lambda symbols: _RATE_KINDS[symbols.model.kind],
    diagnostics=lambda symbols: Diagnostics(coset_code_length(symbols), symbols=symbols.integers.size),
    values_on_device=True,
    exponents=lambda symbols: symbols.grid.exponents,
)
