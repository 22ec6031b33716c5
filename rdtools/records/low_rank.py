"""Two thin factors beside a quantized weight, as they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.linalg import as_float64
from rdtools.records.stored import StoredDtype, as_stored, round_to_stored, stored_bits


@dataclass(frozen=True, eq=False, repr=False)
class LowRank:
    """``L = U Vᵀ`` of rank k, added to the output of a quantized layer.

    Attributes
    ----------
    left : (m, k) float64 holding values of `dtype`, U
    right : (n, k) float64 holding values of `dtype`, V
    dtype : in which the factors are stored

    Raises
    ------
    ShapeMismatch
        If the factors are not two matrices with equally many columns.
    UsageError
        For an unknown dtype, or entries that it does not have; see `rounded`.
    UnsupportedDtype, NotFiniteInput, ScaleOutOfRange

    References
    ----------
    LRC, arXiv 2412.07902.

    Examples
    --------
    >>> LowRank.rounded([[1.0], [2.0]], [[0.1], [0.2], [0.3]], "bfloat16")
    LowRank(2 × 3 of rank 1 in bfloat16: 80 bits)
    """

    left: Float64Array
    right: Float64Array
    dtype: StoredDtype = "float16"

    def __post_init__(self) -> None:
        for factor, name in (("left", "low rank: factor U"), ("right", "low rank: factor V")):
            object.__setattr__(self, factor, as_stored(getattr(self, factor), self.dtype, name=name))
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[1]:
            raise ShapeMismatch(f"low rank: factors {self.left.shape} and {self.right.shape}, expected (m, k) and (n, k)")

    @classmethod
    def rounded(cls, left: ArrayLike, right: ArrayLike, dtype: StoredDtype = "float16") -> LowRank:
        """The factors rounded to the nearest values of a dtype.

        Raises
        ------
        ScaleOutOfRange
            If an entry is beyond its range.
        ShapeMismatch, UsageError, UnsupportedDtype, NotFiniteInput
        """
        U, V = as_float64(left, name="low rank: factor U"), as_float64(right, name="low rank: factor V")
        return cls(round_to_stored(U, dtype, name="low rank: factor U"), round_to_stored(V, dtype, name="low rank: factor V"), dtype)

    @property
    def rank(self) -> int:
        """k, number of columns of the factors."""
        return int(self.left.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return len(self.left), len(self.right)

    @property
    def matrix(self) -> Float64Array:
        """(m, n) float64, U Vᵀ."""
        return np.asarray(self.left @ self.right.T)

    @property
    def bits(self) -> float:
        """``b k (m + n)`` bits in all, b per entry of a factor."""
        return float(stored_bits(self.dtype) * (self.left.size + self.right.size))

    def apply(self, x: ArrayLike) -> Float64Array:
        """``U (Vᵀ x)`` of inputs along the last axis: (…, n) → (…, m)."""
        return np.asarray((np.asarray(x) @ self.right) @ self.left.T)

    def __repr__(self) -> str:
        m, n = self.shape
        return f"LowRank({m} × {n} of rank {self.rank} in {self.dtype}: {self.bits:g} bits)"
