"""Theory of too few calibration tokens for a quantizer's answer: held-out over calibrated distortion, by the kind of its error model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.quantizers import Problem
from rdtools.quantizers.prepared_input import PreparedInput
from rdtools.records.error_models import AbsmaxRows, BlockCode, ColumnSteps, ErrorModel, StoredGrid, UnbiasedRounding
from rdtools.theory.calibration import heldout_ratio

#: Weights of columns in the order of the factor, columns of a block, and whether steps are inverse to the pivots.
_Weights = tuple[Float64Array, int, bool]


def _with_steps(steps: Float64Array | None, shared: PreparedInput, *, adapted: bool) -> _Weights:
    ordered = 1.0 if steps is None else np.asarray(steps)[shared.order]
    return (ordered * np.diagonal(shared.factor)) ** 2, 1, adapted


def _block_code(model: BlockCode, shared: PreparedInput) -> _Weights:
    n, g = len(shared.factor), model.block
    blocks = [shared.factor[i : i + g, i : i + g] for i in range(0, n, g)]
    return np.concatenate([np.zeros(0), *((block**2).sum(axis=1) for block in blocks)]), g, False


#: (model, prepared input) → weights of columns, for the kinds whose error is known.
WEIGHTS: dict[type[ErrorModel], Callable[[Any, PreparedInput], _Weights]] = {
    ColumnSteps: lambda model, shared: _with_steps(model.relative_steps, shared, adapted=model.relative_steps is not None),
    AbsmaxRows: lambda model, shared: _with_steps(None, shared, adapted=False),
    StoredGrid: lambda model, shared: _with_steps(model.column_steps, shared, adapted=False),
    UnbiasedRounding: lambda model, shared: _with_steps(None, shared, adapted=False),
    BlockCode: _block_code,
}


def predicted_heldout_ratio(model: ErrorModel, problem: Problem, tokens: int) -> float:
    """Held-out over calibrated distortion that theory promises at high rate for this many independent normal tokens.

    1 without feedback; nan for an exact Hessian, with damping or a ridge, for waterfilled steps, and for kinds of error without a formula.

    Parameters
    ----------
    model : of the answer's error
    problem : the prepared layer
    tokens : N; 0 for an exact Hessian
    """
    shared = problem.shared
    if tokens == 0:
        return math.nan
    if shared is None:
        return 1.0
    formula = WEIGHTS.get(type(model))
    if formula is None or shared.added or problem.ideal is not problem.weight or getattr(model, "waterfilled", False):
        return math.nan
    weights, block, adapted = formula(model, shared)
    return heldout_ratio(weights, tokens, block=block, adapted=adapted)
