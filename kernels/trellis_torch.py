"""Viterbi's search through a bitshift trellis by torch's own functions, on any device that torch has: a few launches a step."""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers of the way back of the sequences that are searched at a time.
_ENTRIES = 2**28


def _viterbi(x: Tensor, table: Tensor, fan: int, overlap: Tensor | None) -> Tensor:
    """(S, n) the states of the path nearest to each of (S, n, V); those at the ends agree with the overlap of each, (S,)."""
    (S, n, _), count = x.shape, len(table)
    classes = count // fan
    states = torch.arange(count, device=x.device)

    def errors(t: int) -> Tensor:
        return ((table[None] - x[:, t, None, :]) ** 2).sum(2)

    cost = errors(0)
    if overlap is not None:
        cost = torch.where(states // fan == overlap[:, None], cost, torch.inf)
    back = torch.empty((max(n - 1, 0), S, classes), dtype=torch.uint8, device=x.device)
    for t in range(1, n):
        # state p · classes + c is before the states c · fan … c · fan + fan − 1
        least, choice = cost.view(S, fan, classes).min(1)
        back[t - 1] = choice.to(torch.uint8)
        cost = (least[:, :, None] + errors(t).view(S, classes, fan)).reshape(S, count)
    if overlap is not None:
        cost = torch.where(states % classes == overlap[:, None], cost, torch.inf)
    path = torch.empty((S, n), dtype=torch.int32, device=x.device)
    state = cost.argmin(1)
    path[:, n - 1] = state.to(torch.int32)
    for t in range(n - 1, 0, -1):
        group = state // fan
        state = back[t - 1].gather(1, group[:, None])[:, 0].to(torch.int64) * classes + group
        path[:, t - 1] = state.to(torch.int32)
    return path


def trellis_quantize(
    sequences: Tensor,  # (S, T)
    values: Tensor,  # (2^L, V)
    bits_per_weight: int,
    tail_biting: bool,
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.trellis_reference.trellis_quantize`; costs in the dtype of the sequences.

    Of paths equally near, to rounding, it may take another.
    """
    (S, T), (count, V) = sequences.shape, values.shape
    n, fan, table = T // V, 2 ** (bits_per_weight * V), values.to(sequences.dtype)
    x = sequences.reshape(S, n, V)
    batch = max(1, _ENTRIES // (count * max(V, n // fan + 1)))
    batches = []
    for start in range(0, S, batch):
        some = x[start : start + batch]
        overlap = None
        if tail_biting:
            overlap = _viterbi(some.roll(n // 2, 1), table, fan, None)[:, n // 2] // fan
        batches.append(_viterbi(some, table, fan, overlap))
    states = torch.cat(batches) if S else torch.empty((0, n), dtype=torch.int32, device=x.device)
    return states, values[states.to(torch.int64)].reshape(S, T)
