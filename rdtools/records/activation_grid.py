"""The grid that every token's activations are rounded to while the model runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError


@dataclass(frozen=True)
class ActivationGrid:
    """Uniform grid of 2^b levels, made anew for every token, or for every group of channels of it.

    Symmetric, with levels −2^{b−1} … 2^{b−1} − 1 and zero among them::

        step = clip · max|x| / (2^{b−1} − 1),    Q(x) = step · clamp(round(x/step), −2^{b−1}, 2^{b−1} − 1)

    Asymmetric, with levels 0 … 2^b − 1 and a whole zero point::

        step = clip · (max x − min x) / (2^b − 1),    z = −round(clip · min x/step),
        Q(x) = step · (clamp(round(x/step) + z, 0, 2^b − 1) − z)

    The first `fine_channels` may have a grid of their own, as the subspace of largest variance in ResQ: one for them together, of
    `fine_bits` and not clipped.

    Rounding is to nearest, ties to even. Steps and zero points are computed from the token and not rounded themselves.

    Attributes
    ----------
    bits : b, 2 to 16
    symmetric : which of the two
    clip : clipping ratio, 0 < clip ≤ 1; the largest activation is at 1
    group_size : channels in a group, the last group holding what is left; 0 for one group per token
    fine_channels, fine_bits : how many of the first channels have a grid of their own, and its bits, 2 to 16; 0 for none

    Raises
    ------
    UsageError
        For a value out of its range.

    References
    ----------
    Symmetric: QuaRot, arXiv 2404.00456, and LRC, arXiv 2412.07902. Asymmetric: QLLM, arXiv 2310.08041, which does not clip.

    Examples
    --------
    >>> ActivationGrid(3).quantize(np.array([3.0, 1.2, -0.6])).tolist()
    [3.0, 1.0, -1.0]
    >>> ActivationGrid(2, symmetric=False).quantize(np.array([3.0, 1.2, 0.0])).tolist()
    [3.0, 1.0, 0.0]
    """

    bits: int
    symmetric: bool = True
    clip: float = 1.0
    group_size: int = 0
    fine_channels: int = 0
    fine_bits: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16 or int(self.bits) != self.bits:
            raise UsageError(f"activation grid: {self.bits} bits, expected a whole number from 2 to 16")
        if not 0 < self.clip <= 1:
            raise UsageError(f"activation grid: clipping ratio {self.clip}, expected 0 < clip ≤ 1")
        if self.group_size < 0 or int(self.group_size) != self.group_size:
            raise UsageError(f"activation grid: groups of {self.group_size} channels, expected a whole number, 0 for one group per token")
        if self.fine_channels < 0 or int(self.fine_channels) != self.fine_channels or self.fine_bits not in range(2, 17):
            raise UsageError(
                f"activation grid: {self.fine_channels} fine channels of {self.fine_bits} bits, expected a whole number, and 2 to 16"
            )

    @property
    def _parts(self) -> tuple[ActivationGrid, ActivationGrid]:
        """The grids of the fine channels and of the others."""
        return ActivationGrid(self.fine_bits, self.symmetric), replace(self, fine_channels=0)

    def quantize(self, x: Any, shifts: Float64Array | None = None) -> Float64Array:
        """``Q(x)`` of tokens along the last axis: (…, n) → (…, n), float64.

        Parameters
        ----------
        x : (…, n)
        shifts : (n,), in steps and below ½, added to ``x/step`` before it is rounded, as `rdtools.records.InputMap.shifts` has them. An
            asymmetric grid then has its range plus a step in 2^b − 1 steps and ``z = −⌊clip · min x/step⌋``, so that no shifted activation
            leaves it. None for none
        """
        if self.fine_channels:
            fine = self._split(np.asarray(x, dtype=np.float64))
            of = (None, None) if shifts is None else np.split(shifts, [self.fine_channels])
            return np.concatenate([grid.quantize(part, shift) for grid, part, shift in zip(self._parts, fine, of, strict=True)], axis=-1)
        step, level, inside, zero = self._levels(x, shifted=shifts is not None)
        return np.asarray(step * (np.clip(np.rint(level if shifts is None else level + shifts), *inside) - zero))

    def noise_power(self, x: Any, *, shifted: bool = False) -> Float64Array:
        """Squared rounding error that each activation has by the uniform-noise model, (…, n) → (…, n).

        ``step²/12`` inside the grid; beyond its first and last level, where nothing is random, the squared error itself: 0 for the extremes
        of a token that is not clipped. Of the grid for shifted activations if so asked.
        """
        if self.fine_channels:
            parts = zip(self._parts, self._split(np.asarray(x, dtype=np.float64)), strict=True)
            return np.concatenate([grid.noise_power(part, shifted=shifted) for grid, part in parts], axis=-1)
        step, level, (lowest, top), _ = self._levels(x, shifted=shifted)
        beyond = level - np.clip(level, lowest, top)
        return np.asarray(step**2 * np.where((level > lowest) & (level < top), 1 / 12, beyond**2))

    def _split(self, x: Float64Array) -> list[Float64Array]:
        """Fine channels and the others; at least one of each."""
        if x.shape[-1] <= self.fine_channels:
            raise UsageError(f"activation grid: {self.fine_channels} fine channels of {x.shape[-1]}, expected fewer than all")
        return np.split(x, [self.fine_channels], axis=-1)

    def _levels(self, x: Any, *, shifted: bool) -> tuple[Float64Array, Float64Array, tuple[int, int], Float64Array]:
        """Steps, ``x/step + z`` before rounding, the first and the last level, and z; each of the shape of x."""
        values = np.asarray(x, dtype=np.float64)
        n = values.shape[-1]
        lowest, top = (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if self.symmetric else (0, 2**self.bits - 1)
        if n == 0:
            return values.copy(), values.copy(), (lowest, top), values.copy()
        size = self.group_size or n
        starts = np.arange(0, n, size)
        group = np.arange(n) // size
        high = np.maximum.reduceat(values, starts, axis=-1)
        low = np.minimum.reduceat(values, starts, axis=-1)
        largest = np.maximum(np.abs(high), np.abs(low))
        room = shifted and not self.symmetric
        # equal channels have no range: a step of their size holds them
        span = largest if self.symmetric else np.where(high > low, high - low, (top - room) * largest / self.clip)
        step = self.clip * span / (top - room)
        step = np.where(step > 0, step, 1.0)
        zero = np.zeros_like(step) if self.symmetric else -(np.floor if room else np.rint)(self.clip * low / step)
        step, zero = step[..., group], zero[..., group]
        return step, values / step + zero, (lowest, top), zero
