"""Incoherence: how far a matrix is from having all its energy in a few entries."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv, lambertw

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.records import Spectrum

#: Multiplications by WᵀW at most; the share grows by less than a thousandth from some thirty on.
_POWER_ITERATIONS = 100


def top_singular_share(weight: Float64Array) -> float:
    """Share of ‖W‖² that the first singular pair has, by power iterations: from below, to some 1e-3; 0 for zero weights.

    Rotated on both sides a pair becomes the outer product of two nearly normal vectors, whose entries have the heavy tails of a product of
    normal numbers: a code made for normal weights distorts them more than it promises.

    Parameters
    ----------
    weight : (m, n)

    Examples
    --------
    >>> round(top_singular_share(np.diag([3.0, 4.0])), 3)
    0.64
    """
    scale = float(np.abs(weight).max(initial=0.0))
    if scale == 0:
        return 0.0
    scaled = weight / scale
    v: Float64Array = np.asarray(np.random.default_rng(0).standard_normal(weight.shape[1]))
    share, energy = 0.0, float(np.einsum("ij,ij->", scaled, scaled))
    for _ in range(_POWER_ITERATIONS):
        u = scaled @ (v / np.linalg.norm(v))
        v, before, share = u @ scaled, share, float(u @ u) / energy
        if share - before <= 1e-5 or not v.any():
            break
    return share


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
    """``μ_H = √r max|Q_ij|``, between 1 and √r, for the orthonormal eigenvectors Q of H on its r active columns.

    Where eigenvalues repeat, the eigenvectors and so μ_H are a matter of choice; `Spectrum.simple` tells. 0 without a active column; nan if
    the spectrum was made without its `eigenvector_max`.

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
    return math.sqrt(spectrum.active) * spectrum.eigenvector_max if spectrum.active else 0.0


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


def _check_failure(failure: float) -> None:
    if not 0 < failure < 1:
        raise TheoryError(f"incoherence bound: failure probability {failure}, expected a number strictly between 0 and 1")


def hadamard_incoherence_bound(columns: int, *, failure: float) -> float:
    """``√(2 ln(2n²/δ))``: after a randomized Hadamard rotation μ_H is at most it with probability at least 1 − δ, whatever H; at most √n.

    Parameters
    ----------
    columns : n
    failure : δ, in (0, 1)

    References
    ----------
    QuIP#, arXiv 2402.04396, Lemma 3.1.

    Examples
    --------
    >>> round(hadamard_incoherence_bound(1024, failure=0.01), 2), round(hadamard_incoherence_bound(4096, failure=0.01), 2)
    (6.19, 6.62)
    """
    _check_failure(failure)
    return min(math.sqrt(2 * (math.log(2 * columns**2) - math.log(failure))), math.sqrt(columns))


def hadamard_weight_incoherence_bound(rows: int, columns: int, *, failure: float) -> float:
    """``2 ln(4mn/δ)``: after randomized Hadamard rotations on both sides μ_W is at most it with probability at least 1 − δ; at most √(mn).

    About eight times what is seen at n = 1024.

    References
    ----------
    QuIP#, arXiv 2402.04396, Lemma 3.1.

    Examples
    --------
    >>> round(hadamard_weight_incoherence_bound(1024, 1024, failure=0.01), 1)
    39.7
    """
    _check_failure(failure)
    return min(2 * (math.log(4 * rows * columns) - math.log(failure)), math.sqrt(rows * columns))


def hadamard_tail_probability(threshold: float, columns: int) -> float:
    """``2 exp(−a² n/2)``, at most 1: bound on ``P(|bᵀ H S x| ≥ a)`` for unit vectors b, x and random signs S, H orthonormal Hadamard.

    Holds where the entries of b H are of equal magnitude 1/√n, as for b an axis; `hadamard_incoherence_bound` is its union over n² entries.

    References
    ----------
    QuIP#, arXiv 2402.04396, proof of Lemma 3.1.
    """
    return min(1.0, 2 * math.exp(-(threshold**2) * columns / 2))


def haar_incoherence_bound(columns: int, *, failure: float) -> float:
    """μ_H after a Haar rotation is below it with probability at least 1 − δ, whatever H; at most √n.

    The square of an entry of a Haar matrix follows a beta distribution with parameters ½ and (n−1)/2; this is √n times its quantile at
    1 − δ/n², the union over n² entries.

    References
    ----------
    Derived for this project; QuIP, arXiv 2307.13304, Lemma 5 with k = 1 leaves its constants open.
    """
    _check_failure(failure)
    if columns == 1:
        return 1.0
    # by the upper tail, as 1 − quantile of the mirrored distribution, which keeps the digits of δ/n²
    return math.sqrt(columns * (1.0 - float(betaincinv((columns - 1) / 2, 0.5, failure / columns**2))))


def _chernoff_reach(tail: float) -> float:
    """The s ≥ 1 with ``√s e^{(1−s)/2} = tail``: for u uniform on the sphere of n dimensions, ``n (u·a)² ≥ s ‖a‖²`` has less probability."""
    # −s e^{−s} = −tail²/e
    return -float(lambertw(-(tail**2) / math.e, k=-1).real)


def kronecker_incoherence_bound(columns: int, *, failure: float) -> float:
    """μ_H after a Kronecker product of two Haar rotations is below it with probability at least 1 − δ, whatever H; at most √n.

    An entry of a rotated eigenvector is ``u X v`` with u, v uniform on spheres of p and q dimensions and ‖X‖_F = 1. By Chernoff's bound
    for χ², which dominates, ``P(p‖uX‖² ≥ s) ≤ √s e^{(1−s)/2}`` and likewise for ``q (y·v)²/‖y‖²``, so that ``n (uXv)² ≤ s²`` but for twice
    that probability. s is where it is δ/(2n²). Valid for every p q = n; much above what is seen.

    References
    ----------
    Derived for this project, as QuIP, arXiv 2307.13304, Lemma 5 with k = 2 leaves its constants open.
    """
    _check_failure(failure)
    return min(_chernoff_reach(failure / (2.0 * columns**2)), math.sqrt(columns))


def haar_weight_incoherence_bound(rows: int, columns: int, *, failure: float) -> float:
    """μ_W after Haar rotations on both sides is below it with probability at least 1 − δ, whatever W; at most √(mn).

    An entry is ``u W v`` with u, v uniform on spheres, as for `kronecker_incoherence_bound`, and there are mn of them.

    References
    ----------
    Derived for this project, as QuIP, arXiv 2307.13304, Lemma 5 leaves its constants open.
    """
    _check_failure(failure)
    return min(_chernoff_reach(failure / (2.0 * rows * columns)), math.sqrt(rows * columns))


def kronecker_weight_incoherence_bound(rows: int, columns: int, *, failure: float) -> float:
    """μ_W after Kronecker products of two Haar rotations on both sides is below it with probability at least 1 − δ; at most √(mn).

    Four independent spheres: ``mn (uWv)² ≤ s⁴`` but for four times the probability, s where that is δ/(mn).

    References
    ----------
    Derived for this project, as QuIP, arXiv 2307.13304, Lemma 5 with k = 2 leaves its constants open.
    """
    _check_failure(failure)
    return min(_chernoff_reach(failure / (4.0 * rows * columns)) ** 2, math.sqrt(rows * columns))
