"""Second moments of an input and its quantized version, and the loss of a layer that sees both.

A layer y = W x is replaced by ``Ŵ Q(x) + L x`` with L of rank k and high precision. The distortion is a function of three second moments
and nothing else,

    D = E‖W x − Ŵ Q(x) − L x‖²/(mn),    S_x = E[x xᵀ],  S_y = E[Q Qᵀ],  S_xy = E[x Qᵀ].

Sums of moments are arranged around the noise x − Q(x), so that nothing cancels where Q(x) = x.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.linalg import check_weight, cholesky
from rdtools.records import InputMoments


def same_shape(weight: ArrayLike, moments: InputMoments, **others: ArrayLike) -> tuple[Float64Array, ...]:
    """W and other matrices by name as float64, of one shape and with a column per input."""
    n = moments.inputs
    if moments.actual_inputs != n or moments.residual is not None:
        raise ShapeMismatch(
            f"{moments.name}: moments of {moments.actual_inputs} actual inputs for {n}, residual {moments.residual is not None}; "
            "expected those of x and Q(x), without a residual moment"
        )
    W = check_weight(weight, columns=n)
    if W.size == 0:
        raise ShapeMismatch(f"low rank: weight of shape {W.shape} is empty; expected at least one row and column")
    rest = [check_weight(matrix, columns=n, name=name) for name, matrix in others.items()]
    for name, matrix in zip(others, rest, strict=True):
        if matrix.shape != W.shape:
            raise ShapeMismatch(f"low rank: {name} of shape {matrix.shape} with weight {W.shape}, expected the same")
    return W, *rest


def regression(regressor: Float64Array, target: Float64Array, cross: Float64Array, damping: float, name: str) -> tuple[Float64Array, ...]:
    """C, G = C⁻¹(P − cross) and the residual moment of the target, for ``P = regressor + δ I = C Cᵀ`` and cross = E[regressor targetᵀ].

    ``target − crossᵀ P⁻¹ cross = (P − cross − crossᵀ + target) − Gᵀ G``: both terms are small where the target is near the regressor.
    """
    C = cholesky(regressor, damping=damping, name=name).lower
    P = regressor + damping * float(np.mean(np.diagonal(regressor))) * np.eye(len(regressor))
    difference = P - cross
    G = scipy.linalg.solve_triangular(C, difference, lower=True, check_finite=False)
    # difference − crossᵀ + target, summed so that a target equal to the regressor leaves exact zeros
    return C, G, difference + (target - cross.T) - G.T @ G


def corrected_distortion(weight: ArrayLike, quantized_weight: ArrayLike, correction: ArrayLike, moments: InputMoments) -> float:
    """``D = [tr((W−L) S_x (W−L)ᵀ) − 2 tr((W−L) S_xy Ŵᵀ) + tr(Ŵ S_y Ŵᵀ)]/(mn)``, the loss of ``Ŵ Q(x) + L x`` for ``W x``.

    Evaluated as ``E‖A x + Ŵ (x − Q)‖²`` with ``A = W − L − Ŵ``. With sample moments it is the sample's mean loss.

    Parameters
    ----------
    weight, quantized_weight, correction : (m, n), W, Ŵ and L; zeros for no correction
    moments : of x and Q(x)

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    LRC, arXiv 2412.07902, the objective; written in moments for this project.

    Examples
    --------
    Q(x) = x/2 of a unit variable, with Ŵ = W = 1: half of x is lost, and L = ½ brings it back.

    >>> half = InputMoments.quantized(np.eye(1), np.eye(1) / 4, np.eye(1) / 2)
    >>> one = np.eye(1)
    >>> corrected_distortion(one, one, 0 * one, half), corrected_distortion(one, one, one / 2, half)
    (0.25, 0.0)
    """
    W, What, L = same_shape(weight, moments, quantized_weight=quantized_weight, correction=correction)
    A = W - L - What
    lost = moments.reference - moments.cross  # E[x (x − Q)ᵀ]
    noise = lost - moments.cross.T + moments.actual
    total = np.vdot(A @ moments.reference, A) + 2 * np.vdot(A @ lost, What) + np.vdot(What @ noise, What)
    return max(0.0, float(total)) / W.size
