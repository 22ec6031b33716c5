"""Assumptions, sides and tolerances that several claims share."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.record import Assumption, Number, Source
from rdtools.theory.waterfilling import rate_distortion

_EPS = float(np.finfo(np.float64).eps)


def ours(section: str) -> Source:
    """Source of a statement derived for this project."""
    return Source("rdtools", "", section)


POSITIVE_DEFINITE = Assumption("H is positive definite", lambda e: e[Moment].factor is not None)
RESOLVED = Assumption("float64 resolves λ_min to 0.1 %: r ε λ_max/λ_min < 1e-3", lambda e: e[Moment].resolution < 1e-3)
#: Assumptions of claims with a Cholesky factor or an inverse of H.
REGULAR = (POSITIVE_DEFINITE, RESOLVED)

#: A corner is approached to 1e-6 of a step, so that its loss is short by this share.
CORNER_SHARE = 1 - (1 - 2e-6) ** 2


def sum_rounding(e: Evidence, scale: float) -> float:
    """Rounding of sums and orthogonal products over the columns, for sides of this size.

    Eigenvectors are orthogonal to about 40 r ε only where eigenvalues nearly agree.
    """
    return 256 * e[Moment].columns * _EPS * scale


def factor_rounding(e: Evidence, scale: float) -> float:
    """Rounding where λ_min or ℓ_ii² enter, for sides of this size."""
    return 16 * e[Moment].resolution * scale


def summing(scale: Number) -> Callable[[Evidence], float]:
    """The tolerance `sum_rounding` of a claim with sides of this size."""
    return lambda e: sum_rounding(e, scale(e) if callable(scale) else scale)


def factoring(scale: Number) -> Callable[[Evidence], float]:
    """The tolerance `factor_rounding` of a claim with sides of this size."""
    return lambda e: factor_rounding(e, scale(e) if callable(scale) else scale)


def trace_d(e: Evidence) -> float:
    """Trace of D, ``Σ ℓ_ii²``."""
    return float(e[Moment].pivots.sum())


def trace_h(e: Evidence) -> float:
    """Trace of H."""
    return float(np.trace(e[Moment].matrix))


def factor(e: Evidence) -> Float64Array:
    """Cholesky factor L of H, for claims that assume H positive definite."""
    lower = e[Moment].factor
    assert lower is not None
    return lower


def root_trace(e: Evidence) -> float:
    """Trace of ``H^{1/2}``."""
    return float(np.sqrt(e[Moment].spectrum.eigenvalues).sum())


def root_diagonal(e: Evidence) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Diagonal of ``H^{1/2}``."""
    return np.diagonal(e[Moment].root)


def rate_limit(distortion: Estimate, e: Evidence) -> Estimate:
    """R_WF at a measured distortion, for weights of variance one; ``dR/dD = −1/(2 τ ln 2)`` per weight."""
    values = e[Moment].spectrum.eigenvalues
    point = rate_distortion(min(distortion.value, float(np.mean(values))), values)
    return Estimate(float(point.rate_bits), distortion.stderr / (2 * math.log(2) * float(point.water_level)), distortion.degrees)
