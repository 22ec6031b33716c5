"""From a second moment to its spectrum."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.linalg import cholesky, clip_eigenvalues
from rdtools.records import Hessian, Spectrum

_KNOWN: WeakKeyDictionary[Hessian, Spectrum] = WeakKeyDictionary()


def spectrum_of(hessian: Hessian) -> Spectrum:
    """`compute_spectrum` of a record, computed once for as long as the record lives; layers that share an input share it."""
    if hessian not in _KNOWN:
        _KNOWN[hessian] = compute_spectrum(hessian.matrix, name=hessian.name)
    return _KNOWN[hessian]


def compute_spectrum(moment: NDArray[np.float64], *, eigenvectors: bool = True, name: str = "Hessian") -> Spectrum:
    """Eigenvalues, Cholesky diagonal, rank and largest eigenvector entry of a checked second moment.

    Dead columns (zero diagonal, hence zero rows and columns) are left out. H is singular on the rest if it has no Cholesky factor
    without damping (see `rdtools.linalg.cholesky`); then, and only then, the rank is below the number of live columns: the number of
    eigenvalues above r·eps of the largest. The diagonal is that of the least damped matrix that has a factor, and `Spectrum.damping`
    says so.

    Parameters
    ----------
    moment : (n, n) float64, as from `rdtools.linalg.check_moment`
    eigenvectors : also compute the eigenvectors Q, for ``max|Q_ij|``

    Raises
    ------
    NotPositiveSemidefinite
        For an eigenvalue below zero by more than rounding.
    """
    diagonal = np.diagonal(moment)
    live = diagonal > 0
    r = int(live.sum())
    if r == 0:
        nothing = np.zeros(0)
        return Spectrum(nothing, nothing, nothing, columns=len(moment), rank=0)
    H = moment[np.ix_(live, live)]
    # syevr: its workspace does not overflow 32-bit integers from n = 32767 on, as that of syevd does
    if eigenvectors:
        raw, Q = scipy.linalg.eigh(H, driver="evr", check_finite=False)
        largest = float(np.abs(Q).max())
    else:
        raw = scipy.linalg.eigh(H, driver="evr", eigvals_only=True, check_finite=False)
        largest = float("nan")
    eigenvalues = clip_eigenvalues(raw, name=name)
    factor = cholesky(H, name=name)
    resolved = int((eigenvalues > r * np.finfo(np.float64).eps * eigenvalues[0]).sum())
    return Spectrum(
        eigenvalues=eigenvalues,
        cholesky_diagonal=np.diagonal(factor.lower).copy(),
        diagonal=diagonal[live].copy(),
        columns=len(moment),
        rank=r if factor.damping == 0 else min(resolved, r - 1),
        damping=factor.damping,
        eigenvector_max=largest,
        simple=bool((-np.diff(eigenvalues) > 1e-8 * eigenvalues[0]).all()),
    )
