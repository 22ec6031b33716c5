"""A low-rank correction beside rounded weights and activations: LRC on normal tokens."""

from __future__ import annotations

import numpy as np

from rdtools.errors import NotPositiveSemidefinite
from rdtools.linalg import cholesky
from rdtools.theory.claims.layer_parts import LowRankEvidence
from rdtools.theory.claims.parts import Float64Array
from rdtools.theory.low_rank import ActivationMoments, correction_target, low_rank_correction
from rdtools.transforms import new_rotation, rotate
from rdtools.verify.case import MomentCase
from rdtools.verify.channels import normal_tokens

_ROWS = 64
_LEVELS = 15
_TOKENS_PER_COLUMN = 4
_OTHERS = 8
_ALTERNATIONS = 4


def _round_rows(values: Float64Array) -> Float64Array:
    """Each row on a symmetric grid of 15 levels that its largest magnitude spans."""
    step = 2 * np.abs(values).max(axis=1, keepdims=True) / (_LEVELS - 1)
    return np.asarray(np.rint(values / np.where(step > 0, step, 1.0)) * step)


def low_rank_evidence(case: MomentCase, weight: Float64Array) -> LowRankEvidence | str:
    """Round weights and activations to four bits and correct; or say why that cannot be done."""
    if case.factor is None:
        return "H is singular"
    if not weight.any():
        return "the weights are all zero"
    n = case.columns
    generator = case.generator("low rank")
    # the method rotates before it rounds activations
    rotation = new_rotation("auto", n, generator)
    W = rotate(weight[:_ROWS], rotation)
    x = rotate(normal_tokens(case, "low rank", _TOKENS_PER_COLUMN * n + 64), rotation)
    q = _round_rows(x)
    tokens = len(x)
    moments = ActivationMoments(x.T @ x / tokens, q.T @ q / tokens, x.T @ q / tokens)
    # nothing is damped, so that every identity is one of the sample
    try:
        for moment in (moments.inputs, moments.quantized):
            cholesky(moment, damping=0.0)
    except NotPositiveSemidefinite:
        return "a sample moment of the activations or of the quantized ones is singular in float64"
    rounded = _round_rows(W)
    rank = max(1, min(W.shape) // 10)

    def loss(What: Float64Array, L: Float64Array) -> float:
        return float(((x @ (W - L).T - q @ What.T) ** 2).sum()) / tokens / W.size

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
    return LowRankEvidence(
        weight=W,
        rounded=rounded,
        moments=moments,
        rank=rank,
        correction=correction,
        sampled=loss(rounded, correction),
        optimum_sampled=loss(rounded, best.matrix),
        perturbed_sampled=min(others),
        target_sampled=loss(target, correction),
        alternation=np.array(course),
        weight_error_optimum=float((left_over[rank:] ** 2).sum()) / tokens / W.size,
        condition=float(np.linalg.cond(moments.inputs) + np.linalg.cond(moments.quantized)),
    )
