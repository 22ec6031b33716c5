"""Rate allocation over the classes of an output head: rows whose logits matter less to the prediction are coded more coarsely.

An error δ of the logits changes the prediction p by ``KL = ½ Var_p(δ) + O(δ³)``. Errors that are independent over classes k, of mean zero,
and do not depend on p give on average ``½ Σ_k λ_k E δ_k²`` with ``λ_k = E[p_k (1 − p_k)]``: a metric on the rows of the head beside that of
its inputs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.linalg import log2_am_over_gm


def _positive(variances: ArrayLike) -> Float64Array:
    array = np.asarray(variances, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all() or not (array > 0).all():
        raise TheoryError(
            f"output head: variances of shape {array.shape}; expected one above 0 for each class, which `smoothed_variances` gives where a "
            "class was never likely"
        )
    return array


def smoothed_variances(mean: ArrayLike, variances: ArrayLike, smoothing: float) -> Float64Array:
    """``λ̃_k = E[p̃_k (1 − p̃_k)]`` of predictions mixed with a uniform one, ``p̃ = (1 − ε) p + ε/K``.

    With m = E[p_k] and λ = E[p_k (1 − p_k)] it is ``(1 − ε)² λ + ε (1 − ε) m (1 − 2/K) + (ε/K)(1 − ε/K)``, between ``(ε/K)(1 − ε/K)`` and ¼
    for K ≥ 2: classes that calibration never saw keep a finite step. ε = 1 makes all classes equal.

    Parameters
    ----------
    mean, variances : (K,) E[p_k] and E[p_k (1 − p_k)] over the same tokens
    smoothing : ε in [0, 1]

    Raises
    ------
    TheoryError

    References
    ----------
    SoftWater, smoothing of the class weights with ε = 0.1; the expansion in m and λ is ours.

    Examples
    --------
    One token with p = (1, 0): it is certain, and its classes matter by their smoothing alone.

    >>> smoothed_variances([1.0, 0.0], [0.0, 0.0], 0.1).round(4).tolist()
    [0.0475, 0.0475]
    """
    m, v = np.asarray(mean, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    fits = m.shape == v.shape and m.ndim == 1 and m.size > 1
    if not (0 <= smoothing <= 1) or not fits or not (v.min() >= 0 and (v <= m + 1e-12).all() and (m <= 1 + 1e-12).all()):
        raise TheoryError(
            f"output head: means {m.shape}, variances {v.shape}, smoothing {smoothing}; expected E[p] and E[p (1 − p)] ≤ E[p] ≤ 1 of two "
            "classes or more, and 0 to 1"
        )
    floor, rest = smoothing / m.size, 1 - smoothing
    return np.asarray(rest**2 * v + smoothing * rest * m * (1 - 2 / m.size) + floor * (1 - floor))


def row_steps(variances: ArrayLike) -> Float64Array:
    """``β_k = (GM(λ)/λ_k)^½``, factors on the steps of rows, with geometric mean 1 so that the rate at high rate stays.

    They minimize ``Σ λ_k β_k²`` at ``Σ log β_k = 0``, and make all terms equal: waterfilling over classes where all are active.

    Raises
    ------
    TheoryError

    References
    ----------
    SoftWater, class-aware row steps.

    Examples
    --------
    >>> row_steps([0.04, 0.01]).round(4).tolist()
    [0.7071, 1.4142]
    """
    logs = np.log2(_positive(variances))
    return np.asarray(np.exp2(0.5 * (logs.mean() - logs)))


def class_gain_bits(variances: ArrayLike) -> float:
    """``½ log2(AM/GM of λ)``, bits per weight that the row steps save at high rate over equal ones, in the proxy.

    Raises
    ------
    TheoryError

    References
    ----------
    Derived for this project.

    Examples
    --------
    >>> round(class_gain_bits([0.08, 0.02]), 4)  # AM 0.05, GM 0.04
    0.161
    """
    return 0.5 * log2_am_over_gm(_positive(variances))


def largest_step_ratio(smoothing: float, classes: int) -> float:
    """``½ ((ε/K)(1 − ε/K))^−½``, about ½ √(K/ε): no two row steps of smoothed variances differ by more.

    Raises
    ------
    TheoryError

    References
    ----------
    Derived for this project: λ̃ lies between (ε/K)(1 − ε/K) and ¼.

    Examples
    --------
    >>> round(largest_step_ratio(0.1, 10), 3)
    5.025
    """
    if not 0 < smoothing <= 1 or classes < 2:
        raise TheoryError(f"output head: smoothing {smoothing} of {classes} classes; expected above 0 to 1, and at least 2")
    floor = smoothing / classes
    return 0.5 / math.sqrt(floor * (1 - floor))


def kl_proxy_nats(row_errors: ArrayLike, variances: ArrayLike) -> float:
    """``½ Σ_k λ_k E δ_k²``, KL in nats per token to second order.

    Valid for errors that are small, of mean zero, independent over classes and of p. ``E δ_k² = e_k H e_kᵀ`` of the rows e_k of W − Ŵ.

    Parameters
    ----------
    row_errors : (K,) E δ_k²
    variances : (K,) λ_k, not smoothed

    Raises
    ------
    TheoryError

    References
    ----------
    SoftWater, its proxy; second-order expansion of KL, whose Hessian at 0 is diag(p) − p pᵀ.

    Examples
    --------
    >>> kl_proxy_nats([0.04, 0.04], [0.25, 0.25])
    0.01
    """
    errors, v = np.asarray(row_errors, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if errors.shape != v.shape or errors.ndim != 1 or not (np.isfinite(errors).all() and errors.min() >= 0 and v.min() >= 0):
        raise TheoryError(f"output head: errors of {errors.shape} beside variances of {v.shape}; expected as many, finite, not negative")
    return 0.5 * float(errors @ v)
