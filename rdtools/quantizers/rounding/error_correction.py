"""QLLM's efficient error correction of one layer: a low-rank term on the quantized activations, exact or trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.records import InputMoments


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


def _checked(weight: Float64Array, quantized: Float64Array, moments: InputMoments, rank: int) -> Float64Array:
    """``K = W Σ_xx̂ − Ŵ Σ_x̂ = E[(W x − Ŵ x̂) x̂ᵀ]``."""
    if not 0 <= rank <= min(quantized.shape):
        raise UsageError(f"{moments.name}: correction of rank {rank} for a weight {quantized.shape}, expected 0 to {min(quantized.shape)}")
    return np.asarray(weight @ moments.cross - quantized @ moments.actual)


def _support(actual: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Square roots of the eigenvalues of Σ_x̂ that are not 0 but for rounding, and their eigenvectors: equal copies of a channel are rounded
    alike, so that Σ_x̂ is singular behind every split.
    """
    values, vectors = np.linalg.eigh(actual)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.sqrt(values[kept]), vectors[:, kept]


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
    K = _checked(weight, quantized, moments, rank)
    S, V = _support(moments.actual)
    P, s, Rt = np.linalg.svd(K @ V / S, full_matrices=False)
    k = min(rank, len(s))
    right = np.zeros((rank, len(moments.actual)))
    left = np.zeros((len(K), rank))
    left[:, :k], right[:k] = P[:, :k] * s[:k], (Rt[:k] / S) @ V.T
    return ErrorCorrection(left, right)


def trained_correction(
    weight: Float64Array,  # (m, n)
    quantized: Float64Array,  # (m, n′)
    moments: InputMoments,
    rank: int,
    generator: np.random.Generator,
    *,
    steps: int = 2000,
    learning_rate: float = 0.02,
) -> ErrorCorrection:
    """B and A by gradient descent, as the paper trains them: Adam with a learning rate that falls linearly to 0, and ``B A/k``.

    A starts uniform in ±1/√n′ (Kaiming's with √5), B at 0. The gradient is that of the mean loss over all tokens, which moments have
    exactly, so that a step is a pass over the calibration set. Activations are in units of their root mean square, and B in those of their
    cross moment with the error, so that the learning rate has no unit.

    Parameters
    ----------
    weight, quantized, moments, rank : as for `error_correction`
    generator : draws A
    steps, learning_rate : of Adam

    Raises
    ------
    UsageError
    """
    K = _checked(weight, quantized, moments, rank)
    n, k = len(moments.actual), max(rank, 1)
    scale = float(np.sqrt(np.mean(np.diagonal(moments.actual)))) or 1.0
    size = float(np.sqrt(np.mean((K / scale**2) ** 2))) or 1.0
    A = generator.uniform(-1, 1, (rank, n)) / np.sqrt(n)
    B = np.zeros((len(K), rank))
    gram, cross = moments.actual / scale**2, K / (scale**2 * size)
    parameters, first, second = (A, B), (np.zeros_like(A), np.zeros_like(B)), (np.zeros_like(A), np.zeros_like(B))
    for step in range(1, steps + 1):
        residual = (B @ A / k) @ gram - cross  # half the derivative of the loss by B A/k
        gradients = (B.T @ residual / k, residual @ A.T / k)
        rate = learning_rate * (1 - (step - 1) / steps)
        for x, g, mean, square in zip(parameters, gradients, first, second, strict=True):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            x -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return ErrorCorrection(size * B / k, A)
