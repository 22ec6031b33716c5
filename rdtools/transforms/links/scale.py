"""Multiply every input channel by a stored number, divide its weights by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.records.link import Link
from rdtools.records.stored import as_stored, stored_bits


@dataclass(frozen=True, eq=False, repr=False)
class Scale(Link):
    """``x′ = scales ∘ x``, ``W′ = W / scales``, and ``pull_back(V) = V ∘ scales``.

    The scales are those of `rdtools.records.Basis.column_scales`, by which a decoder multiplies the columns. They are positive bfloat16
    values, as stored; `bits` are 16 per channel.

    Attributes
    ----------
    scales : (n,) float64 holding positive bfloat16 values

    Raises
    ------
    UsageError
        For a scale that is not positive or not a bfloat16 value.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    SmoothQuant, arXiv 2211.10438; the rescaling of QuIP, arXiv 2307.13304, section 4.

    Examples
    --------
    >>> link = Scale(np.array([2.0, 0.5]))
    >>> link.apply(np.array([1.0, 1.0])).tolist(), link.weight(np.array([[1.0, 1.0]])).tolist(), link.bits
    ([2.0, 0.5], [[0.5, 2.0]], 32.0)
    """

    scales: Float64Array

    def __post_init__(self) -> None:
        scales = as_stored(self.scales, "bfloat16", name="scale")
        if scales.ndim != 1:
            raise ShapeMismatch(f"scale: scales of shape {scales.shape}, expected one per channel, (n,)")
        if not (scales > 0).all():
            i = int(np.flatnonzero(scales <= 0)[0])
            raise UsageError(f"scale: entry {i} is {scales[i]:g}, expected positive scales; leave out a channel by Select")
        object.__setattr__(self, "scales", scales)

    @property
    def inputs(self) -> int:  # noqa: D102
        return len(self.scales)

    @property
    def outputs(self) -> int:  # noqa: D102
        return len(self.scales)

    @property
    def lossless(self) -> bool:  # noqa: D102
        return True

    @property
    def bits(self) -> float:  # noqa: D102
        return float(stored_bits("bfloat16") * self.inputs)

    def _apply(self, x: Float64Array) -> Float64Array:
        return np.asarray(x * self.scales)

    def _weight(self, weight: Float64Array) -> Float64Array:
        return np.asarray(weight / self.scales)

    def _moment(self, moment: Float64Array) -> Float64Array:
        # products of two bfloat16 values are exact, so that both triangles are rounded alike
        scaled = np.multiply.outer(self.scales, self.scales)
        scaled *= moment
        return scaled

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        return np.asarray(weight * self.scales)
