"""Successive cancellation with a trellis of cosets by torch's own functions, on any device that torch has: a few launches a row and column.

The decisions are those of `rdtools.kernels.coset_trellis_numba`, with its roundings; all segments of a column are searched together.
"""

from __future__ import annotations

import torch
from rdtools.kernels.coset_trellis_reference import NEVER, RENEW, butterfly_labels
from rdtools.kernels.sic_sweep_torch import Sweep
from torch import Tensor


def _nearest_walks(x: Tensor, branches: Tensor, reach: float) -> Tensor:
    """The walk nearest to each of (M, G) targets, float64 as they are; branches: the coset (S/2, 2, 2) by j, input and predecessor."""
    (M, G), half = x.shape, len(branches)
    cosets = torch.arange(4, dtype=x.dtype, device=x.device)
    points = 4.0 * ((x[:, :, None] - cosets) * 0.25).round().clip(-reach, reach) + cosets
    distances = ((x[:, :, None] - points) ** 2).float()
    cost = torch.full((G, 2 * half), NEVER, dtype=torch.float32, device=x.device)
    cost[:, 0] = 0
    back = torch.empty((M, G, 2 * half), dtype=torch.bool, device=x.device)
    for t in range(M):
        low, high = (cost.view(G, 2, half).permute(0, 2, 1)[:, :, None] + distances[t][:, branches]).unbind(3)
        back[t] = (high < low).view(G, 2 * half)
        cost = torch.where(high < low, high, low).view(G, 2 * half)
        if t % RENEW == 0:
            cost = cost - cost.amin(1, keepdim=True)
    state = cost.argmin(1, keepdim=True)
    states, befores = (torch.empty((M, G), dtype=torch.int64, device=x.device) for _ in range(2))
    for t in range(M - 1, -1, -1):
        before = back[t].gather(1, state)
        states[t], befores[t] = state[:, 0], before[:, 0]
        state = (state >> 1) + half * before
    taken = branches[states >> 1, states & 1, befores]
    return points.gather(2, taken[:, :, None])[:, :, 0]


def coset_trellis_sweep(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    states: int,
    *,
    segment: int,
    integer_max: int,
    residual: bool = True,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Same as `rdtools.kernels.coset_trellis_reference.coset_trellis_sweep`, for tensors on one device."""
    m = len(weight)
    sweep = Sweep(weight, factor, 0.5 * steps, 0.0, -integer_max, integer_max, None, residual)
    label = torch.from_numpy(butterfly_labels(states)).to(weight.device, torch.int64)
    turned = torch.tensor([[0, 2], [2, 0]], dtype=torch.int64).to(weight.device)
    branches = label[:, None, None] ^ turned
    covered = m - m % min(segment, max(m, 1))
    for i, target in sweep.targets():
        x = (target / sweep.widths[i]).double()
        walks = [_nearest_walks(x[:covered].view(-1, min(segment, m)).T, branches, integer_max // 4 - 1)] if covered else []
        if covered < m:
            walks.append(_nearest_walks(x[covered:, None], branches, integer_max // 4 - 1))
        q = torch.cat([walk.T.reshape(-1) for walk in walks]) if m else x
        sweep.integers[:, i] = q.to(torch.int32)
        sweep.error[:, i] = (weight[:, i].double() - sweep.steps[i].double() * q).to(weight.dtype)
    return sweep.integers, sweep.final
