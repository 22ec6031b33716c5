"""Quantized integers, lattice words and trellis paths, as they are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, is_tensor, on_host
from rdtools.records.entropy_models import EntropyModel, GaussianModel
from rdtools.records.grids import UniformGrid, check_array

TrellisCode = Literal["1mad", "3inst", "hyb"]


class Symbols:
    """Base of the records that a file stores, each by its codec: see `rdtools.coding.formats`."""

    @property
    def in_memory(self) -> Self:
        """The symbols with everything in main memory, where they are coded: themselves, unless a quantizer has left some on a device."""
        record: Any = self
        moved = {part.name: on_host(value) for part in fields(record) if is_tensor(value := getattr(self, part.name))}
        return replace(record, **moved) if moved else self


@dataclass(frozen=True, eq=False)
class Gains:
    """Numbers that multiply the points of columns.

    Attributes
    ----------
    of_integers : column i has the gain ``gain_of_mean_square(mean of z_ki² over k)``, which the decoder computes
    lmmse_std : float32 value; if positive, column i has the gain ``lmmse_gain(step_i / lmmse_std)``: files of rdtools 0.1
    columns : (r,) float64 holding bfloat16 values, which multiply these; None for 1
    """

    lmmse_std: float = 0.0
    columns: Float64Array | None = None
    of_integers: bool = False

    def __post_init__(self) -> None:
        if self.of_integers and self.lmmse_std:
            raise ValueError(f"gains of the integers beside lmmse_std {self.lmmse_std}, expected one or the other")
        if not (math.isfinite(self.lmmse_std) and self.lmmse_std >= 0):
            raise ValueError(f"lmmse_std {self.lmmse_std}, expected a finite number of at least 0")
        check_array("column gains", self.columns, np.float64, (None,))


@dataclass(frozen=True, eq=False)
class ScalarSymbols(Symbols):
    """Integers, the grid that they are on, and the entropy model under which they are coded: ``X_ki = gain_i · point_ki(z_ki)``.

    Attributes
    ----------
    integers : (m, r) int32, z; a tensor while a quantizer searches on a device
    grid : their points; it has levels if, and only if, the model is uniform
    model : how the integers are coded
    gains : of the columns
    """

    integers: Matrix
    grid: UniformGrid
    model: EntropyModel
    gains: Gains = Gains()

    def __post_init__(self) -> None:
        check_array("integers", self.integers, np.int32, (None, None))
        m, r = self.integers.shape
        self.grid.check(m, r)
        check_array("column gains", self.gains.columns, np.float64, (r,))
        if (self.model.kind == "fixed") != (self.grid.levels > 0):
            raise ValueError(
                f"{self.grid.levels} levels under a {type(self.model).__name__}, expected levels "
                "beside a uniform model and none beside others"
            )
        if self.gains.of_integers and (self.grid.levels or self.grid.offset):
            raise ValueError("gains of the integers on a grid with levels or an offset, expected an unbounded one around zero")
        check_array("row exponents", self.model.row_exponents, np.uint8, (m,))
        if self.model.gaussian and self.grid.step == 0:
            raise ValueError("step 0 beside a Gaussian model, expected a step above 0")

    @property
    def column_steps(self) -> Float64Array:
        """(r,) step of each column."""
        return self.grid.column_steps(self.integers.shape[1])


@dataclass(frozen=True, eq=False)
class CosetSymbols(Symbols):
    """Integers that walk a trellis of cosets down every column: ``X_ki = q_ki · step_i / 2``; see `rdtools.ops.coset_trellis_sweep`.

    Attributes
    ----------
    integers : (m, r) int32, q; each is as odd as the state that those before it in its column lead to; a tensor while a quantizer searches
        on a device
    grid : steps of columns, without levels, offset and row scales
    model : under which the integers are coded, given their parity
    states : of the trellis, a power of two from 4 to 1024
    segment : rows after which a walk begins anew
    """

    integers: Matrix
    grid: UniformGrid
    model: GaussianModel
    states: int
    segment: int

    def __post_init__(self) -> None:
        check_array("integers", self.integers, np.int32, (None, None))
        m, r = self.integers.shape
        self.grid.check(m, r)
        check_array("row exponents", self.model.row_exponents, np.uint8, (m,))
        if self.states not in (4, 8, 16, 32, 64, 128, 256, 512, 1024) or not self.segment >= 1:
            raise ValueError(
                f"a trellis of {self.states} states with walks of {self.segment} rows, expected a power of two, 4 to 1024, and 1 or more"
            )
        if self.grid.step == 0 or self.grid.offset or self.grid.levels or self.grid.rows is not None:
            raise ValueError("a grid of step 0, or with an offset, levels or row scales, beside a trellis; expected only steps above 0")

    @property
    def column_steps(self) -> Float64Array:
        """(r,) step of each column, twice the spacing of its points."""
        return self.grid.column_steps(self.integers.shape[1])


LatticeName = Literal["D4", "E8"]


@dataclass(frozen=True, eq=False)
class LatticePoints(Symbols):
    """Points of D4 or E8 down every column: ``X_ki = q_ki · step_i / 2``, four or eight rows being a vector of the lattice.

    Attributes
    ----------
    integers : (m, r) int32, q; the parities of a vector are a word of the lattice's code, and rows that make no whole vector are even
    grid : steps of columns, without levels, offset and row scales
    model : under which the integers are coded, given their parity
    lattice : which of the two
    """

    integers: NDArray[np.int32]
    grid: UniformGrid
    model: GaussianModel
    lattice: LatticeName

    def __post_init__(self) -> None:
        check_array("integers", self.integers, np.int32, (None, None))
        m, r = self.integers.shape
        self.grid.check(m, r)
        check_array("row exponents", self.model.row_exponents, np.uint8, (m,))
        if self.lattice not in get_args(LatticeName):
            raise ValueError(f"lattice {self.lattice!r}, expected one of {', '.join(get_args(LatticeName))}")
        if self.grid.step == 0 or self.grid.offset or self.grid.levels or self.grid.rows is not None:
            raise ValueError("a grid of step 0, or with an offset, levels or row scales, beside a lattice; expected only steps above 0")

    @property
    def size(self) -> int:
        """Rows of a vector."""
        return 4 if self.lattice == "D4" else 8

    @property
    def column_steps(self) -> Float64Array:
        """(r,) step of each column, twice the spacing of its integers."""
        return self.grid.column_steps(self.integers.shape[1])


@dataclass(frozen=True, eq=False)
class LatticeWords(Symbols):
    """Words of the E8P codebook and its residual stages, eight columns of a row at a time; see `rdtools.ops.rvq_decode`.

    ``X = scale · decode(words)``, cut to the rows and columns of the basis.

    Attributes
    ----------
    words : one (m, ⌈r/8⌉) uint16 array for each stage
    bits : 2, 3 or 4 per weight
    scale : float32 value
    residual_scale : float32 value by which the second stage is divided; 0 with one stage
    """

    words: tuple[NDArray[np.uint16], ...]
    bits: int
    scale: float
    residual_scale: float = 0.0

    def __post_init__(self) -> None:
        if self.bits not in (2, 3, 4) or len(self.words) != (1 if self.bits == 2 else 2):
            raise ValueError(f"lattice words of {self.bits} bits in {len(self.words)} stages, expected 2 in one, or 3 or 4 in two")
        for stage in self.words:
            check_array("words", stage, np.uint16, self.words[0].shape if self.words[0].ndim == 2 else (None, None))
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale {self.scale}, expected a finite number of at least 0")
        if not (math.isfinite(self.residual_scale) and (self.residual_scale > 0 if self.bits > 2 else self.residual_scale == 0)):
            raise ValueError(
                f"residual_scale {self.residual_scale} at {self.bits} bits, expected 0 at 2 bits and else a finite number above 0"
            )


@dataclass(frozen=True, eq=False)
class TrellisPaths(Symbols):
    """Tail-biting paths through a bitshift trellis, one for each tile of 16 × 16 weights; see `rdtools.ops.trellis_decode`.

    ``X = scale · decode(paths)``, tiles by rows of tiles, weights within a tile by rows, cut to the rows and columns of the basis.

    Attributes
    ----------
    paths : (tiles, 32 · bits) uint8
    code : which function of the state gives the values
    state_bits : L
    bits : per weight
    scale : float32 value
    """

    paths: NDArray[np.uint8]
    code: TrellisCode
    state_bits: int
    bits: int
    scale: float

    def __post_init__(self) -> None:
        if self.code not in get_args(TrellisCode):
            raise ValueError(f"trellis code {self.code!r}, expected one of {', '.join(get_args(TrellisCode))}")
        if not 1 <= self.bits <= 8 or not self.bits <= self.state_bits <= 20:
            raise ValueError(f"{self.bits} bits and {self.state_bits} state bits, expected 1 to 8 bits and from there to 20 state bits")
        check_array("paths", self.paths, np.uint8, (None, 32 * self.bits))
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale {self.scale}, expected a finite number of at least 0")


@dataclass(frozen=True, eq=False)
class TilePaths(Symbols):
    """Paths as `TrellisPaths` has them, of a rate of their own in every block of 16 columns.

    ``X = scale_b · decode(paths)``, b the bits of the block, cut to the rows and columns of the basis; blocks of no bits are zero.

    Attributes
    ----------
    paths : for each block of columns (tiles, 32 · bits) uint8, a path for each 16 rows
    bits : (blocks,) uint8, per weight, 0 to 4
    code, state_bits : as of `TrellisPaths`
    scales : (5,) float64, float32 values by bits; the first is 0
    """

    paths: tuple[NDArray[np.uint8], ...]
    bits: NDArray[np.uint8]
    code: TrellisCode
    state_bits: int
    scales: Float64Array

    def __post_init__(self) -> None:
        check_array("bits", self.bits, np.uint8, (len(self.paths),))
        check_array("scales", self.scales, np.float64, (5,))
        if self.code not in get_args(TrellisCode):
            raise ValueError(f"trellis code {self.code!r}, expected one of {', '.join(get_args(TrellisCode))}")
        if (self.bits.size and self.bits.max() > 4) or not 4 <= self.state_bits <= 20:
            raise ValueError(f"bits up to {self.bits.max(initial=0)} and {self.state_bits} state bits, expected 0 to 4 and 4 to 20")
        if not (np.isfinite(self.scales).all() and (self.scales >= 0).all() and self.scales[0] == 0):
            raise ValueError(f"scales {self.scales.tolist()}, expected finite numbers of at least 0, and 0 for no bits")
        for path, bits in zip(self.paths, self.bits.tolist(), strict=True):
            check_array("paths", path, np.uint8, (len(self.paths[0]), 32 * bits))
