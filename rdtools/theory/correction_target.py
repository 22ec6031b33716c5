"""The best weight beside a given low-rank correction: the weight step of LRC."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.records import InputMoments
from rdtools.theory.activation_moments import regression, same_shape


def correction_target(weight: ArrayLike, correction: ArrayLike, moments: InputMoments, *, damping: float = 0.0) -> Float64Array:
    """``W̃ = (W − L) S_xy S_y⁻¹``: what to quantize under the second moment S_y when L is given.

    ``D = tr((W̃ − Ŵ) S_y (W̃ − Ŵ)ᵀ)/(mn) + c`` for every Ŵ, with c from `unpredictable_distortion`, so that any quantizer for weights
    serves. With damping δ (absolute) this is the identity for ``D + δ‖Ŵ‖²/(mn)`` and S_y + δ I. W − L where Q(x) = x.

    Parameters
    ----------
    weight, correction : (m, n), W and L; zeros for no correction
    moments : of x and Q(x); S_y nonsingular with the damping asked for
    damping : added to S_y, relative to its mean diagonal

    Returns
    -------
    (m, n) float64

    Raises
    ------
    NotPositiveSemidefinite
        If S_y is singular with this damping; the message names one that works.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    LRC, arXiv 2412.07902, the weight step; derived for this project. The same formula with propagated activations: QEP, arXiv 2504.09629.

    Examples
    --------
    >>> half = InputMoments.quantized(np.eye(1), np.eye(1) / 4, np.eye(1) / 2)
    >>> correction_target(np.eye(1), np.zeros((1, 1)), half).tolist()
    [[2.0]]
    """
    W, L = same_shape(weight, moments, correction=correction)
    C, G, _ = regression(moments.actual, moments.reference, moments.cross.T, damping, "moment of Q(x)")
    # S_xy P⁻¹ = I − Gᵀ C⁻¹
    return np.asarray(W - L - scipy.linalg.solve_triangular(C, G @ (W - L).T, lower=True, trans="T", check_finite=False).T)


def unpredictable_distortion(weight: ArrayLike, correction: ArrayLike, moments: InputMoments, *, damping: float = 0.0) -> float:
    """``c = tr((W−L) S (W−L)ᵀ)/(mn)`` with ``S = S_x − S_xy S_y⁻¹ S_xyᵀ``: what of (W−L) x no linear function of Q(x) predicts.

    The least distortion over all real Ŵ. 0 where Q(x) = x; ``tr((W−L) S_x (W−L)ᵀ)/(mn)`` where Q(x) tells nothing of x.

    Parameters
    ----------
    weight, correction, moments, damping : as for `correction_target`

    Raises
    ------
    NotPositiveSemidefinite, ShapeMismatch, UnsupportedDtype, NotFiniteInput
        As `correction_target`.

    References
    ----------
    Derived for this project from LRC, arXiv 2412.07902.

    Examples
    --------
    Signal and noise of power 1 each: Q(x) leaves half of x unexplained.

    >>> noisy = InputMoments.quantized(np.eye(1), 2 * np.eye(1), np.eye(1))
    >>> round(unpredictable_distortion(np.eye(1), np.zeros((1, 1)), noisy), 12)
    0.5
    """
    W, L = same_shape(weight, moments, correction=correction)
    S = regression(moments.actual, moments.reference, moments.cross.T, damping, "moment of Q(x)")[2]
    return max(0.0, float(np.vdot((W - L) @ S, W - L))) / W.size
