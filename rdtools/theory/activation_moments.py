"""Second moments of an input and its quantized version, and the loss of a layer that sees both.

A layer y = W x is replaced by ``Ŵ Q(x) + L x`` with L of rank k and high precision. The distortion is a function of three second moments
and nothing else,

    D = E‖W x − Ŵ Q(x) − L x‖²/(mn),    S_x = E[x xᵀ],  S_y = E[Q Qᵀ],  S_xy = E[x Qᵀ].

Sums of moments are arranged around the noise x − Q(x), so that nothing cancels where Q(x) = x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch
from rdtools.linalg import ASYMMETRY_LIMIT, as_float64, check_moment, check_weight, cholesky

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ActivationMoments:
    """Second moments of an input and of its quantized version, over the same tokens.

    Attributes
    ----------
    inputs : (n, n) float64, S_x = E[x xᵀ]
    quantized : (n, n) float64, S_y = E[Q(x) Q(x)ᵀ]
    cross : (n, n) float64, S_xy = E[x Q(x)ᵀ], not symmetric
    """

    inputs: Float64Array
    quantized: Float64Array
    cross: Float64Array

    @classmethod
    def of(cls, inputs: ArrayLike, quantized: ArrayLike, cross: ArrayLike) -> ActivationMoments:
        """Moments that were checked.

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite
            The last also for a cross moment with an entry beyond the root of the product of both powers.
        """
        x, y = check_moment(inputs, name="moment of x"), check_moment(quantized, name="moment of Q(x)")
        xy = as_float64(cross, name="cross moment")
        if not x.shape == y.shape == xy.shape:
            raise ShapeMismatch(f"activation moments: shapes {x.shape}, {y.shape} and {xy.shape}, expected three of (n, n)")
        if (np.abs(xy) > (1 + ASYMMETRY_LIMIT) * np.sqrt(np.outer(np.diagonal(x), np.diagonal(y)))).any():
            raise NotPositiveSemidefinite(
                "activation moments: a cross moment above the root of the product of both powers, expected at most that; "
                "likely from other tokens, or a sum where a mean over tokens is meant"
            )
        return cls(x, y, xy)

    @classmethod
    def unquantized(cls, moment: ArrayLike) -> ActivationMoments:
        """Moments of ``Q(x) = x``."""
        H = check_moment(moment)
        return cls(H, H, H)


def same_shape(weight: ArrayLike, moments: ActivationMoments, **others: ArrayLike) -> tuple[Float64Array, ...]:
    """W and other matrices by name as float64, of one shape and with a column per input."""
    n = len(moments.inputs)
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


def corrected_distortion(weight: ArrayLike, quantized_weight: ArrayLike, correction: ArrayLike, moments: ActivationMoments) -> float:
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

    >>> half = ActivationMoments(np.eye(1), np.eye(1) / 4, np.eye(1) / 2)
    >>> one = np.eye(1)
    >>> corrected_distortion(one, one, 0 * one, half), corrected_distortion(one, one, one / 2, half)
    (0.25, 0.0)
    """
    W, What, L = same_shape(weight, moments, quantized_weight=quantized_weight, correction=correction)
    A = W - L - What
    lost = moments.inputs - moments.cross  # E[x (x − Q)ᵀ]
    noise = lost - moments.cross.T + moments.quantized
    total = np.vdot(A @ moments.inputs, A) + 2 * np.vdot(A @ lost, What) + np.vdot(What @ noise, What)
    return max(0.0, float(total)) / W.size
