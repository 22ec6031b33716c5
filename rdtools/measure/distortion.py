"""Measured distortion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Matrix, panels
from rdtools.errors import ShapeMismatch
from rdtools.ops import quadratic_form

#: Weights whose errors are looked at in one go, 256 MB of them.
BLOCK_ENTRIES = 2**25


def mean_square(weight: Matrix, reconstruction: Matrix) -> float:
    """``‖W − Ŵ‖²/(m n)``, with memory for one block of rows."""
    total, (m, n) = 0.0, weight.shape
    for part in panels(m, n, BLOCK_ENTRIES):
        errors = weight[part] - reconstruction[part]
        errors *= errors
        total += float(errors.sum())
    return total / float(m * n)


@dataclass(frozen=True)
class Distortion:
    """Per-weight distortion and its standard error over rows."""

    mean: float
    stderr: float


def weighted_error(
    weight: Matrix,  # (m, n)
    reconstruction: Matrix,  # (m, n)
    moment: Matrix,  # (n, n)
) -> Distortion:
    """``tr(E H Eᵀ)/(m n)`` with E = W − Ŵ and the undamped H.

    Parameters
    ----------
    weight, reconstruction : (m, n) float64, arrays, or tensors on one device
    moment : (n, n) float64, where they are

    Returns
    -------
    Distortion
        The standard error takes rows as independent draws; nan for a single row.

    Raises
    ------
    ShapeMismatch

    Examples
    --------
    >>> weighted_error(np.array([[1.0, 0.0]]), np.zeros((1, 2)), np.diag([3.0, 5.0])).mean
    1.5
    """
    if weight.shape != reconstruction.shape or tuple(moment.shape) != (weight.shape[1],) * 2:
        raise ShapeMismatch(
            f"distortion: weight {weight.shape}, reconstruction {reconstruction.shape}, Hessian {moment.shape}; "
            "expected (m, n), (m, n), (n, n)"
        )
    m, n = weight.shape
    losses = [quadratic_form(weight[part] - reconstruction[part], moment) for part in panels(m, n, BLOCK_ENTRIES)]
    rows = np.maximum(np.concatenate([np.zeros(0), *losses]), 0.0) / n
    stderr = float(rows.std(ddof=1) / np.sqrt(m)) if m > 1 else float("nan")
    return Distortion(float(rows.mean()), stderr)
