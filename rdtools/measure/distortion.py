"""Measured distortion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array, Matrix, panels, times_vector
from rdtools.errors import ShapeMismatch
from rdtools.moments.heldout import HeldoutMoment
from rdtools.ops import quadratic_form

#: Weights whose errors are looked at in one go, 64 MB of them: with what decoding and the products take beside them, below 256 MB.
BLOCK_ENTRIES = 2**23


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
    losses = [quadratic_form(weight[part] - reconstruction[part], moment) for part in panels(len(weight), weight.shape[1], BLOCK_ENTRIES)]
    return over_rows(np.maximum(np.concatenate([np.zeros(0), *losses]), 0.0), weight.shape[1])


def over_rows(losses: Float64Array, columns: int) -> Distortion:
    """The mean over rows, per weight, and its standard error, from the losses of whole rows of so many columns."""
    rows = losses / columns
    stderr = float(rows.std(ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else float("nan")
    return Distortion(float(rows.mean()), stderr)


@dataclass(frozen=True)
class Errors:
    """Measures of ``E = W − Ŵ``.

    Attributes
    ----------
    distortion : as `weighted_error`; nan without a moment
    mean_square : ``‖E‖²/(m n)``
    heldout : ``tr(E H′ Eᵀ)/(m n)``; nan without a held-out moment
    """

    distortion: Distortion
    mean_square: float
    heldout: float


def without_mean(
    losses: Float64Array,  # (m,)
    errors: Matrix,  # (m, n)
    mean: Float64Array,  # (n,)
    bias: Float64Array,  # (m,)
) -> Float64Array:
    """``E(e x − b)² = e H eᵀ − (e μ)² + (e μ − b)²`` of each row, from ``e H eᵀ``: the losses beside a bias.

    Parameters
    ----------
    losses : of the rows without a bias
    errors : e, rows of W − Ŵ
    mean : μ = E[x] over the tokens of the losses
    bias : b

    Examples
    --------
    x is 1 or 3 with equal chances, whose variance is 1.

    >>> without_mean(np.array([5.0]), np.array([[1.0]]), np.array([2.0]), np.array([2.0])).tolist()
    [1.0]
    """
    shifts = times_vector(errors, mean)
    return np.asarray(np.maximum(losses - shifts**2, 0.0) + (shifts - bias) ** 2)


def errors_of(
    weight: Matrix,
    blocks: Iterable[tuple[slice, Matrix]],
    moment: Matrix | None,
    heldout: HeldoutMoment | None = None,
    *,
    bias: Float64Array | None = None,
    mean: Float64Array | None = None,
) -> Errors:
    """Errors of a reconstruction that comes some rows after others, whose memory they take.

    Parameters
    ----------
    weight : (m, n)
    blocks : rows, and what is in their place, from the first to the last; overwritten
    moment : (n, n) the undamped H, or None
    heldout : H′, or None
    bias : (m,) b of ``Ŵ x + b``, with which its error is ``E‖W x − Ŵ x − b‖²``; None for none
    mean : (n,) E[x] of the moment, beside a bias; that of H′ is its own, and without it `heldout` is nan
    """
    (m, n), square = weight.shape, 0.0
    losses, others = [np.zeros(0)], [np.zeros(0)]
    for rows, block in blocks:
        block -= weight[rows]
        losses.append(np.full(len(block), np.nan) if moment is None else quadratic_form(block, moment))
        if heldout is not None:
            others.append(heldout.quadratic_form(block))
        if bias is not None and mean is not None:  # the sign of e is that of Ŵ − W here, and so is that of b
            losses[-1] = without_mean(losses[-1], block, mean, -bias[rows])
        if bias is not None and heldout is not None:
            others[-1] = np.full(len(block), np.nan) if heldout.mean is None else without_mean(others[-1], block, heldout.mean, -bias[rows])
        block *= block
        square += float(block.sum())
    held = float("nan") if heldout is None else float(np.concatenate(others).mean()) / n
    return Errors(over_rows(np.maximum(np.concatenate(losses), 0.0), n), square / float(m * n), held)


def errors_of_matrix(
    weight: Float64Array,
    reconstruction: Float64Array,
    moment: Float64Array,
    heldout: HeldoutMoment | None = None,
    *,
    bias: Float64Array | None = None,
    mean: Float64Array | None = None,
) -> Errors:
    """`errors_of` a reconstruction (m, n) that is there as a whole, and stays as it is."""
    m, n = reconstruction.shape
    blocks = ((rows, np.array(reconstruction[rows])) for rows in panels(m, n, BLOCK_ENTRIES))
    return errors_of(weight, blocks, moment, heldout, bias=bias, mean=mean)
