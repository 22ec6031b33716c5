"""Fit normal laws to integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.exponents import exponent_bytes
from rdtools.coding.models import CodeCounts, Laws, count_by_law, fit_laws
from rdtools.coding.scales import octave_exponents
from rdtools.records import ScalarCodes


def paying_row_exponents(weight: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """Deviations of the rows (m, r) in eighths of an octave; None where they would take more bits than they save.

    Laws that know the variances σ_k² of the rows save ½ log2(AM/GM of σ_k²) bits a weight where most integers are not zero. The rule looks
    at the weights and not at their integers, so that the rate is a continuous function of the step.
    """
    variances = np.einsum("ij,ij->i", weight, weight) / max(weight.shape[1], 1)
    exponents = octave_exponents(np.sqrt(variances))
    live = variances[variances > 0]
    if live.size == 0:
        return None
    saved = weight.shape[1] * len(live) * 0.5 * (np.log2(live.mean()) - np.log2(live).mean())
    return exponents if saved > 8 * len(exponent_bytes(exponents)) else None


def fit_column_laws(codes: ScalarCodes, *, row_exponents: NDArray[np.uint8] | None = None, counts: CodeCounts | None = None) -> ScalarCodes:
    """The same integers with the normal laws under which they are shortest.

    Parameters
    ----------
    codes : integers and steps
    row_exponents : (m,) deviations of the rows in eighths of an octave, or None for equal rows
    counts : `count_codes` of the integers, if known
    """
    trial = replace(codes, row_exponents=row_exponents)
    laws = Laws.of(trial)
    return replace(trial, model=fit_laws(count_by_law(codes.integers, laws, counts), laws.steps))
