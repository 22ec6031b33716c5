"""The covariance beside a second moment: what is left where a bias takes the mean of the error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.linalg import cholesky
from rdtools.theory.bias_correction import centred_moment, explained_share

#: Share s of a mean that is drawn where none was recorded.
_DRAWN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class MeanInput:
    """A mean, recorded or drawn, and the covariance ``C = H − μ μᵀ``.

    Attributes
    ----------
    share : s = μᵀ H⁻¹ μ
    eigenvalues : (r,) of C, descending, clipped at 0
    pivots : (r,) squares of the Cholesky diagonal of C
    """

    share: float
    eigenvalues: Float64Array
    pivots: Float64Array


def gather_mean_input(case: MomentCase) -> MeanInput:
    """Take C apart; of a mean that was not recorded one is drawn, ``L u √½`` with u on the unit sphere."""
    if case.factor is None:
        raise NotApplicable("H is singular, so that no mean is known to be in its range")
    mean = case.mean
    if mean is None:
        direction = case.generator("mean of the input").standard_normal(case.columns)
        mean = case.factor @ (direction / np.linalg.norm(direction)) * np.sqrt(_DRAWN_SHARE)
    C = centred_moment(case.matrix, mean)
    pivots = np.diagonal(cholesky(C, damping=0.0, name=f"covariance of {case.name}").lower) ** 2
    return MeanInput(explained_share(case.matrix, mean), np.maximum(np.linalg.eigvalsh(C)[::-1], 0.0), pivots)
