"""Models of a quantizer's error, as data: an answer says which one is its own, and theory has one formula for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.records.grids import UniformGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """Facts that every kind has.

    Attributes
    ----------
    widest_steps : (r,) largest distance over the rows between neighbouring points of each column; None without a uniform grid
    relative_steps : (r,) steps of columns as they would be without rounding for storage, up to a common factor; None for equal ones
    histogram : "shared" or "column" if histograms are part of the rate, which theory does not know; None for other entropy models
    row_exponents : (m,) eighths of an octave by which the standard deviations of rows differ, if the entropy model knows them
    learnt : the entropy model learns the covariance of the rows, of which high-rate formulas know nothing
    """

    widest_steps: Float64Array | None = None
    relative_steps: Float64Array | None = None
    histogram: Literal["shared", "column"] | None = None
    row_exponents: NDArray[np.uint8] | None = None
    learnt: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class NoErrorModel(ErrorModel):
    """No formula is known.

    Attributes
    ----------
    reason : why
    """

    reason: str


#: Model of an answer that names none.
UNSTATED = NoErrorModel(reason="the answer does not say what its error is")


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSteps(ErrorModel):
    """Entropy-coded integers on unbounded grids, one step per column.

    Attributes
    ----------
    steps : (r,) as stored
    waterfilled : some columns are so coarse that all their integers are zero
    lmmse : columns are reconstructed with the LMMSE gains of Gaussian variables of their integers' mean square; else without gain
    fitted : gains or scales were fitted to the integers
    """

    steps: Float64Array
    waterfilled: bool = False
    lmmse: bool = False
    fitted: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class TrellisSteps(ErrorModel):
    """Entropy-coded integers on a trellis down every column, whose points are half a step apart.

    Attributes
    ----------
    steps : (r,) as stored
    states : of the trellis
    """

    steps: Float64Array
    states: int


@dataclass(frozen=True, kw_only=True, eq=False)
class LatticeSteps(ErrorModel):
    """Entropy-coded points of a lattice down every column.

    Attributes
    ----------
    steps : (r,) of scalar quantizers of the same rate at high rate
    lattice : its name
    """

    steps: Float64Array
    lattice: str


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsmaxRows(ErrorModel):
    """K levels per row that span ±max|row|.

    Attributes
    ----------
    levels : K
    """

    levels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredGrid(ErrorModel):
    """Grids whose points are stored: those of row k and column i are ``s_kg d_i (z + offset − p_kg)``, g the group of column i.

    Attributes
    ----------
    grid : steps d of columns, offset, levels, scales s and zero points p of rows
    reach : weights beyond it are clipped to it before they are rounded, and what is clipped is not fed back; None without that
    """

    grid: UniformGrid
    reach: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class UnbiasedRounding(ErrorModel):
    """Stochastic rounding to neighbouring points of one step, where nothing is clipped.

    Attributes
    ----------
    step : distance of neighbouring points
    """

    step: float


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockCode(ErrorModel):
    """Blocks of columns rounded together to points of a codebook.

    Attributes
    ----------
    block : columns in a block
    error : mean squared error per weight on Gaussian weights of variance one
    """

    block: int
    error: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CriticalGroups(ErrorModel):
    """Groups of eight columns coded by sums of codewords that were chosen without regard to the Hessian, more of them in critical columns.

    Attributes
    ----------
    bits : of each code
    basic, extended : codewords in the other columns, and further ones in the critical columns
    critical : (r,) bool, the critical columns
    """

    bits: int
    basic: int
    extended: int
    critical: NDArray[np.bool_]
