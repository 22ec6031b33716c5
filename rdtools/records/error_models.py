"""Models of a quantizer's error, as data: an answer says which one is its own, and theory has one formula for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """Facts that every kind has.

    Attributes
    ----------
    widest_steps : (r,) largest distance over the rows between neighbouring points of each column; None without a uniform grid
    relative_steps : (r,) steps of columns as they would be without rounding for storage, up to a common factor; None for equal ones
    histogram : "shared" or "column" if histograms are part of the rate, which theory does not know; None for other entropy models
    row_exponents : (m,) eighths of an octave by which the standard deviations of rows differ, if the entropy model knows them
    """

    widest_steps: Float64Array | None = None
    relative_steps: Float64Array | None = None
    histogram: Literal["shared", "column"] | None = None
    row_exponents: NDArray[np.uint8] | None = None


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
    shrunk : reconstructed with the LMMSE gain of a Gaussian variable
    fitted : gains or scales were fitted to the integers
    """

    steps: Float64Array
    waterfilled: bool = False
    shrunk: bool = False
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
    row_scales : (m, G) s; None for 1
    zero_points : (m, G) p; None for 0
    group_size : columns in a group; 0 for a single group
    column_steps : (r,) d
    offset : 0 or ½
    levels : (r,) number of points per column
    reach : weights beyond it are clipped to it before they are rounded, and what is clipped is not fed back; None without that
    """

    column_steps: Float64Array
    levels: NDArray[np.int64]
    row_scales: Float64Array | None = None
    zero_points: NDArray[np.int8] | None = None
    group_size: int = 0
    offset: float = 0.0
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
