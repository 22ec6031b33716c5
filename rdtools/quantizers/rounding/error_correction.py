"""QLLM's efficient error correction of one layer: the best low-rank term on the quantized activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.records import InputMoments
from rdtools.widths import check_spectrum_width


@dataclass(frozen=True, eq=False)
class ErrorCorrection:
    """``B A`` of rank k, which acts on Q(T x) beside Ŵ.

    Attributes
    ----------
    left : (m, k) B
    right : (k, n′) A
    """

    left: Float64Array
    right: Float64Array

    @property
    def matrix(self) -> Float64Array:
        """(m, n′) B A."""
        return np.asarray(self.left @ self.right)


def _support(actual: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Square roots of the eigenvalues of Σ_x̂ that are not 0 but for rounding, and their eigenvectors: equal copies of a channel are rounded
    alike, so that Σ_x̂ is singular behind every split.
    """
    check_spectrum_width(len(actual))
    # divide and conquer: in the memory of the copy, and twice that for the work
    values, vectors = scipy.linalg.eigh(np.array(actual, order="F"), driver="evd", overwrite_a=True, check_finite=False)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.sqrt(values[kept]), vectors if kept.all() else vectors[:, kept]


def error_correction(
    weight: Float64Array,  # (m, n)
    quantized: Float64Array,  # (m, n′)
    moments: InputMoments,
    rank: int,
) -> ErrorCorrection:
    """The B and A of rank k with the least ``E‖W x − (Ŵ + B A) x̂‖²``, ``x̂ = Q(T x)``.

    Reduced-rank regression of the error on x̂: with ``Σ_x̂ = V S² Vᵀ`` and the singular values ``K V S⁻¹ = P diag(s) Rᵀ``, B = P_k diag(s_k)
    and ``A = R_kᵀ S⁻¹ Vᵀ`` remove ``Σ_{i≤k} s_i²`` of the loss.

    Parameters
    ----------
    weight : W
    quantized : Ŵ
    moments : of x beside x̂
    rank : k, 0 to min(m, n′)

    Raises
    ------
    UsageError
        For a rank out of its range.

    References
    ----------
    QLLM, arXiv 2310.08041, efficient error correction, of one layer; closed form as for LRC, arXiv 2412.07902, with x̂ in the place of x.
    """
    if not 0 <= rank <= min(quantized.shape):
        raise UsageError(f"{moments.name}: correction of rank {rank} for a weight {quantized.shape}, expected 0 to {min(quantized.shape)}")
    S, V = _support(moments.actual)
    K = weight @ moments.cross
    K -= quantized @ moments.actual  # E[(W x − Ŵ x̂) x̂ᵀ]
    K = K @ V
    K /= S
    K = np.asfortranarray(K)
    P, s, Rt = scipy.linalg.svd(K, full_matrices=False, overwrite_a=True, check_finite=False)
    k = min(rank, len(s))
    right = np.zeros((rank, len(moments.actual)))
    left = np.zeros((len(weight), rank))
    left[:, :k], right[:k] = P[:, :k] * s[:k], (Rt[:k] / S) @ V.T
    return ErrorCorrection(left, right)
