"""The scale of an unbounded grid at which its integers have a rate under models that the decoder learns."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from rdtools.coding import exponent_bytes, fit_adaptive, fit_column_gaussians, row_exponents_if_shorter, scalar_code_length
from rdtools.errors import RateUnreachable, UsageError
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS, Candidate
from rdtools.quantizers.search.step import ScaledGrid, search_rate
from rdtools.quantizers.settings import is_number
from rdtools.records import AdaptiveModel, CosetSymbols, ScalarSymbols

Codes = TypeVar("Codes", ScalarSymbols, CosetSymbols)

#: Searches under plain models before the rate counts as out of reach; what learning saves hardly changes with the step.
_TRIALS = 6


def check_adaptive_columns(name: str, columns: object) -> None:
    """Refuse a number of columns in a group that cannot be; 0 is for models that are not learnt.

    Raises
    ------
    UsageError
    """
    if not is_number(columns) or not 0 <= columns <= AdaptiveModel.MOST_COLUMNS or int(columns) != columns:  # type: ignore[call-overload, operator]
        raise UsageError(
            f"{name}: adaptive_columns {columns!r}, expected 0 for none, or a number of columns up to {AdaptiveModel.MOST_COLUMNS}"
        )


def learnt(found: Candidate[Codes], grid: ScaledGrid[Codes], columns: int) -> Candidate[Codes]:
    """The same integers under learnt models where these are shorter, in groups of so many columns; new row exponents are charged."""
    symbols: Any = found.result.in_memory
    size = max(math.prod(grid.target.shape), 1)
    if symbols.model.gaussian:
        symbols, bits = fit_adaptive(symbols, columns, found.rate_bits * size)
        return Candidate(bits / size, symbols)
    exponents = row_exponents_if_shorter(grid.target)
    gaussian = fit_column_gaussians(symbols, row_exponents=exponents)
    modelled: Any
    modelled, bits = fit_adaptive(gaussian, columns, scalar_code_length(gaussian)[0])
    charged = bits + (0 if exponents is None else 8 * len(exponent_bytes(exponents)))
    return Candidate(bits / size, modelled) if charged < found.rate_bits * size else found


def search_learnt_rate(grid: ScaledGrid[Codes], weight_std: float, rate_bits: float, columns: int) -> Candidate[Codes]:
    """The integers that have the rate, under models learnt in groups of so many columns; under plain ones for 0 columns.

    Rates are searched under plain models; what learning saves at the step found is added to the rate of the next search.

    Parameters
    ----------
    grid, weight_std, rate_bits : as of `rdtools.quantizers.search.step.search_rate`
    columns : in a group; 0 for models that are not learnt

    Raises
    ------
    RateUnreachable, ScaleOutOfRange
    """
    if not columns:
        return search_rate(grid, weight_std, rate_bits)
    plain_bits, seen = rate_bits, []
    for _ in range(_TRIALS):
        candidate = learnt(search_rate(grid, weight_std, plain_bits), grid, columns)
        if abs(candidate.rate_bits - rate_bits) <= RATE_TOLERANCE_BITS or not candidate.result.integers.any():
            return candidate
        seen.append(candidate.rate_bits)
        plain_bits += rate_bits - candidate.rate_bits
    raise RateUnreachable(
        f"{grid.name}: {rate_bits:g} bits per weight cannot be reached: under learnt models neighbouring steps have "
        f"{', '.join(f'{rate:.4f}' for rate in seen)}, likely because few weights decide how strongly models learn; ask for one "
        "of these, or for adaptive_columns=0"
    )
