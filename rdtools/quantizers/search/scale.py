"""The scale of least loss, by a few trials."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rdtools.arrays import Matrix, contiguous, take_rows

#: Ratio of neighbouring scales that are tried, and how many steps away from the start may be taken.
_RATIO, _TRIALS = 1.12, 12


def search_scale(loss: Callable[[float], float], start: float) -> float:
    """The scale of least loss near `start`: steps of a fixed ratio downhill, then the vertex of a parabola in the logarithm.

    For losses that are flat at a single minimum, such as granular error on one side of it and overload on the other.

    Examples
    --------
    >>> round(search_scale(lambda x: x + 4 / x, 1.0), 2)
    2.0
    """
    width = math.log(_RATIO)
    logs = [math.log(start) + k * width for k in (-1, 0, 1)]
    losses = [loss(math.exp(x)) for x in logs]
    for _ in range(_TRIALS):
        if losses[0] == min(losses):
            logs.insert(0, logs[0] - width)
            losses.insert(0, loss(math.exp(logs[0])))
        elif losses[-1] == min(losses):
            logs.append(logs[-1] + width)
            losses.append(loss(math.exp(logs[-1])))
        else:
            break
    best = int(np.argmin(losses))
    if 0 < best < len(losses) - 1:
        before, least, after = losses[best - 1 : best + 2]
        vertex = logs[best] + 0.5 * width * (before - after) / (before - 2 * least + after)
        if loss(math.exp(vertex)) < least:
            return math.exp(vertex)
    return math.exp(logs[best])


def strided_rows(weight: Matrix, count: int, *, together: int = 1) -> Matrix:
    """About so many evenly spread rows, in whole groups of neighbouring ones; all if there are no more."""
    groups = len(weight) // together
    size = max(1, count // together)
    if size >= groups:
        return weight
    chosen = np.linspace(0, groups - 1, size).round().astype(np.intp)
    return contiguous(take_rows(weight.reshape(groups, together, -1), chosen).reshape(size * together, -1))
