"""The basis that decoded values belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array

RotationKind = Literal["haar", "hadamard", "kronecker"]


@dataclass(frozen=True)
class Rotation:
    """An orthogonal matrix that a seed rebuilds; see `rdtools.transforms`.

    The seed means the same matrix on every machine and in every version.

    Attributes
    ----------
    kind : "haar", "kronecker" (of two Haar factors) or "hadamard" (random signs, then a Hadamard matrix over √order)
    order : n
    seed : 0 … 2^64 − 1
    """

    kind: RotationKind
    order: int
    seed: int


@dataclass(frozen=True, eq=False)
class Basis:
    """The basis that decoded values belong to: ``Ŵ[:, active] = (Uᵀ X Qᵀ) ∘ column_scales`` and ``Ŵ[:, dead] = 0``, X being the values.

    Attributes
    ----------
    rows : m
    active : (n,) bool, the r columns that were quantized
    rotation : Q, of order r, or None
    row_rotation : U, of order m, or None
    column_scales : (r,) float64 holding bfloat16 values, or None for 1
    """

    rows: int
    active: NDArray[np.bool_]
    rotation: Rotation | None = None
    row_rotation: Rotation | None = None
    column_scales: Float64Array | None = None
