"""Cholesky factors in the memory of the matrix that they are of, for as long as they are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, is_tensor, submatrix
from rdtools.linalg import DAMPING_LADDER, cholesky, resolved


@contextmanager
def factored_in_place(moment: Matrix, used: NDArray[np.bool_] | None = None, *, name: str = "Hessian") -> Iterator[Matrix]:
    """L of `cholesky`, in the lower triangle of the moment's own memory, which is as it was afterwards.

    Meanwhile the other triangle keeps the moment. A new matrix for a tensor, and for an array whose rows or columns are not one after
    another. Damped as `cholesky` damps.

    Parameters
    ----------
    moment : (n, n), as of `cholesky`
    used : (n,) rows and columns that are factored; None for all
    name : for messages

    Raises
    ------
    NotPositiveSemidefinite

    Examples
    --------
    >>> F = np.array([[4.0, 2.0], [2.0, 5.0]])
    >>> with factored_in_place(F) as lower:
    ...     np.tril(lower).round(9).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    >>> F.tolist()
    [[4.0, 2.0], [2.0, 5.0]]
    """
    if is_tensor(moment) or not (moment.flags.c_contiguous or moment.flags.f_contiguous) or (used is not None and not used.any()):
        yield cholesky(moment if used is None or used.all() else submatrix(moment, used), name=name).lower
        return
    by_rows = moment if moment.flags.c_contiguous else moment.T  # which is the same, as it is symmetric
    if used is None or used.all():
        yield from _whole(by_rows, name)
    else:
        yield from _part(by_rows, used, name)


def _whole(moment: Float64Array, name: str) -> Iterator[Float64Array]:
    energies = np.diagonal(moment).copy()
    try:
        for delta in (0.0, *DAMPING_LADDER):
            damped = energies + delta * (math.fsum(energies) / len(energies)) if delta else energies
            if (damped > 0).all() and _factored_below(moment, damped):
                break
            mirror_above(moment, energies)
        else:
            cholesky(moment, name=name)  # which refuses it, and says why
        yield moment
    finally:
        mirror_above(moment, energies)


def _part(moment: Float64Array, used: NDArray[np.bool_], name: str) -> Iterator[Float64Array]:
    """`_whole` of some rows and columns, which are brought together at the beginning of the moment's memory."""
    used_rows, unused = np.flatnonzero(used), np.flatnonzero(~used)
    others, part = moment[unused], np.reshape(moment, -1)[: len(used_rows) ** 2].reshape(len(used_rows), -1)
    for i, row in enumerate(used_rows):  # which is written no further than it has been read
        part[i] = moment[row, used_rows]
    try:
        yield from _whole(part, name)
    finally:
        for i, row in reversed(list(enumerate(used_rows))):
            moment[row, used_rows] = part[i].copy()
        moment[unused], moment[:, unused] = others, others.T


def _factored_below(moment: Float64Array, energies: Float64Array) -> bool:
    """Put L where the lower triangle of a moment is, with these on its diagonal, as `cholesky` computes it; False if that fails."""
    scale = np.sqrt(energies)
    moment[np.diag_indices(len(moment))] = energies
    for i, row in enumerate(moment):
        row[: i + 1] /= scale[i]
        row[: i + 1] /= scale[: i + 1]
    # the upper triangle of a column-major view is the lower one in row-major memory
    _, failed = scipy.linalg.lapack.dpotrf(moment.T, lower=0, clean=0, overwrite_a=1)
    if failed or not resolved(np.diagonal(moment)):
        return False
    for i, row in enumerate(moment):
        row[: i + 1] *= scale[i]
    return True


def mirror_above(moment: Float64Array, energies: Float64Array) -> None:
    """Make a matrix symmetric from what is above its diagonal, and from the diagonal that it is to have, (n,)."""
    for i, row in enumerate(moment):
        row[:i] = moment[:i, i]
    moment[np.diag_indices(len(moment))] = energies
