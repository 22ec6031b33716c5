"""Greedy coordinate descent on integers by torch's own functions, on any device that torch has: a few launches a column and pass."""

from __future__ import annotations

import numpy as np
import torch
from rdtools.kernels.coordinate_descent_reference import tie
from rdtools.kernels.sic_sweep_reference import integer_range
from torch import Tensor

from rdtools.arrays import dtype_name

#: Columns whose common gradient is one matrix product.
PANEL = 128


def coordinate_descent(
    weight: Tensor,  # (m, n)
    moment: Tensor,  # (n, n)
    integers: Tensor,  # (m, n)
    steps: Tensor,  # (n,)
    order: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    passes: int,
) -> tuple[Tensor, int]:
    """Same as `rdtools.kernels.coordinate_descent_reference.coordinate_descent`, for tensors on one device."""
    dtype = np.dtype(dtype_name(weight))
    lowest, highest = map(float, integer_range(integer_min, integer_max, dtype))
    stay = float(tie(dtype))
    # in the order of a pass, so that a panel is a slice
    W, H, alpha = weight[:, order], moment[order][:, order].to(weight.dtype), steps[order].to(weight.dtype)
    z = integers[:, order].to(weight.dtype)
    error = W - alpha * (z + offset)
    n, scales = W.shape[1], H.diagonal() * alpha
    used, moved = 0, True
    while used < passes and moved:
        changed = torch.zeros((), dtype=torch.bool, device=W.device)
        for first in range(0, n, PANEL):
            last = min(first + PANEL, n)
            gradient = error @ H[:, first:last]
            for i in range(first, last):
                move = gradient[:, i - first] / scales[i]
                new = torch.where(move.abs() > stay, (z[:, i] + move.round()).clip(lowest, highest), z[:, i])
                step = alpha[i] * (new - z[:, i])
                changed |= (step != 0).any()
                z[:, i] = new
                error[:, i] = W[:, i] - alpha[i] * (new + offset)
                gradient[:, i - first + 1 :] -= torch.outer(step, H[i, i + 1 : last])
        used, moved = used + 1, bool(changed)
    placed = torch.empty_like(integers)
    placed[:, order] = z.to(torch.int32)
    return placed, used
