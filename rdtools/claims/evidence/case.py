"""A second moment made ready for experiments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import NotApplicable
from rdtools.linalg import cholesky
from rdtools.moments.spectrum import Eigen, active_channels, eigendecomposition, spectrum_with_vectors
from rdtools.records import Hessian, Spectrum
from rdtools.seeds import generator
from rdtools.widths import missing_spectrum_reason


@dataclass(frozen=True, eq=False)
class MomentCase:
    """A second moment on its active columns.

    Attributes
    ----------
    name : of the input, for seeds and messages
    matrix : (r, r) H
    spectrum : of H
    factor : L of ``H = L Lᵀ``, None if H is singular
    n_tokens : behind H; 0 where it is exact
    seed : of the verification
    mean : (r,) E[x], None where it was not recorded
    """

    name: str
    matrix: Float64Array
    spectrum: Spectrum
    factor: Float64Array | None
    n_tokens: int
    seed: int
    mean: Float64Array | None = None

    @cached_property
    def eigen(self) -> Eigen:
        """Eigenvalues and eigenvectors of H, computed when they are first asked for."""
        return eigendecomposition(self.matrix, name=self.name)

    @property
    def columns(self) -> int:
        """Number of active columns, r."""
        return len(self.matrix)

    def generator(self, purpose: str) -> np.random.Generator:
        """Randomness of one experiment: a function of seed, input and purpose."""
        return generator(self.seed, purpose, self.name)


def moment_case(hessian: Hessian, *, seed: int) -> MomentCase:
    """Decompose a second moment once, and factor it where it is positive definite."""
    active = active_channels(hessian.matrix)
    if not active.any():
        raise NotApplicable("no column of the input is ever used")
    if reason := missing_spectrum_reason(int(active.sum())):
        raise NotApplicable(reason)
    spectrum = spectrum_with_vectors(hessian)
    matrix = hessian.matrix[np.ix_(active, active)]
    factor = cholesky(matrix, damping=0.0, name=hessian.name).lower if spectrum.rank == spectrum.active else None
    mean = None if hessian.mean is None else hessian.mean[active]
    return MomentCase(hessian.name, matrix, spectrum, factor, hessian.n_tokens, seed, mean)


def budget(size: int, *, work: int = 2**20, least: int = 1024, most: int = 2**15) -> int:
    """Number of rows or draws of this size for an experiment: many small ones, fewer large ones.

    The least number is what the allowance for skewed draws in `rdtools.claims.record` was found with.
    """
    return max(least, min(most, work // size))
