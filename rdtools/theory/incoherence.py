"""Incoherence: how far a matrix is from having all its energy in a few entries."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rdtools.records import Spectrum

Float64Array = NDArray[np.float64]


def weight_incoherence(weight: Float64Array) -> float:
    """``μ_W = √(mn) max|W_ij| / ‖W‖_F``, between 1 (all magnitudes equal) and √(mn) (one entry); the crest factor of W.

    0 for an all-zero matrix.

    Parameters
    ----------
    weight : (m, n)

    References
    ----------
    QuIP, arXiv 2307.13304, Definition 1 (weights).

    Examples
    --------
    >>> weight_incoherence(np.array([[3.0, 0.0], [0.0, 4.0]]))
    1.6
    """
    norm = float(np.linalg.norm(weight))
    return math.sqrt(weight.size) * float(np.abs(weight).max()) / norm if norm > 0 else 0.0


def hessian_incoherence(spectrum: Spectrum) -> float:
    """``μ_H = √r max|Q_ij|``, between 1 and √r, for the orthonormal eigenvectors Q of H on its r live columns.

    Where eigenvalues repeat, the eigenvectors and so μ_H are a matter of choice; `Spectrum.simple` tells. nan if the eigenvectors
    were not computed.

    Parameters
    ----------
    spectrum : of H

    References
    ----------
    QuIP, arXiv 2307.13304, Definition 1 (Hessians).

    Examples
    --------
    >>> s = Spectrum(np.array([2.0, 1.0]), np.ones(2), np.ones(2), columns=2, rank=2, eigenvector_max=1.0)
    >>> round(hessian_incoherence(s), 6)
    1.414214
    """
    return math.sqrt(spectrum.live) * spectrum.eigenvector_max


def incoherence_trace_bound(incoherence: float, eigenvalues: Float64Array) -> float:
    """``(μ_H²/n) (tr H^{1/2})²``, an upper bound on ``Σ ℓ_ii²`` (the trace of D in H's LDL factorization), hence on GPTQ's loss.

    True for every order of the columns; rarely tight.

    Parameters
    ----------
    incoherence : μ_H
    eigenvalues : (n,), ≥ 0

    References
    ----------
    QuIP, arXiv 2307.13304, Lemma 2.
    """
    return incoherence**2 / len(eigenvalues) * float(np.sqrt(eigenvalues).sum()) ** 2
