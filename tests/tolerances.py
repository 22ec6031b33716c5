"""Where tolerances come from. Nothing in the tests compares with a number that is not derived here or beside the comparison."""

from __future__ import annotations

import math

EPS = 2.0**-52

#: Standard errors of a Monte-Carlo band: a normal estimate leaves it with probability 6e-5 on both sides together; with the
#: fixed seeds of these tests nothing is drawn anew, so this is the chance that a new seed would have failed.
STANDARD_ERRORS = 4.0


def rounding(operations: float, *, condition: float = 1.0) -> float:
    """Relative rounding error of a computation of so many chained operations on a problem of that condition."""
    return 8 * operations * EPS * condition


def entropy_band(samples: int) -> float:
    """Band of a plug-in entropy, bits: the deviation of −log2 p(z) of a rounded normal is below ½ log2(e)·√2 at every step."""
    return STANDARD_ERRORS * math.sqrt(0.5) * math.log2(math.e) / math.sqrt(samples)
