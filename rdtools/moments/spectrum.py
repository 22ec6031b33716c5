"""From a second moment to its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.arrays import Matrix, diagonal, is_tensor, largest, on_host, submatrix
from rdtools.linalg import cholesky, clip_eigenvalues, symmetric_eigenvalues
from rdtools.moments.per_hessian import per_hessian
from rdtools.records import Hessian, Spectrum
from rdtools.reprs import short_repr
from rdtools.threads import one_blas_thread
from rdtools.widths import check_spectrum_width, missing_spectrum_reason

#: Spectra with their `eigenvector_max` that were computed before this process read the Hessian.
_REMEMBERED: WeakKeyDictionary[Hessian, Spectrum] = WeakKeyDictionary()


def remember_spectrum(hessian: Hessian, spectrum: Spectrum) -> None:
    """Have a spectrum that `spectrum_with_vectors` gave for the same matrix serve this record, so that nothing is computed again."""
    _REMEMBERED[hessian] = spectrum


def remembered_spectrum(hessian: Hessian) -> Spectrum | None:
    """The spectrum that `remember_spectrum` was given for a record; None without."""
    return _REMEMBERED.get(hessian)


@per_hessian
def spectrum_of(hessian: Hessian) -> Spectrum:
    """`compute_spectrum` of a record, without eigenvectors; layers that share an input share it. BLAS works on one thread."""
    known = _REMEMBERED.get(hessian)
    if known is not None:
        return known
    with one_blas_thread():
        return compute_spectrum(hessian.matrix, name=hessian.name)


@per_hessian
def spectrum_with_vectors(hessian: Hessian) -> Spectrum:
    """`spectrum_of` a record with its `eigenvector_max`, for μ_H, unless H is too wide; takes several times as long, and n² memory."""
    known = _REMEMBERED.get(hessian)
    if known is not None:
        return known
    if is_tensor(hessian.matrix) and not missing_spectrum_reason(int(active_channels(hessian.matrix).sum())):
        return compute_spectrum(hessian.matrix, eigen=eigendecomposition(hessian.matrix, name=hessian.name), name=hessian.name)
    spectrum = spectrum_of(hessian)
    if len(spectrum.eigenvalues) == 0:
        return spectrum
    with one_blas_thread():
        vectors = eigendecomposition(hessian.matrix, name=hessian.name).vectors
    return replace(spectrum, eigenvector_max=float(np.abs(vectors).max()))


@dataclass(frozen=True, eq=False, repr=False)
class Eigen:
    """``H = Q diag(λ) Qᵀ`` on the active columns.

    Attributes
    ----------
    values : (r,) descending, ≥ 0
    vectors : (r, r) Q, column i belongs to value i; where the moment is
    """

    values: NDArray[np.float64]
    vectors: Matrix
    __repr__ = short_repr

    def root(self) -> NDArray[np.float64]:
        """``H^{1/2} = Q diag(√λ) Qᵀ``, symmetric, (r, r)."""
        return np.asarray((self.vectors * np.sqrt(self.values)) @ self.vectors.T)


def active_channels(moment: Matrix) -> NDArray[np.bool_]:
    """(n,) bool: columns whose input is not always zero."""
    return np.asarray(diagonal(moment) > 0)


def eigendecomposition(moment: Matrix, *, name: str = "Hessian") -> Eigen:
    """Eigenvalues and eigenvectors of a checked second moment on its active columns; for who needs more of them than a `Spectrum`.

    Raises
    ------
    NotPositiveSemidefinite
        For an eigenvalue below zero by more than rounding.
    TheoryError
        For more active columns than `rdtools.widths.WIDEST_SPECTRUM`.
    """
    active = active_channels(moment)
    if not active.any():
        return Eigen(np.zeros(0), np.zeros((0, 0)))
    check_spectrum_width(int(active.sum()))
    if is_tensor(moment):
        import torch

        values, Q = torch.linalg.eigh(submatrix(moment, active))
        return Eigen(clip_eigenvalues(on_host(values), name=name), Q.flip(1))
    raw, Q = scipy.linalg.eigh(moment[np.ix_(active, active)], driver="evr", check_finite=False)
    return Eigen(clip_eigenvalues(raw, name=name), np.ascontiguousarray(Q[:, ::-1]))


def _eigenvalues(matrix: Matrix, *, name: str) -> NDArray[np.float64]:
    return clip_eigenvalues(symmetric_eigenvalues(matrix), name=name)


def compute_spectrum(moment: Matrix, *, eigen: Eigen | None = None, name: str = "Hessian") -> Spectrum:
    """Eigenvalues, Cholesky diagonal and rank of a checked second moment; its largest eigenvector entry where eigenvectors are given.

    Dead input channels (zero diagonal, hence zero rows and columns) are left out. H is singular on the rest if it has no Cholesky factor
    without damping (see `rdtools.linalg.cholesky`); then, and only then, the rank is below the number of active columns: the number of
    eigenvalues above r·eps of the largest. The diagonal is that of the least damped matrix that has a factor, and `Spectrum.damping`
    says so. Above `rdtools.widths.WIDEST_SPECTRUM` active columns only the factor is computed, and a singular H has rank r − 1 at most.

    Parameters
    ----------
    moment : (n, n) float64, as from `rdtools.linalg.check_moment`; an array, or a tensor, which is worked on where it is
    eigen : its `eigendecomposition`; without it no eigenvectors are computed and `Spectrum.eigenvector_max` is nan

    Raises
    ------
    NotPositiveSemidefinite
        For an eigenvalue below zero by more than rounding.
    """
    energies = diagonal(moment)
    active = active_channels(moment)
    r = int(active.sum())
    if r == 0:
        nothing = np.zeros(0)
        return Spectrum(nothing, nothing, nothing, columns=len(moment), rank=0)
    matrix = submatrix(moment, active)
    if missing_spectrum_reason(r):
        eigenvalues, resolved = np.zeros(0), r
    else:
        eigenvalues = _eigenvalues(matrix, name=name) if eigen is None else eigen.values
        resolved = int((eigenvalues > r * np.finfo(np.float64).eps * eigenvalues[0]).sum())
    factor = cholesky(matrix, name=name)
    return Spectrum(
        eigenvalues=eigenvalues,
        cholesky_diagonal=diagonal(factor.lower).copy(),
        diagonal=energies[active].copy(),
        columns=len(moment),
        rank=r if factor.damping == 0 else min(resolved, r - 1),
        damping=factor.damping,
        eigenvector_max=math.nan if eigen is None else largest(eigen.vectors),
        simple=len(eigenvalues) > 0 and bool((-np.diff(eigenvalues) > 1e-8 * eigenvalues[0]).all()),
    )
