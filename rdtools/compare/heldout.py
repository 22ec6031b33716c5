"""Theory of too few calibration tokens for a quantizer's answer: held-out over calibrated distortion, by the kind of its error model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.records.error_models import AbsmaxRows, BlockCode, ColumnSteps, ErrorModel, StoredGrid, UnbiasedRounding
from rdtools.theory.calibration import heldout_ratio

#: Weights of columns in the order of the factor, columns of a block, and whether steps are inverse to the pivots.
_Weights = tuple[Float64Array, int, bool]


def _with_steps(steps: Float64Array | None, factor: Float64Array, order: NDArray[np.intp], *, adapted: bool = False) -> _Weights:
    ordered = 1.0 if steps is None else np.asarray(steps)[order]
    return (ordered * np.diagonal(factor)) ** 2, 1, adapted


def _block_code(model: BlockCode, factor: Float64Array, order: NDArray[np.intp]) -> _Weights:
    n, g = len(factor), model.block
    blocks = [factor[i : i + g, i : i + g] for i in range(0, n, g)]
    return np.concatenate([np.zeros(0), *((block**2).sum(axis=1) for block in blocks)]), g, False


#: (model, factor, order) → weights of columns, for the kinds whose error is known.
WEIGHTS: dict[type[ErrorModel], Callable[[Any, Float64Array, NDArray[np.intp]], _Weights]] = {
    ColumnSteps: lambda model, L, order: _with_steps(model.relative_steps, L, order, adapted=model.relative_steps is not None),
    AbsmaxRows: lambda model, L, order: _with_steps(None, L, order),
    StoredGrid: lambda model, L, order: _with_steps(model.grid.column_steps(len(L)), L, order),
    UnbiasedRounding: lambda model, L, order: _with_steps(None, L, order),
    BlockCode: _block_code,
}


def predicted_heldout_ratio(model: ErrorModel, factor: Float64Array, order: NDArray[np.intp], tokens: int) -> float:
    """Held-out over calibrated distortion that theory promises at high rate, with feedback, for this many independent normal tokens.

    It is E D′/E D, and as well that of the distortions relative to D₀′ and D₀: weights do not depend on tokens, so that
    ``E tr(W H Wᵀ) = E tr(W H′ Wᵀ)``. nan for waterfilled steps, and for kinds of error without a formula.

    Parameters
    ----------
    model : of the answer's error
    factor : L of the H that the sample gave, without damping and ridge
    order : columns of the weights in the order of the factor's
    tokens : N > 0
    """
    formula = WEIGHTS.get(type(model))
    if formula is None or getattr(model, "waterfilled", False):
        return math.nan
    weights, block, adapted = formula(model, factor, order)
    return heldout_ratio(weights, tokens, block=block, adapted=adapted)
