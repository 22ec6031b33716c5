"""Bring the input channels into another order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.records.link import Link, integer_array
from rdtools.records.stored import finished


@dataclass(frozen=True, eq=False, repr=False)
class Permute(Link):
    """``x′ = x[order]``, ``W′ = W[:, order]``.

    `bits` are n ⌈log2 n⌉, the place of each channel by its number, or 0 for the natural order.

    Attributes
    ----------
    order : (n,) int64, the channel of x that comes at each place of x′

    Raises
    ------
    UsageError
        If a channel is missing or comes twice.
    ShapeMismatch
        If `order` is not a list of integers.

    Examples
    --------
    >>> link = Permute(np.array([2, 0, 1]))
    >>> link.apply(np.array([5.0, 6.0, 7.0])).tolist(), link.pull_back(np.array([[7.0, 5.0, 6.0]])).tolist(), link.bits
    ([7.0, 5.0, 6.0], [[5.0, 6.0, 7.0]], 6.0)
    """

    order: NDArray[np.int64]

    def __post_init__(self) -> None:
        order = integer_array(self.order, name="permute: order", expected="the number of a channel for each place")
        if not np.array_equal(np.sort(order), np.arange(len(order))):
            raise UsageError(f"permute: order of {len(order)} places, expected each of the channels 0 … {len(order) - 1} once")
        object.__setattr__(self, "order", finished(order))

    @property
    def inputs(self) -> int:  # noqa: D102
        return len(self.order)

    @property
    def outputs(self) -> int:  # noqa: D102
        return len(self.order)

    @property
    def lossless(self) -> bool:  # noqa: D102
        return True

    @property
    def bits(self) -> float:  # noqa: D102
        n = self.inputs
        natural = bool((self.order == np.arange(n)).all())
        return 0.0 if natural else float(n * (n - 1).bit_length())  # ⌈log2 k⌉ is the bit length of k − 1

    def _apply(self, x: Float64Array) -> Float64Array:
        return x[..., self.order]

    def _weight(self, weight: Float64Array) -> Float64Array:
        return weight[:, self.order]

    def _moment(self, moment: Float64Array) -> Float64Array:
        return moment[np.ix_(self.order, self.order)]

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        pulled = np.empty_like(weight)
        pulled[:, self.order] = weight
        return pulled
