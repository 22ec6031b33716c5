"""Numbers of a column as they are printed: one number of decimals for the column, so that points stand below each other."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.records.about import Column

#: Integers that stand for what is no number; the others lie between −INFINITE and INFINITE.
MISSING, INFINITE = 2**31 - 1, 2**31 - 2
#: A positive number in scientific notation is its exponent plus _BIAS, times _SPAN, plus its mantissa of four digits: the order is kept.
_SPAN, _BIAS, _MANTISSA_DIGITS = 10_000, 400, 3
#: Decimals by unit; numbers without a unit have four.
_DIGITS = {"dB": 2, "tokens": 0}
_FIXED_DIGITS = 4
#: A column without a unit is printed in scientific notation if it has a number, but for 0, below the first; any column if it has one from
#: the second on.
_SMALL, _LARGE = 0.01, 1e5


@dataclass(frozen=True)
class Decimals:
    """The rounding of a column.

    A number is printed as Python prints it, which is the decimal nearest to the float64; −0 without its sign.

    Attributes
    ----------
    digits : after the point
    scientific : of the mantissa, with an exponent beside it
    """

    digits: int
    scientific: bool = False

    def text(self, value: float) -> str:
        """A cell.

        Examples
        --------
        >>> Decimals(2).text(1.005), Decimals(2).text(-0.001), Decimals(3, scientific=True).text(0.00152149), Decimals(2).text(math.nan)
        ('1.00', '0.00', '1.521e-03', '–')
        """
        if math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if self.scientific:
            return f"{value:.{self.digits}e}" if value else "0"
        text = f"{value:.{self.digits}f}"
        return text.lstrip("-") if float(text) == 0 else text

    def integers(self, values: Iterable[float]) -> NDArray[np.int32]:
        """The printed numbers as integers in the same order: without their point, or exponent and mantissa as one."""
        return np.array([self._integer(float(value)) for value in values], dtype=np.int32)

    def _integer(self, value: float) -> int:
        if math.isnan(value):
            return MISSING
        if math.isinf(value):
            return INFINITE if value > 0 else -INFINITE
        if not self.scientific:
            return int(f"{value:.{self.digits}f}".replace(".", ""))
        if not value:
            return 0
        mantissa, exponent = f"{abs(value):.{self.digits}e}".split("e")
        size = (int(exponent) + _BIAS) * _SPAN + int(mantissa.replace(".", ""))
        return size if value > 0 else -size


def decimals_of(column: Column, values: NDArray[np.float64]) -> Decimals:
    """Rounding of a column of the result table by its unit, and by its numbers where these would lose most of their digits."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    integral = sizes.size and bool((sizes == np.rint(sizes)).all()) and column.unit == ""
    digits = 0 if integral else _DIGITS.get(column.unit, _FIXED_DIGITS)
    small = column.unit == "" and bool((sizes < _SMALL).any())
    if small or sizes.max(initial=0) >= _LARGE * 10 ** (_FIXED_DIGITS - digits):
        return Decimals(_MANTISSA_DIGITS, scientific=True)
    return Decimals(digits)
