"""One budget of bytes over layers of several choices each: convex hulls, and the exact answer by dynamic programming.

A layer l has choices k of b_lk bits and loss J_lk. The least ``Σ_l J_lk(l)`` at ``Σ_l b_lk(l) ≤ B`` is a knapsack problem. Its Lagrangian
``min_k J_lk + μ b_lk`` reads only the lower convex hull of each layer, and one multiplier μ, the slope of loss on bits, serves them all:
what waterfilling is for curves that are smooth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import NoChoices, RateUnreachable, TheoryError

#: Units of the budget in `choose_exactly`, to which the bits of layers are rounded.
UNITS = 2**18
#: Fractions of its multiples are spread more evenly than those of any other number.
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Choices:
    """The choices of one layer.

    Attributes
    ----------
    bits : (k,) of its whole file, whole numbers, > 0
    losses : (k,) ≥ 0
    """

    bits: Float64Array
    losses: Float64Array

    def __post_init__(self) -> None:
        same = self.bits.shape == self.losses.shape and self.bits.ndim == 1 and self.bits.size > 0
        if not (same and np.isfinite([self.bits, self.losses]).all() and self.bits.min() > 0 and self.losses.min() >= 0):
            raise TheoryError(
                f"choices of a layer: bits of shape {self.bits.shape} and losses of {self.losses.shape}; expected as many of each, at "
                "least one, finite, bits above 0 and losses not negative"
            )


def lower_hull(choices: Choices) -> NDArray[np.int64]:
    """Indices of the choices on the lower convex hull, bits ascending and losses falling.

    Examples
    --------
    The choice of 3 bits lies above the line from 2 to 4, that of 5 bits loses more than one of 4.

    >>> lower_hull(Choices(np.array([2.0, 3.0, 4.0, 5.0]), np.array([8.0, 7.0, 2.0, 3.0]))).tolist()
    [0, 2]
    """
    bits, losses = choices.bits, choices.losses
    hull: list[int] = []
    for k in np.lexsort((losses, bits)):
        if hull and losses[k] >= losses[hull[-1]]:
            continue  # as many bits or more, and no less loss
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (losses[a] - losses[b]) * (bits[k] - bits[b]) > (losses[b] - losses[k]) * (bits[b] - bits[a]):
                break
            hull.pop()
        hull.append(int(k))
    return np.array(hull, dtype=np.int64)


def choose(layers: Sequence[Choices], budget: float) -> NDArray[np.int64]:
    """Choices of least summed loss in a budget: down the hulls by slope, then whatever else still fits.

    The sum is at most one step of one hull above that of the best fractional answer, so the finer the choices, the nearer.

    Parameters
    ----------
    layers : at least one
    budget : B, bits of all layers together

    Returns
    -------
    (l,) index into the choices of each layer.

    Raises
    ------
    RateUnreachable
        If the cheapest choices are above the budget.

    References
    ----------
    Shoham and Gersho, Efficient bit allocation for an arbitrary set of quantizers, IEEE Trans. ASSP 36 (1988), 1445–1453.

    Examples
    --------
    >>> flat, steep = (Choices(np.array([1.0, 2.0]), np.array(losses)) for losses in ([1.0, 0.9], [4.0, 1.0]))
    >>> choose([flat, steep], 3.0).tolist()
    [0, 1]
    """
    hulls = [lower_hull(layer) for layer in layers]
    chosen = np.array([hull[0] for hull in hulls], dtype=np.int64)
    used = float(sum(layer.bits[k] for layer, k in zip(layers, chosen, strict=True)))
    if used > budget:
        raise RateUnreachable(f"budget of {budget:.0f} bits: the cheapest choices of all layers take {used:.0f}; expected at least as many")
    steps = []
    for number, (layer, hull) in enumerate(zip(layers, hulls, strict=True)):
        more, less = np.diff(layer.bits[hull]), -np.diff(layer.losses[hull])
        steps += [(-slope, number, vertex) for vertex, slope in enumerate(less / more)]
    closed: set[int] = set()
    for _, number, vertex in sorted(steps):
        layer, hull = layers[number], hulls[number]
        more = layer.bits[hull[vertex + 1]] - layer.bits[hull[vertex]]
        if number in closed or used + more > budget:
            closed.add(number)  # the later steps of this layer begin where this one ends
            continue
        chosen[number], used = hull[vertex + 1], used + more
    return _filled(layers, chosen, budget)


def _filled(layers: Sequence[Choices], chosen: NDArray[np.int64], budget: float) -> NDArray[np.int64]:
    """The same with the best single change that still fits, again and again."""
    remaining = budget - _bits(layers, chosen)
    while True:
        best, gain = (-1, -1), 0.0
        for number, (layer, current) in enumerate(zip(layers, chosen, strict=True)):
            gains = np.where(layer.bits - layer.bits[current] <= remaining, layer.losses[current] - layer.losses, 0.0)
            if gains.max() > gain:
                best, gain = (number, int(gains.argmax())), float(gains.max())
        if best[0] < 0:
            return chosen
        number, to = best
        remaining -= float(layers[number].bits[to] - layers[number].bits[chosen[number]])
        chosen[number] = to


def _bits(layers: Sequence[Choices], chosen: NDArray[np.int64]) -> float:
    return float(sum(layer.bits[k] for layer, k in zip(layers, chosen, strict=True)))


def choose_exactly(layers: Sequence[Choices], budget: float, *, least: float = 0.0, units: int = UNITS) -> NDArray[np.int64]:
    """Choices of least summed loss among all whose bits are from `least` to `budget`, by dynamic programming over the bits used.

    Bits are rounded to units of the budget, up or down by offsets that differ from layer to layer, so that errors do not add up where many
    layers are equal: a sum of l layers is off by the order of √l units, few millionths of the budget each. Whether a choice is in the
    window is decided by its bits themselves; of those that come out outside, the next best by loss is taken. Time and memory are
    units × choices: for few choices of each layer, such as those of methods of whole numbers of bits.

    Parameters
    ----------
    layers : at least one
    budget, least : bits of all layers together
    units : of the budget

    Raises
    ------
    NoChoices
        If none that are found are in the window; it has the nearest sums below and above.

    References
    ----------
    Bellman, Dynamic Programming, 1957, chapter I: the knapsack problem.

    Examples
    --------
    >>> layer = Choices(np.array([2.0, 3.0]), np.array([4.0, 1.0]))
    >>> choose_exactly([layer, layer], 5.0).tolist()
    [1, 0]
    """
    widths = [float(np.ptp(layer.bits)) for layer in layers]
    size = max(1.0, np.ceil(budget / units))
    spare = 2 + math.isqrt(len(layers))
    top = int(np.ceil((budget + max(widths)) / size)) + spare
    costs = np.full(top + 1, np.inf)
    back: list[tuple[NDArray[np.int16], NDArray[np.int64]]] = []
    costs[0] = 0.0
    for number, layer in enumerate(layers):
        steps = np.floor(layer.bits / size + number * _GOLDEN % 1.0).astype(np.int64)
        new, of = np.full(top + 1, np.inf), np.zeros(top + 1, dtype=np.int16)
        for k, (step, loss) in enumerate(zip(steps, layer.losses, strict=True)):
            if step > top:
                continue
            candidate = costs[: top + 1 - step] + loss
            better = candidate < new[step:]
            new[step:][better], of[step:][better] = candidate[better], k
        costs = new
        back.append((of, steps))

    def traced(cell: int) -> NDArray[np.int64]:
        chosen = np.zeros(len(layers), dtype=np.int64)
        for number in range(len(layers) - 1, -1, -1):
            of, steps = back[number]
            chosen[number] = of[cell]
            cell -= int(steps[of[cell]])
        return chosen

    reached = np.flatnonzero(np.isfinite(costs))
    first, last = int(least / size) - spare, int(budget / size) + spare
    for cell in sorted(reached[(reached >= first) & (reached <= last)], key=lambda cell: costs[cell]):
        chosen = traced(int(cell))
        if least <= _bits(layers, chosen) <= budget:
            return chosen
    around = np.searchsorted(reached, budget / size)
    sums = sorted(_bits(layers, traced(int(cell))) for cell in reached[max(0, around - spare) : around + spare])
    nearest = (*[total for total in sums if total < least][-1:], *[total for total in sums if total > budget][:1])
    shown = " and ".join(f"{bits:.0f}" for bits in nearest)
    raise NoChoices(f"budget of {budget:.0f} bits: no choices take from {least:.0f} to {budget:.0f}; the nearest take {shown}", nearest)
