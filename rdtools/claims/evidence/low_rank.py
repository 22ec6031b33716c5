"""A low-rank correction beside rounded weights and activations: LRC on normal tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.claims.evidence.channels import normal_tokens
from rdtools.errors import NotPositiveSemidefinite
from rdtools.linalg import cholesky
from rdtools.quantizers.rounding.error_correction import error_correction
from rdtools.records import InputMoments
from rdtools.theory.correction_target import correction_target
from rdtools.theory.low_rank import low_rank_correction
from rdtools.transforms import new_rotation, rotate

_ROWS = 64
_LEVELS = 15
_TOKENS_PER_COLUMN = 4
_OTHERS = 8
_ALTERNATIONS = 4


@dataclass(frozen=True, eq=False)
class LowRank:
    """Low-rank correction beside a rounded weight and rounded activations, on a sample of normal tokens; distortions per weight.

    Attributes
    ----------
    weight, rounded : (m, r) W and Ŵ
    moments : of the sample
    rank : k
    correction : (m, r) some L of rank k
    sampled : mean of ``‖W x − Ŵ Q(x) − L x‖²/(mr)`` over the tokens
    optimum_sampled : likewise with the best L of rank k
    beside_quantized_sampled : likewise with the best B A of rank k that acts on Q(x), as QLLM's
    perturbed_sampled : least of those with other L of rank k, near to the best one and far from it
    target_sampled : likewise with L and, in place of Ŵ, the best real matrix beside it
    alternation : values along alternating weight and low-rank steps with real Ŵ, from a random L
    weight_error_optimum : sum of squares of the singular values beyond k of the outputs ``(W − Ŵ) x`` of all tokens, a mean over them
    condition : sum of the condition numbers of the moments of x and of Q(x)
    """

    weight: Float64Array
    rounded: Float64Array
    moments: InputMoments
    rank: int
    correction: Float64Array
    sampled: float
    optimum_sampled: float
    beside_quantized_sampled: float
    perturbed_sampled: float
    target_sampled: float
    alternation: Float64Array
    weight_error_optimum: float
    condition: float


def _round_rows(values: Float64Array) -> Float64Array:
    """Each row on a symmetric grid of 15 levels that its largest magnitude spans."""
    step = 2 * np.abs(values).max(axis=1, keepdims=True) / (_LEVELS - 1)
    return np.asarray(np.rint(values / np.where(step > 0, step, 1.0)) * step)


def gather_low_rank(case: MomentCase, weight: Float64Array) -> LowRank:
    """Round weights and activations to four bits and correct."""
    if case.factor is None:
        raise NotApplicable("H is singular")
    if not weight.any():
        raise NotApplicable("the weights are all zero")
    n = case.columns
    generator = case.generator("low rank")
    # the method rotates before it rounds activations
    rotation = new_rotation("auto", n, int(generator.integers(2**63)))
    W = rotate(weight[:_ROWS], rotation)
    x = rotate(normal_tokens(case, "low rank", _TOKENS_PER_COLUMN * n + 64), rotation)
    q = _round_rows(x)
    tokens = len(x)
    moments = InputMoments.quantized(x.T @ x / tokens, q.T @ q / tokens, x.T @ q / tokens)
    # nothing is damped, so that every identity is one of the sample
    try:
        for moment in (moments.reference, moments.actual):
            cholesky(moment, damping=0.0)
    except NotPositiveSemidefinite as error:
        raise NotApplicable("a sample moment of the activations or of the quantized ones is singular in float64") from error
    rounded = _round_rows(W)
    rank = max(1, min(W.shape) // 10)

    def loss(What: Float64Array, L: Float64Array) -> float:
        return float(((x @ (W - L).T - q @ What.T) ** 2).sum()) / tokens / float(W.size)

    best = low_rank_correction(W, rounded, moments, rank)
    others = []
    for k in range(_OTHERS):
        straying = 10.0 ** -(k % 4)
        U = best.left + straying * generator.standard_normal(best.left.shape) / np.sqrt(len(W))
        V = best.right + straying * np.abs(best.right).max() * generator.standard_normal(best.right.shape)
        others.append(loss(rounded, U @ V.T))
    L = np.outer(generator.standard_normal(len(W)), generator.standard_normal(n)) * float(np.sqrt(np.mean(W**2)))
    correction, target = L, correction_target(W, L, moments)
    course = []
    for _ in range(_ALTERNATIONS):
        What = correction_target(W, L, moments)
        course.append(loss(What, L))
        L = low_rank_correction(W, What, moments, rank).matrix
        course.append(loss(What, L))
    left_over = np.linalg.svd((W - rounded) @ x.T, compute_uv=False)
    return LowRank(
        weight=W,
        rounded=rounded,
        moments=moments,
        rank=rank,
        correction=correction,
        sampled=loss(rounded, correction),
        optimum_sampled=loss(rounded, best.matrix),
        beside_quantized_sampled=loss(rounded + error_correction(W, rounded, moments, rank).matrix, np.zeros_like(W)),
        perturbed_sampled=min(others),
        target_sampled=loss(target, correction),
        alternation=np.array(course),
        weight_error_optimum=float((left_over[rank:] ** 2).sum()) / tokens / W.size,
        condition=float(np.linalg.cond(moments.reference) + np.linalg.cond(moments.actual)),
    )
