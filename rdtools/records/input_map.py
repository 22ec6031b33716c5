"""The map from the inputs of a layer to those whose weights are coded: an ordered chain of links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.records.link import Link


@dataclass(frozen=True, init=False, repr=False)
class InputMap(Link):
    """``T = T_k ⋯ T_1``, the links applied from the first to the last; the identity where there are none.

    A chain is a link itself, so that its `apply`, `weight`, `moment` and `pull_back` are those of `Link`. It is lossless
    if all of its links are, and its `bits` are the sum of theirs.

    Attributes
    ----------
    links : in the order in which they are applied to x
    columns : n, number of inputs of the layer

    Raises
    ------
    ShapeMismatch
        If a link takes another number of inputs than the one before it gives; the message names the link.
    UsageError
        If a link that shifts its channels is not the last one.

    Examples
    --------
    >>> import numpy as np
    >>> from rdtools.transforms.links import Scale, Split
    >>> chain = InputMap([Split(np.array([1, 2])), Scale(np.array([1.0, 2.0, 2.0]))], columns=2)
    >>> chain
    InputMap(2: Split(2 → 3) · Scale(3 → 3))
    >>> W, x = np.array([[1.0, 2.0]]), np.array([5.0, 6.0])
    >>> chain.apply(x).tolist(), chain.weight(W).tolist(), chain.pull_back(chain.weight(W)).tolist(), chain.bits
    ([5.0, 6.0, 6.0], [[1.0, 1.0, 1.0]], [[1.0, 2.0]], 50.0)
    """

    links: tuple[Link, ...]
    columns: int

    def __init__(self, links: Sequence[Link] = (), *, columns: int) -> None:
        if columns < 0:
            raise ShapeMismatch(f"input map: {columns} columns, expected at least 0")
        width = int(columns)
        for position, link in enumerate(links):
            if link.inputs != width:
                before = f"{links[position - 1]!r} before it gives" if position else "the layer has"
                raise ShapeMismatch(f"input map: link {position}, {link!r}, takes {link.inputs} inputs, expected the {width} that {before}")
            if link.shifts is not None and position < len(links) - 1:
                raise UsageError(
                    f"input map: link {position}, {link!r}, is staggered, expected it to be the last one: its shifts are of the channels "
                    "that are rounded"
                )
            width = link.outputs
        object.__setattr__(self, "links", tuple(links))
        object.__setattr__(self, "columns", int(columns))

    @property
    def inputs(self) -> int:  # noqa: D102
        return self.columns

    @property
    def outputs(self) -> int:  # noqa: D102
        return self.links[-1].outputs if self.links else self.columns

    @property
    def lossless(self) -> bool:  # noqa: D102
        return all(link.lossless for link in self.links)

    @property
    def bits(self) -> float:  # noqa: D102
        return sum(link.bits for link in self.links)

    @property
    def shifts(self) -> Float64Array | None:  # noqa: D102
        return self.links[-1].shifts if self.links else None

    @property
    def copies(self) -> NDArray[np.int64] | None:  # noqa: D102
        return self.links[-1].copies if self.links else None

    def _apply(self, x: Float64Array) -> Float64Array:
        for link in self.links:
            x = link.apply(x)
        return x

    def _weight(self, weight: Float64Array) -> Float64Array:
        for link in self.links:
            weight = link.weight(weight)
        return weight

    def _moment(self, moment: Float64Array) -> Float64Array:
        for link in self.links:
            moment = link.moment(moment)
        return moment

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        for link in reversed(self.links):
            weight = link.pull_back(weight)
        return weight

    def __repr__(self) -> str:
        return f"InputMap({self.columns}: {' · '.join(map(repr, self.links)) or 'identity'})"
