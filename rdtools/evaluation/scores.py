"""Scores of a model's predictions beside those of the original, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import BadActivations

#: Tokens whose probabilities are in memory at a time, in float64.
ROWS = 128


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Scores of predicted tokens, p by the original and q by the other model: arrays (t,) float64.

    Attributes
    ----------
    reference_nll, nll : −ln p and −ln q of the token that came
    kl : Σ p ln(p/q) over the vocabulary, in nats
    acceptance : Σ min(p, q) = 1 − total variation, the rate at which a sampler that drafts from q and keeps p accepts
    agreement : 1 where both give their greatest probability to the same token, else 0
    """

    reference_nll: Float64Array
    nll: Float64Array
    kl: Float64Array
    acceptance: Float64Array
    agreement: Float64Array

    @staticmethod
    def joined(parts: Sequence[TokenScores]) -> TokenScores:
        """Scores of several batches, in order."""
        names = [field.name for field in fields(TokenScores)]
        return TokenScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def check_finite(logits: torch.Tensor, name: str) -> None:
    """Refuse logits (…, V) that are NaN or infinite.

    Raises
    ------
    BadActivations
        With the name of the model whose they are.
    """
    bad = ~logits.isfinite().flatten(0, -2).all(dim=1)
    if bad.any():
        raise BadActivations(
            f"{name}: {int(bad.sum())} of {len(bad)} predictions in a batch have NaN or infinite logits, expected finite ones; likely "
            "damaged weights or activations that overflow: check the checkpoint, or take more bits"
        )


def compare_logits(reference: torch.Tensor, logits: torch.Tensor, ids: NDArray[np.int64]) -> TokenScores:
    """Scores of all tokens of windows but their first; logits as they are, everything after them in float64.

    Parameters
    ----------
    reference, logits : (b, L, V) of the original and of the other model, for the same windows
    ids : (b, L) the windows

    Raises
    ------
    BadActivations
        If those of the other model are NaN or infinite.
    """
    check_finite(logits, "the quantized model")
    parts = []
    for (originals, target), (rows, _) in zip(predictions(reference, ids), predictions(logits, ids), strict=True):
        p, q = (torch.log_softmax(of.double(), dim=-1) for of in (originals, rows))
        nll, other = (-of.gather(1, target)[:, 0] for of in (p, q))
        parts.append(compare(p, q, nll, other, p.argmax(dim=-1) == q.argmax(dim=-1)))
    return TokenScores.joined(parts)


def predictions(logits: torch.Tensor, ids: NDArray[np.int64]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits (t, V) of predicted tokens and the tokens that came (t, 1), some at a time."""
    targets, rows = torch.from_numpy(ids[:, 1:].reshape(-1)).to(logits.device), logits[:, :-1].reshape(-1, logits.shape[-1])
    for first in range(0, len(targets), ROWS):
        yield rows[first : first + ROWS], targets[first : first + ROWS, None]


def compare(p: torch.Tensor, q: torch.Tensor, reference_nll: torch.Tensor, nll: torch.Tensor, agreement: torch.Tensor) -> TokenScores:
    """Scores of tokens from log probabilities (t, k) by both models; where p has −∞ nothing is added."""
    kl = torch.where(p > -torch.inf, p.exp() * (p - q), 0.0).sum(dim=-1).clamp(min=0)  # rounding may leave −1e-17 of equal ones
    scores = (reference_nll, nll, kl, torch.minimum(p, q).exp().sum(dim=-1), agreement.double())
    return TokenScores(*(score.cpu().numpy() for score in scores))
