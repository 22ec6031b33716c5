"""Assumptions, sides and tolerances that several claims share."""

from __future__ import annotations

import numpy as np

from rdtools.theory.claims.evidence import Evidence
from rdtools.theory.claims.record import Assumption, Source

_EPS = float(np.finfo(np.float64).eps)


def ours(section: str) -> Source:
    """A statement derived for this project."""
    return Source("rdtools", "", section)


POSITIVE_DEFINITE = Assumption("H is positive definite", lambda e: e.moment.factor is not None)
RESOLVED = Assumption("float64 resolves λ_min to 0.1 %: r ε λ_max/λ_min < 1e-3", lambda e: e.moment.resolution < 1e-3)
SEVERAL_COLUMNS = Assumption("at least two live columns", lambda e: e.moment.columns >= 2)


def sum_rounding(e: Evidence, scale: float) -> float:
    """Rounding of sums and orthogonal products over the columns, for sides of this size.

    Eigenvectors are orthogonal to about 40 r ε only where eigenvalues nearly agree.
    """
    return 256 * e.moment.columns * _EPS * scale


def factor_rounding(e: Evidence, scale: float) -> float:
    """Rounding where λ_min or ℓ_ii² enter, for sides of this size."""
    return 16 * e.moment.resolution * scale


def trace_d(e: Evidence) -> float:
    """Trace of D, ``Σ ℓ_ii²``."""
    return float(e.moment.pivots.sum())


def trace_h(e: Evidence) -> float:
    """Trace of H."""
    return float(np.trace(e.moment.matrix))


def root_trace(e: Evidence) -> float:
    """Trace of ``H^{1/2}``."""
    return float(np.sqrt(e.moment.spectrum.eigenvalues).sum())


def root_diagonal(e: Evidence) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Diagonal of ``H^{1/2}``."""
    return np.diagonal(e.moment.root)
