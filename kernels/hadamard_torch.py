"""Multiplication by a Hadamard matrix by torch's own functions, on any device that torch has: one pass for each doubling."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hadamard_inplace(
    x: Tensor,  # (m, n)
    core: Tensor,  # (c, c), n = 2^k c
) -> None:
    """Same as `rdtools.kernels.hadamard_reference.hadamard_inplace`; with a core larger than 1 in another order of its additions."""
    (m, n), c = x.shape, len(core)
    if x.numel() == 0:
        return
    y = x.reshape(-1, c)
    if c > 1:
        y = y @ core.to(x.dtype)
    half = 1
    while half < n // c:
        y = y.reshape(m, n // c // (2 * half), 2, half, c)
        y = torch.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], dim=2)
        half *= 2
    x.copy_(y.reshape(m, n) / math.sqrt(n))
