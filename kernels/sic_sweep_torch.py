"""Successive interference cancellation by torch's own functions, on any device that torch has: a few launches a column.

The sums are those of `rdtools.kernels.sic_sweep_triton`: errors are carried, later panels feed back by one matrix product, later columns of
the panel one after another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from rdtools.kernels.philox_reference import uniform
from rdtools.kernels.sic_sweep_reference import integer_range
from torch import Tensor

from rdtools.arrays import dtype_name

#: Columns of a panel.
PANEL = 128


class Sweep:
    """The part that both sweeps share: everything in W's dtype, and the error of decided columns fed back."""

    def __init__(
        self,
        weight: Tensor,
        factor: Tensor,
        steps: Tensor,
        offset: float,
        integer_min: int,
        integer_max: int,
        seed: int | None,
        residual: bool,
    ) -> None:
        self.weight, self.factor, self.steps = weight, factor.to(weight.dtype), steps.to(weight.dtype)
        self.pivots, self.offset, self.seed = self.factor.diagonal(), offset, seed
        self.widths = self.steps * self.pivots
        dtype = np.dtype(dtype_name(weight))
        self.lowest, self.highest = map(float, integer_range(integer_min, integer_max, dtype))
        self.integers = torch.empty(weight.shape, dtype=torch.int32, device=weight.device)
        self.error = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        self.final = torch.empty_like(self.error) if residual else None

    def targets(self) -> Iterator[tuple[int, Tensor]]:
        """Each column, from the last to the first, with its target; who takes one has it decided before the next."""
        n = self.weight.shape[1]
        for first in range((n - 1) // PANEL * PANEL, -1, -PANEL):
            last = min(first + PANEL, n)
            fed = self.error[:, last:] @ self.factor[last:, first:last]
            for i in range(last - 1, first - 1, -1):
                yield i, self.weight[:, i] * self.pivots[i] + fed[:, i - first]
                if self.final is not None:
                    self.final[:, i] = fed[:, i - first] + self.error[:, i] * self.pivots[i]
                fed[:, : i - first] += torch.outer(self.error[:, i], self.factor[i, first:i])

    def points(self, i: int, target: Tensor) -> Tensor:
        """The integers of a column, plus the offset."""
        x = target / self.widths[i] - self.offset
        if self.seed is None:
            q = x.round()
        else:
            q = (x + torch.from_numpy(uniform(self.seed, np.arange(len(x)), i)).to(x.device, x.dtype)).floor()
        q = q.clip(self.lowest, self.highest)
        self.integers[:, i] = q.to(torch.int32)
        return q + self.offset

    def decide(self, i: int, points: Tensor, gain: Tensor) -> None:
        """The error that a column is left with."""
        self.error[:, i] = self.weight[:, i] - gain * self.steps[i] * points


def sic_sweep(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    gains: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep`, for tensors on one device."""
    sweep = Sweep(weight, factor, steps, offset, integer_min, integer_max, seed, residual)
    gains = gains.to(weight.dtype)
    for i, target in sweep.targets():
        sweep.decide(i, sweep.points(i, target), gains[i])
    return sweep.integers, sweep.final


def gain_at(gain_curve: Tensor, q: Tensor) -> Tensor:
    """The gain at a mean square: on the line between two of the curve, ``1 − 1/(12 q)`` beyond the last."""
    squares, known = gain_curve[0].contiguous(), gain_curve[1]
    k = torch.searchsorted(squares, q).clamp(1, len(squares) - 1)
    low, high = squares.gather(0, k - 1), squares.gather(0, k)
    on_line = known.gather(0, k - 1) + ((q - low).clamp(min=0) / (high - low)) * (known.gather(0, k) - known.gather(0, k - 1))
    return torch.where(q > squares[-1], 1.0 - 1.0 / (12.0 * q), on_line)


def sic_sweep_sample_gains(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
    gain_curve: Tensor | None = None,  # (2, K)
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`, for tensors on one device."""
    sweep = Sweep(weight, factor, steps, offset, integer_min, integer_max, seed, residual)
    gains = torch.ones(weight.shape[1], dtype=torch.float64, device=weight.device)
    for i, target in sweep.targets():
        points = sweep.points(i, target)
        p = points.double()
        square = (p * p).sum()
        if gain_curve is not None:
            gains[i] = gain_at(gain_curve, square.reshape(1) / max(len(p), 1))[0]
        else:
            fitted = (p * target.double()).sum() / (sweep.widths[i].double() * square)
            gains[i] = torch.where(square > 0, fitted, 1.0)
        sweep.decide(i, points, gains[i].to(weight.dtype))
    return sweep.integers, gains, sweep.final
