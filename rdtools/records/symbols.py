"""Quantized integers, lattice words and trellis paths, as they are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


#: 2^(j/8), rounded to float64; literals, because a library's power function may differ between machines in the last bit.
_OCTAVE_EIGHTHS = np.array(
    [
        1.0,
        1.0905077326652577,
        1.189207115002721,
        1.2968395546510096,
        1.4142135623730951,
        1.5422108254079407,
        1.681792830507429,
        1.8340080864093424,
    ]
)


def power_of_eighths(exponents: NDArray[np.integer]) -> Float64Array:
    """``2^(e/8)``, the same bits on every machine."""
    octaves, eighths = np.divmod(exponents.astype(np.int32), 8)
    return np.asarray(np.ldexp(_OCTAVE_EIGHTHS[eighths], octaves), dtype=np.float64)


CodeModelKind = Literal["fixed", "shared", "column", "histogram"]


TrellisCode = Literal["1mad", "3inst", "hyb"]


#: Levels of a fixed-rate grid; a forged number beyond is refused before its table is made.
MAX_LEVELS = 2**16


def _check_array(name: str, array: NDArray[Any] | None, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Refuse another dtype or shape; None stands for any length, and for no array."""
    if array is None:
        return
    fits = array.ndim == len(shape) and all(want is None or got == want for got, want in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not fits:
        expected = tuple("any" if length is None else length for length in shape)
        raise ValueError(f"{name} of {array.dtype} and shape {array.shape}, expected {np.dtype(dtype)} and {expected}")


@dataclass(frozen=True)
class CodeModel:
    """How integers are entropy-coded.

    Attributes
    ----------
    kind : "fixed" (uniform over `levels`), "shared" (one histogram), "histogram" (one for each column) or "column" (a normal law for
        each row and column, of variance ``(weight_std · 2^(row exponent / 8) / column step)² + noise_variance``)
    levels : number of levels K of a fixed-rate grid, integers lie in [−⌊K/2⌋, K−1−⌊K/2⌋]; 0 for the other kinds. With unequal column
        steps it is that of the finest, halved with every octave of step begun; a single level is at zero
    weight_std : float32 value; the scale of the normal laws, 0 for the other kinds
    noise_variance : float32 value; what fed-back errors add to the variance of every column, in squared steps, or a ridge takes from it;
        0 for the other kinds
    """

    kind: CodeModelKind
    levels: int = 0
    weight_std: float = 0.0
    noise_variance: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(CodeModelKind):
            raise ValueError(f"entropy model {self.kind!r}, expected one of {', '.join(get_args(CodeModelKind))}")
        if not (1 <= self.levels <= MAX_LEVELS if self.kind == "fixed" else self.levels == 0):
            raise ValueError(f"{self.levels} levels of a {self.kind} model, expected 1 to {MAX_LEVELS} of a fixed one and 0 of others")
        if not (math.isfinite(self.weight_std) and self.weight_std >= 0 and math.isfinite(self.noise_variance)):
            raise ValueError(
                f"Gaussian model of {self.weight_std} and {self.noise_variance}, expected finite numbers, the first at least 0"
            )
        if self.kind != "column" and (self.weight_std or self.noise_variance):
            raise ValueError(f"a {self.kind} model with Gaussian numbers {self.weight_std} and {self.noise_variance}, expected 0 and 0")


@dataclass(frozen=True, eq=False)
class ScalarCodes:
    """Integers on uniform grids: ``X_ki = row_scales_kg · gain_i · step_i · (z_ki + offset − zero_point_kg)``, g the group of column i.

    Attributes
    ----------
    integers : (m, r) int32, z
    step : float32 value; the step of every column, or the finest one
    model : how the integers are coded
    step_exponents : (r,) uint8, column i has step ``step · 2^(exponent/8)``; None for equal steps
    row_exponents : (m,) uint8, row k's normal laws have ``2^(exponent/8)`` times the deviation; None for equal rows
    row_scales : (m, G) float64 holding bfloat16 values, one for each row and group of columns, or None for 1
    zero_points : (m, G) int8, or None for 0
    group_size : columns in a group, the last group holding what is left; 0 for a single group
    offset : 0, or ½ for a mid-rise grid
    gain_std : float32 value; if positive, column i is reconstructed with ``lmmse_gain(step_i / gain_std)``, else with gain 1
    column_gains : (r,) float64 holding bfloat16 values, which multiply the gains; None for 1
    """

    integers: NDArray[np.int32]
    step: float
    model: CodeModel
    step_exponents: NDArray[np.uint8] | None = None
    row_exponents: NDArray[np.uint8] | None = None
    row_scales: Float64Array | None = None
    zero_points: NDArray[np.int8] | None = None
    group_size: int = 0
    offset: float = 0.0
    gain_std: float = 0.0
    column_gains: Float64Array | None = None

    def __post_init__(self) -> None:
        if self.row_scales is None and (self.zero_points is not None or self.group_size):
            raise ValueError("zero points and groups belong to row scales; expected row_scales beside them")
        _check_array("integers", self.integers, np.int32, (None, None))
        rows, columns = self.integers.shape
        # a grid is made before its integers, which then have no row
        m = rows or None
        if not (math.isfinite(self.step) and (self.step > 0 or (self.step == 0 and self.model.kind != "column"))):
            raise ValueError(
                f"step {self.step} of a {self.model.kind} model, expected a finite number above 0; 0 if the model is not column"
            )
        if not (math.isfinite(self.gain_std) and self.gain_std >= 0):
            raise ValueError(f"gain_std {self.gain_std}, expected a finite number of at least 0")
        if self.offset not in (0.0, 0.5):
            raise ValueError(f"offset {self.offset}, expected 0 or 0.5")
        if not self.group_size >= 0:
            raise ValueError(f"group_size {self.group_size}, expected at least 0")
        groups = None if columns == 0 else -(-columns // self.group_size) if self.group_size else 1
        _check_array("step_exponents", self.step_exponents, np.uint8, (columns,))
        _check_array("row_exponents", self.row_exponents, np.uint8, (m,))
        _check_array("row_scales", self.row_scales, np.float64, (m, groups))
        _check_array("zero_points", self.zero_points, np.int8, (m, groups))
        _check_array("column_gains", self.column_gains, np.float64, (columns,))

    @property
    def column_steps(self) -> Float64Array:
        """(r,) step of each column."""
        if self.step_exponents is None:
            return np.full(self.integers.shape[1], self.step)
        return self.step * power_of_eighths(self.step_exponents)


@dataclass(frozen=True, eq=False)
class LatticeCodes:
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
            _check_array("words", stage, np.uint16, self.words[0].shape if self.words[0].ndim == 2 else (None, None))
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale {self.scale}, expected a finite number of at least 0")
        if not (math.isfinite(self.residual_scale) and (self.residual_scale > 0) == (self.bits > 2)):
            raise ValueError(
                f"residual_scale {self.residual_scale} at {self.bits} bits, expected 0 at 2 bits and else a finite number above 0"
            )


@dataclass(frozen=True, eq=False)
class TrellisCodes:
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
        _check_array("paths", self.paths, np.uint8, (None, 32 * self.bits))
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"scale {self.scale}, expected a finite number of at least 0")
