"""Activations whose leading subspace is kept finer: PCA split on normal tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import NotApplicable
from rdtools.claims.evidence.case import MomentCase
from rdtools.claims.evidence.channels import normal_tokens
from rdtools.records import ActivationGrid
from rdtools.transforms.links import Principal

_TOKENS = 1024
_OTHERS = 8
_SHARE = 0.125
BITS, FINE_BITS = 4, 8


@dataclass(frozen=True, eq=False)
class PrincipalSplit:
    """Normal tokens in the eigenvectors of their own moment, the k leading coordinates apart; powers are sums over channels.

    Attributes
    ----------
    eigenvalues : (r,) of the sample's moment, descending
    channels : k
    left : power outside the span of the k leading eigenvectors, a mean over the tokens
    left_by_others : least of that outside other subspaces: the axes as they are stored, the k largest channels, and some drawn
    noise : mean squared error of the tokens on grids of 8 and 4 bits for the two parts, the extremes of a token on them
    """

    eigenvalues: Float64Array
    channels: int
    left: float
    left_by_others: float
    noise: float


def gather_principal(case: MomentCase) -> PrincipalSplit:
    """Split tokens, and round both parts."""
    n = case.columns
    if n < 2:
        raise NotApplicable("a single column has no leading subspace and a rest")
    k = min(max(1, round(_SHARE * n)), n - 1)
    x = normal_tokens(case, "principal", _TOKENS)
    generator = case.generator("principal subspaces")
    values, vectors = np.linalg.eigh(x.T @ x / _TOKENS)
    vectors = np.ascontiguousarray(vectors[:, ::-1])
    largest = np.argsort(-np.mean(x**2, axis=0))[:k]
    drawn = [np.linalg.qr(vectors[:, :k] + 10.0**-i * generator.standard_normal((n, k)))[0] for i in range(_OTHERS)]
    power = float(np.sum(x**2)) / _TOKENS
    stored = Principal.spanning(vectors[:, :k]).apply(x)[:, k:]
    others = [float(np.sum(stored**2)) / _TOKENS]
    others += [power - float(np.sum((x @ axes) ** 2)) / _TOKENS for axes in (np.eye(n)[:, largest], *drawn)]
    turned = x @ vectors
    error = turned - ActivationGrid(BITS, clip=1.0, fine_channels=k, fine_bits=FINE_BITS).quantize(turned)
    return PrincipalSplit(
        eigenvalues=np.maximum(values[::-1], 0.0),
        channels=k,
        left=float(np.sum(turned[:, k:] ** 2)) / _TOKENS,
        left_by_others=min(others),
        noise=float(np.sum(error**2)) / _TOKENS,
    )
