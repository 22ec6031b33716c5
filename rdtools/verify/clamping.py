"""The matrix on which clamping breaks LDLQ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.hessians.synthetic import clamped_feedback_counterexample
from rdtools.linalg import cholesky
from rdtools.measure import weighted_error
from rdtools.ops import sic_sweep
from rdtools.theory.claims.parts import ClampEvidence

_LEVELS = 4


def clamp_evidence(columns: int) -> ClampEvidence:
    """Round the constructed row by nearest LDLQ, on four levels and on an unbounded grid, and to nearest."""
    H, w = clamped_feedback_counterexample(columns)
    L = cholesky(H, damping=0.0).lower
    one = np.ones(columns)

    def loss(codes: NDArray[Any]) -> float:
        return columns * weighted_error(w, codes.astype(np.float64), H).mean

    return ClampEvidence(
        columns=columns,
        plain=loss(np.rint(w)),
        clamped=loss(sic_sweep(w, L, one, code_min=0, code_max=_LEVELS - 1)[0]),
        unclamped=loss(sic_sweep(w, L, one)[0]),
    )
