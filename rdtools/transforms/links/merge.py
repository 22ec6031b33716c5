"""Replace similar input channels by their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.records.link import Link
from rdtools.records.stored import as_stored, stored_bits


@dataclass(frozen=True, init=False, repr=False)
class Merge(Link):
    """A pair (i, j) becomes one channel ``(x_i + x_j)/2`` with the weight ``w_i + w_j``.

    The merged channel stands at the place of the lower of the two, and all others keep their order. There is no inverse. The weight that
    acts on x afterwards, ``pull_back(weight(W))``, has both columns at their mean, so that one pair loses exactly

        E‖(x_i − x_j)(w_i − w_j)‖²/4 = E[(x_i − x_j)²] ‖w_i − w_j‖²/4,

    and several pairs lose ``tr(E H Eᵀ)`` with the error E of them all; the sum over pairs leaves out what they have in common. A group of
    more than two channels becomes their mean with the sum of their weights, as where several channels are matched to one. With scales the
    activation of a merged channel is multiplied by c and its weights are divided by it: nothing changes before quantization, but columns
    that are sums need not widen the grids of the rows.

    `bits` are 2 ⌈log2 n⌉ for every channel that is merged into another one, which is named with its partner, and 16 for every scale.

    Attributes
    ----------
    groups : disjoint pairs, or larger groups, of channels; held sorted
    channels : n
    scales : (groups,) float64 holding positive bfloat16 values, c of each group in the order that `groups` are held in; None for 1

    Raises
    ------
    UsageError
        For a group of fewer than two channels, a channel out of range, one that is in two groups, or a scale that is not positive or not a
        bfloat16 value.
    ShapeMismatch
        If there is not one scale per group.

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly. Groups: the many-to-one matching of its released code.

    Examples
    --------
    >>> link = Merge([(0, 2)], channels=3)
    >>> link.apply(np.array([5.0, 6.0, 7.0])).tolist(), link.weight(np.array([[1.0, 2.0, 3.0]])).tolist(), link.bits
    ([6.0, 6.0], [[4.0, 2.0]], 4.0)
    """

    groups: tuple[tuple[int, ...], ...]
    channels: int
    scales: Float64Array | None

    def __init__(self, groups: Sequence[Sequence[int]], channels: int, scales: ArrayLike | None = None) -> None:
        ordered = tuple(sorted(tuple(sorted(int(i) for i in group)) for group in groups))
        members = [i for group in ordered for i in group]
        small = next((group for group in ordered if len(group) < 2), None)
        if small is not None:
            raise UsageError(f"merge: group {small}, expected at least two channels in each")
        if channels < 1 or not all(0 <= i < channels for i in members):
            raise UsageError(f"merge: channels {min(members, default=0)} to {max(members, default=0)} of {channels}, expected 0 ≤ i < n")
        if len(set(members)) < len(members):
            twice = next(i for i in members if members.count(i) > 1)
            raise UsageError(f"merge: channel {twice} appears twice, expected disjoint groups; channels that share a partner are one group")
        stored = None if scales is None else as_stored(scales, "bfloat16", name="merge: scales")
        if stored is not None and stored.shape != (len(ordered),):
            raise ShapeMismatch(f"merge: scales of shape {stored.shape}, expected one for each of the {len(ordered)} groups")
        if stored is not None and not (stored > 0).all():
            raise UsageError(f"merge: a scale of {stored.min():g}, expected positive scales")
        object.__setattr__(self, "scales", stored)
        object.__setattr__(self, "groups", ordered)
        object.__setattr__(self, "channels", int(channels))

    @property
    def inputs(self) -> int:  # noqa: D102
        return self.channels

    @property
    def outputs(self) -> int:  # noqa: D102
        return self.channels - self._merged

    @property
    def lossless(self) -> bool:  # noqa: D102
        return not self.groups

    @property
    def bits(self) -> float:  # noqa: D102
        scales = 0 if self.scales is None else stored_bits("bfloat16") * len(self.scales)
        return float(2 * self._merged * (self.channels - 1).bit_length() + scales)  # ⌈log2 k⌉ is the bit length of k − 1

    @property
    def _merged(self) -> int:
        return sum(len(group) - 1 for group in self.groups)

    @cached_property
    def _place(self) -> NDArray[np.intp]:
        """(n,) output that each channel goes to."""
        first = np.arange(self.channels)
        for group in self.groups:
            first[list(group)] = group[0]
        return np.unique(first, return_inverse=True)[1].ravel()

    @cached_property
    def _sizes(self) -> NDArray[np.intp]:
        """(n′,) number of channels in each output."""
        return np.bincount(self._place)

    @cached_property
    def _factors(self) -> Float64Array:
        """(n′,) c of each output."""
        factors = np.ones(len(self._sizes))
        if self.scales is not None:
            factors[self._sizes > 1] = self.scales
        return factors

    def _sums(self, columns: Float64Array) -> Float64Array:
        gathered = columns[..., np.argsort(self._place, kind="stable")]
        return np.asarray(np.add.reduceat(gathered, np.cumsum(self._sizes) - self._sizes, axis=-1))

    def _apply(self, x: Float64Array) -> Float64Array:
        return np.asarray(self._sums(x) * self._factors / self._sizes)

    def _weight(self, weight: Float64Array) -> Float64Array:
        return np.asarray(self._sums(weight) / self._factors)

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        return np.asarray(weight * self._factors / self._sizes)[:, self._place]
