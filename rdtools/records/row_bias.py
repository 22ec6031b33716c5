"""A number per output beside a quantized weight, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.linalg import as_float64
from rdtools.records.stored import StoredDtype, as_stored, round_to_stored, stored_bits

#: In which biases are stored: that of the checkpoints that they go into.
BIAS_DTYPE: StoredDtype = "bfloat16"


@dataclass(frozen=True, eq=False, repr=False)
class RowBias:
    """``b`` of ``y = Ŵ x + b``: what takes the mean ``E[(W − Ŵ) x]`` of the output error away.

    Attributes
    ----------
    values : (m,) float64 holding numbers of bfloat16

    Raises
    ------
    ShapeMismatch
        If it is no vector.
    UsageError
        For entries that bfloat16 does not have; see `rounded`.
    UnsupportedDtype, NotFiniteInput, ScaleOutOfRange

    Examples
    --------
    >>> RowBias.rounded([1.003, -0.1])
    RowBias(2 rows: 32 bits)
    """

    values: Float64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", as_stored(self.values, BIAS_DTYPE, name="bias"))
        if self.values.ndim != 1:
            raise ShapeMismatch(f"bias: shape {self.values.shape}, expected (m,), one number per row")

    @classmethod
    def rounded(cls, values: ArrayLike, *, name: str = "bias") -> RowBias:
        """The nearest numbers that can be stored.

        Raises
        ------
        ScaleOutOfRange, ShapeMismatch, UnsupportedDtype, NotFiniteInput
        """
        return cls(round_to_stored(as_float64(values, name=name), BIAS_DTYPE, name=name))

    @property
    def bits(self) -> float:
        """``16 m`` bits in all."""
        return float(stored_bits(BIAS_DTYPE) * np.size(self.values))

    def __repr__(self) -> str:
        return f"RowBias({len(self.values)} rows: {self.bits:g} bits)"
