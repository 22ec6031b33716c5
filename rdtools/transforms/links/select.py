"""Keep the active input channels, leave the others out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.records.link import Link
from rdtools.records.stored import frozen


@dataclass(frozen=True, eq=False, repr=False)
class Select(Link):
    """``x′ = x[active]``, ``W′ = W[:, active]``; `pull_back` puts zeros in the columns that were left out.

    ``W x`` is preserved for every x whose other channels are zero, as those of dead channels always are. `bits` are n, one flag per
    channel, or 0 where all are active.

    Attributes
    ----------
    active : (n,) bool, true for the n′ channels that are kept, in their order

    Raises
    ------
    ShapeMismatch
        If `active` is not a one-dimensional boolean array.

    Examples
    --------
    >>> link = Select(np.array([True, False, True]))
    >>> link.apply(np.array([1.0, 0.0, 3.0])).tolist(), link.pull_back(np.array([[5.0, 6.0]])).tolist(), link.bits
    ([1.0, 3.0], [[5.0, 0.0, 6.0]], 3.0)
    """

    active: NDArray[np.bool_]

    def __post_init__(self) -> None:
        active = np.asarray(self.active)
        if active.ndim != 1 or active.dtype != np.bool_:
            raise ShapeMismatch(
                f"select: active of shape {active.shape} and dtype {active.dtype}, expected one bool per channel; of a list of indices "
                "make a mask first"
            )
        object.__setattr__(self, "active", frozen(active))

    @property
    def inputs(self) -> int:  # noqa: D102
        return len(self.active)

    @property
    def outputs(self) -> int:  # noqa: D102
        return int(np.count_nonzero(self.active))

    @property
    def lossless(self) -> bool:  # noqa: D102
        return bool(self.active.all())

    @property
    def bits(self) -> float:  # noqa: D102
        return 0.0 if self.active.all() else float(self.inputs)

    def _apply(self, x: Float64Array) -> Float64Array:
        return x[..., self.active]

    def _weight(self, weight: Float64Array) -> Float64Array:
        return weight[:, self.active]

    def _moment(self, moment: Float64Array) -> Float64Array:
        return moment[np.ix_(self.active, self.active)]

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        pulled = np.zeros((len(weight), self.inputs), dtype=weight.dtype)
        pulled[:, self.active] = weight
        return pulled
