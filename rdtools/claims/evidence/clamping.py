"""The matrix on which clamping breaks LDLQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.linalg import cholesky
from rdtools.measure import weighted_error
from rdtools.moments.synthetic import clamped_feedback_counterexample
from rdtools.ops import sic_sweep

_COLUMNS = 64
_LEVELS = 4


@dataclass(frozen=True)
class Clamping:
    """Losses on the constructed matrix for which clamping breaks LDLQ.

    Attributes
    ----------
    columns : n
    plain : rounding to nearest
    clamped, unclamped : nearest LDLQ on four levels and on an unbounded grid
    """

    columns: int
    plain: float
    clamped: float
    unclamped: float


def gather_clamping(columns: int = _COLUMNS) -> Clamping:
    """Round the constructed row by nearest LDLQ, on four levels and on an unbounded grid, and to nearest."""
    H, w = clamped_feedback_counterexample(columns)
    L = cholesky(H, damping=0.0).lower
    one = np.ones(columns)

    def loss(integers: NDArray[Any]) -> float:
        return columns * weighted_error(w, integers.astype(np.float64), H).mean

    return Clamping(
        columns=columns,
        plain=loss(np.rint(w)),
        clamped=loss(sic_sweep(w, L, one, integer_min=0, integer_max=_LEVELS - 1)[0]),
        unclamped=loss(sic_sweep(w, L, one)[0]),
    )
