"""Measured distortion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.ops import quadratic_form


@dataclass(frozen=True)
class Distortion:
    """Per-weight distortion and its standard error over rows."""

    mean: float
    stderr: float


def weighted_error(
    weight: Float64Array,  # (m, n)
    reconstruction: Float64Array,  # (m, n)
    moment: Float64Array,  # (n, n)
) -> Distortion:
    """``tr(E H Eᵀ)/(m n)`` with E = W − Ŵ and the undamped H.

    Parameters
    ----------
    weight, reconstruction : (m, n) float64
    moment : (n, n) float64

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
    if weight.shape != reconstruction.shape or moment.shape != (weight.shape[1],) * 2:
        raise ShapeMismatch(
            f"distortion: weight {weight.shape}, reconstruction {reconstruction.shape}, Hessian {moment.shape}; "
            "expected (m, n), (m, n), (n, n)"
        )
    m, n = weight.shape
    E = weight - reconstruction
    rows = np.maximum(quadratic_form(E, moment), 0.0) / n
    stderr = float(rows.std(ddof=1) / np.sqrt(m)) if m > 1 else float("nan")
    return Distortion(float(rows.mean()), stderr)
