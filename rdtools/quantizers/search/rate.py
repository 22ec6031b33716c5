"""Find the step whose integers have the rate that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import InvalidRate, RateUnreachable, WrongType
from rdtools.normal import cell_probability
from rdtools.quantizers.settings import is_number, shown

#: The largest rate whose integers fit the alphabets of the coder, columns of very different step included.
MAX_RATE_BITS = 12.0
#: How near the target the search stops, and how near is good enough where the rate jumps.
SEARCH_TOLERANCE_BITS = 0.002
RATE_TOLERANCE_BITS = 0.01
_EVALUATIONS = 60

Result = TypeVar("Result")


def check_rate(rate_bits: float, most: float = MAX_RATE_BITS) -> None:
    """Refuse a rate that no quantizer here can mean.

    Raises
    ------
    InvalidRate
    WrongType
        For anything but a number.
    """
    if not is_number(rate_bits):
        raise WrongType(f"rate_bits {shown(rate_bits)}, expected a number of bits per weight, such as rate_bits=3")
    if not (math.isfinite(rate_bits) and 0 < rate_bits <= most):
        raise InvalidRate(f"rate {rate_bits} bits per weight: expected a number above 0 and at most {most:g}, such as 3 or 2.5")


@dataclass(frozen=True)
class Candidate(Generic[Result]):
    """A trial: its rate in bits per active weight, and what was quantized."""

    rate_bits: float
    result: Result


@lru_cache(maxsize=1)
def _rounded_normal() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropy in bits of a rounded normal variable, and log2 of its standard deviation, on a grid that reaches from 1e-9 bit to 20 bits."""
    octaves = np.arange(-3.5, 3.01, 1 / 16)
    z = np.arange(0, 61)[:, None]
    s = np.exp2(octaves)
    p = cell_probability(z, s)
    terms = -p * np.log2(np.maximum(p, 1e-300))
    entropy = terms[0] + 2 * terms[1:].sum(axis=0)
    fine = np.array([20.0])  # from here on it grows by one bit an octave
    return np.append(entropy, entropy[-1] + fine), np.append(octaves, octaves[-1] + fine)


def octaves_of_rate(rate_bits: float) -> float:
    """log2 of the standard deviation, in steps, of a normal variable whose rounding has this entropy: a coordinate in which rate against
    log2(step) is nearly a line of slope −1, even where most integers are zero.
    """
    entropies, octaves = _rounded_normal()
    return float(np.interp(rate_bits, entropies, octaves))


def search_step(
    evaluate: Callable[[float], Candidate[Result]],
    *,
    rate_bits: float,
    start: float,
    name: str,
    tolerance: float = SEARCH_TOLERANCE_BITS,
) -> Candidate[Result]:
    """The candidate nearest to a rate, by a bracketed secant on log2(step) in the coordinate `octaves_of_rate`.

    Parameters
    ----------
    evaluate : quantizes with log2(step)
    rate_bits : target, bits per active weight
    start : log2(step) to begin with
    name : of the layer and method, for the message
    tolerance : how near the target the search stops

    Raises
    ------
    RateUnreachable
        If no step comes within RATE_TOLERANCE_BITS; names the nearest rates that exist.
    """
    below: tuple[float, float] | None = None  # (log2 step, rate) with rate < target: the step is too coarse
    above: tuple[float, float] | None = None
    target = octaves_of_rate(rate_bits)
    x = start
    best: Candidate[Result] | None = None
    seen: list[float] = []

    def tried(x: float) -> float:
        """The rate of a trial, which is not kept unless it is near enough and nearer than those before it."""
        nonlocal best
        candidate = evaluate(x)
        seen.append(candidate.rate_bits)
        missed = abs(candidate.rate_bits - rate_bits)
        if missed <= RATE_TOLERANCE_BITS if best is None else missed < abs(best.rate_bits - rate_bits):
            best = candidate
        return candidate.rate_bits

    for _ in range(_EVALUATIONS):
        rate = tried(x)
        error = rate - rate_bits
        if best is not None and abs(error) <= tolerance:
            return best
        if error < 0 and (below is None or x < below[0]):
            below = (x, rate)
        elif error > 0 and (above is None or x > above[0]):
            above = (x, rate)
        if below is not None and above is not None:
            width = below[0] - above[0]
            if width <= 1e-9:
                break
            low, high = octaves_of_rate(below[1]), octaves_of_rate(above[1])
            x = above[0] + width * (high - target) / (high - low) if high > low else 0.5 * (above[0] + below[0])
            # a secant that hugs one end of the bracket has met a kink: halve instead
            margin = 0.02 * width
            if not above[0] + margin < x < below[0] - margin:
                x = 0.5 * (above[0] + below[0])
        else:
            stride = octaves_of_rate(rate) - target
            # past the target by a little, so that a slope that is not quite −1 ends in a bracket
            x += min(max(stride, -4.0), 4.0) + math.copysign(0.02, error)
            if abs(x - start) > 60:
                break
    if best is not None:
        return best
    if above is None:
        reach = f"its integers reach at most {max(seen):.4f}; a matrix of few weights has few code sequences"
    elif below is None:
        reach = f"its integers take at least {min(seen):.4f}"
    else:
        reach = (
            f"the rate jumps from {below[1]:.4f} to {above[1]:.4f} between neighbouring steps, likely because few weights have few code "
            "sequences, or because errors fed back under a nearly singular H decide all later integers, which damping=1e-4 prevents"
        )
    raise RateUnreachable(f"{name}: {rate_bits:g} bits per weight cannot be reached: {reach}; ask for one of these")
