"""Points of D4 and E8 down every column, range-coded in blocks of columns that decode apart from each other.

Layout::

    flags, step                                           u8 f32      flags of `rdtools.coding.format_v2` for the two kinds of exponents
    step exponents                                        see `rdtools.coding.entropy.exponents`, if the columns differ
    row exponents                                         see there, if the rows differ
    lattice                                               u8
    weight std, noise variance                            2×f32
    of each block of columns                              see `rdtools.coding.formats.word_blocks`

The payload of a block is u32 words of a range coder: the numbers of the codewords, those of one standard deviation after those of another,
then ``⌊q/2⌋`` of the integers, those of one Gaussian and parity after those of another, each by rows. See
`rdtools.coding.entropy.lattice_points`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Int64Array
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.entropy.blocks import spans
from rdtools.coding.entropy.coder import Model, decode_runs, encode_runs
from rdtools.coding.entropy.exponents import exponent_bytes, read_exponents, step_exponents
from rdtools.coding.entropy.gaussians import Gaussian, gaussian_stds
from rdtools.coding.entropy.lattice_points import codewords, point_code_length, point_gaussians, word_numbers, word_stds, word_table
from rdtools.coding.fields import Reader, packed
from rdtools.coding.formats.scalar import MAX_FREQUENCIES
from rdtools.coding.formats.word_blocks import block_bytes, read_block
from rdtools.errors import CodingError, CorruptFile
from rdtools.records import GaussianModel, LatticeName, LatticePoints, UniformGrid


@dataclass(frozen=True, eq=False)
class _PointModels:
    """Models of a matrix, which both sides know before its first symbol.

    Attributes
    ----------
    words, tables : (vectors, r) which table a codeword has, and the tables
    rows, columns, index : exponents, and index of a Gaussian by their difference
    gaussians : an even and an odd one at each index
    lattice : its name
    """

    words: Int64Array
    tables: list[Model]
    rows: Int64Array
    columns: Int64Array
    index: Int64Array
    gaussians: list[Gaussian]
    lattice: LatticeName

    @classmethod
    def of(cls, symbols: LatticePoints) -> _PointModels:
        gaussians = point_gaussians(symbols)
        words, stds = word_stds(symbols, gaussians)
        tables: list[Model] = [word_table(std, symbols.lattice) for std in stds.tolist()]
        rows, index = gaussians.lookup
        both = [Gaussian(std, offset) for std in gaussian_stds(symbols.model, gaussians.steps).tolist() for offset in (0.0, 0.5)]
        return cls(words, tables, rows, gaussians.columns, index, both, symbols.lattice)

    def integer_models(self, first: int, stop: int, parities: NDArray[np.int64]) -> Int64Array:
        """(m, p) which Gaussian an integer of a block has, given its parity."""
        return np.asarray(2 * self.index[self.rows[:, None] - self.columns[first:stop]] + parities, dtype=np.int64)


def _runs(models: Int64Array) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
    """Positions of symbols, those of one model after those of another, and (model, count) of each run."""
    flat = models.ravel()
    counts = np.bincount(flat) if flat.size else np.zeros(0, dtype=np.int64)
    return np.argsort(flat, kind="stable"), [(int(k), int(counts[k])) for k in np.flatnonzero(counts)]


def _sorted_runs(values: Int64Array, models: Int64Array, known: Sequence[Model]) -> list[tuple[Int64Array, Model]]:
    order, runs = _runs(models)
    stops = np.cumsum([count for _, count in runs])
    flat = values.ravel()[order]
    return [(flat[stop - count : stop], known[k]) for (k, count), stop in zip(runs, stops.tolist(), strict=True)]


def _whole_vectors(rows: int, lattice: LatticeName) -> int:
    """Rows that make whole vectors."""
    size = codewords(lattice).shape[1]
    return int(rows // size * size)


def encode(symbols: LatticePoints, before: Sequence[LatticePoints] = ()) -> tuple[bytes, bytes]:
    """Side information and payload; the matrices before, if any, have the same step exponents.

    Raises
    ------
    CodingError
        For integers that are no points of the lattice.
    """
    grid, model, integers = symbols.grid, symbols.model, symbols.integers
    flags = v2.STEP_EXPONENTS * (grid.exponents is not None) | v2.ROW_EXPONENTS * (model.row_exponents is not None)
    side = bytearray(packed(v2.SCALAR_HEAD, flags, grid.step))
    side += b"".join(exponent_bytes(e) for e in (None if before else grid.exponents, model.row_exponents) if e is not None)
    side += bytes([v3.LATTICES.index(symbols.lattice)]) + packed(v2.GAUSSIAN, model.weight_std, model.noise_variance)
    models, payload, covered = _PointModels.of(symbols), bytearray(), _whole_vectors(len(integers), symbols.lattice)
    for first, stop in spans(*integers.shape):
        block = integers[:, first:stop].astype(np.int64)
        parities = block & 1
        numbers = word_numbers(parities[:covered].astype(np.int32), symbols.lattice)
        if numbers is None or parities[covered:].any():
            raise CodingError(f"columns {first} to {stop - 1}: integers that are no points of {symbols.lattice}; expected points of it")
        words = _sorted_runs(numbers, models.words[:, first:stop], models.tables)
        halves = _sorted_runs(block >> 1, models.integer_models(first, stop, parities), models.gaussians)
        coded, escaped = encode_runs([*words, *halves])
        side_bytes, data = block_bytes(coded, escaped)
        side += side_bytes
        payload += data
    return bytes(side), bytes(payload)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of columns, which decodes by itself."""

    words: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    known: _PointModels
    first: int
    stop: int
    name: str


def _scattered(values: Sequence[Int64Array], order: NDArray[np.intp], shape: tuple[int, int]) -> Int64Array:
    flat = np.zeros(shape[0] * shape[1], dtype=np.int64)
    if values:
        flat[order] = np.concatenate(list(values))
    return flat.reshape(shape)


def _decode_block(block: _Block) -> NDArray[np.int32]:
    known, width = block.known, block.stop - block.first
    parities = np.zeros((len(known.rows), width), dtype=np.int64)
    covered = _whole_vectors(len(parities), known.lattice)
    decoded: list[Int64Array] = []
    order, runs = _runs(known.words[:, block.first : block.stop])
    inner: list[NDArray[np.intp]] = []

    def models() -> Iterator[tuple[int, Model]]:
        """Counts and models of the codewords, and then, once these are decoded, of the integers."""
        yield from ((count, known.tables[k]) for k, count in runs)
        numbers = _scattered(decoded, order, (len(known.words), width))
        parities[:covered] = codewords(known.lattice)[numbers].transpose(0, 2, 1).reshape(covered, width)
        positions, of_integers = _runs(known.integer_models(block.first, block.stop, parities))
        inner.append(positions)
        yield from ((count, known.gaussians[k]) for k, count in of_integers)

    decode_runs(block.words, block.escaped, models(), name=block.name, decoded=decoded)
    integers = 2 * _scattered(decoded[len(runs) :], inner[0], parities.shape) + parities
    if integers.size and not -(2**31) <= integers.min() <= integers.max() < 2**31:
        raise CorruptFile(f"{block.name}: integers of more than 32 bits; the file is damaged: write it again")
    return integers.astype(np.int32)


def decode(side: Reader, payload: Reader, rows: int, columns: int, apply: Map, before: Sequence[LatticePoints] = ()) -> LatticePoints:
    """Read what `encode` writes, for m rows and r columns, after the matrices that were given to it.

    Raises
    ------
    CorruptFile
    """
    flags, step = v2.SCALAR_HEAD.unpack(side.take(v2.SCALAR_HEAD.size))
    flags = side.flags("flags of integers", v2.STEP_EXPONENTS | v2.ROW_EXPONENTS, flags)
    exponents = step_exponents(side, columns, before) if flags & v2.STEP_EXPONENTS else None
    row_exponents = read_exponents(side, rows) if flags & v2.ROW_EXPONENTS else None
    lattice = side.choice("lattice", v3.LATTICES, side.u8())
    weight_std, noise_variance = v2.GAUSSIAN.unpack(side.take(v2.GAUSSIAN.size))
    model = side.build(GaussianModel, weight_std, noise_variance, row_exponents)
    grid = side.build(UniformGrid, step, exponents)
    symbols = side.build(LatticePoints, np.empty((rows, columns), dtype=np.int32), grid, model, lattice)
    models, remaining = _PointModels.of(symbols), payload.remaining
    size, most = sum(gaussian.size for gaussian in models.gaussians), max(MAX_FREQUENCIES, 2**12 * remaining)
    if size > most:
        raise side.refusal(f"Gaussian models of {size} frequencies for {remaining} bytes, expected at most {most}")
    blocks = []
    for number, (first, stop) in enumerate(spans(rows, columns)):
        words, escaped = read_block(side, payload, rows * (stop - first), name=f"block {number}")
        blocks.append(_Block(words, escaped, models, first, stop, payload.name))
    for block, integers in zip(blocks, apply(_decode_block, blocks), strict=True):
        symbols.integers[:, block.first : block.stop] = integers
    return symbols


def values(symbols: LatticePoints, _: int) -> Float64Array:
    """(m, r) the numbers that integers stand for: half a step each."""
    return np.asarray(symbols.integers * (0.5 * symbols.column_steps))


CODEC = Codec(
    type=LatticePoints,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: symbols.integers.shape == (rows, columns),
    values=values,
    part_values=lambda symbols, _, rows, some: symbols.integers[rows, some] * (0.5 * symbols.column_steps[some]),
    length_bits=point_code_length,
    rate_kind=lambda symbols: "entropy_lattice",
    diagnostics=lambda symbols: Diagnostics(point_code_length(symbols), symbols=symbols.integers.size),
    exponents=lambda symbols: symbols.grid.exponents,
)
