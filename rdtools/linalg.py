"""Checks and factorizations of second-moment matrices, in float64."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array, Matrix, add_to_diagonal, copied, diagonal, is_tensor, on_host, panels
from rdtools.errors import NotFiniteInput, NotPositiveSemidefinite, NotSymmetric, ShapeMismatch, UnsupportedDtype
from rdtools.widths import check_spectrum_width

#: Relative asymmetry up to which a matrix is symmetrized: float32 accumulation leaves about 1e-7 × √tokens.
ASYMMETRY_LIMIT = 1e-6
#: Negative eigenvalues down to this multiple of the largest count as rounding of a float32 accumulation.
NEGATIVE_EIGENVALUE_LIMIT = 1e-7
#: Damping of a singular matrix, relative to the mean diagonal, tried in this order; the first that factors is used and reported. The
#: least that merely factors (1e-12) lets columns that others explain feed back errors far larger than the weights; 1e-4 is WaterSIC's.
DAMPING_LADDER = (1e-4, 1e-3)


def _all_finite(values: NDArray[np.floating]) -> bool:
    if values.ndim == 0:
        return bool(np.isfinite(values))
    return all(np.isfinite(values[rows]).all() for rows in panels(len(values), values[:1].size))


def as_float64(array: Any, *, name: str) -> Float64Array:
    """A real floating-point array as float64, refusing complex and integer numbers.

    Raises
    ------
    UnsupportedDtype
        For complex, integer, boolean or object arrays.
    ShapeMismatch
        For nested lists of unequal length.
    NotFiniteInput
        For NaN or infinity; the message counts them and names the first.
    """
    if hasattr(array, "detach"):  # a torch tensor; bfloat16 has no NumPy counterpart
        array = (array.double() if array.is_floating_point() else array).detach().cpu().numpy()
    try:
        values = np.asarray(array)
    except ValueError as error:
        raise ShapeMismatch(f"{name}: rows of unequal length, expected an array: every row as long as the first") from error
    if values.dtype.kind in "OSU":
        raise UnsupportedDtype(
            f"{name}: got {' '.join(reprlib.repr(array).split())}, a {type(array).__name__}; expected an array or tensor of real "
            "floating point; a file is not opened here: give the array that it holds"
        )
    if values.dtype.kind != "f":
        remedy = "if these are quantized integers, dequantize first"
        raise UnsupportedDtype(f"{name}: dtype {values.dtype}, expected real floating point; {remedy}")
    values = values.astype(np.float64, copy=False)
    if not _all_finite(values):
        bad = np.argwhere(~np.isfinite(values))
        raise NotFiniteInput(
            f"{name}: {len(bad)} of {values.size} entries are NaN or infinite, the first at {tuple(int(i) for i in bad[0])}; "
            "expected finite numbers; likely an overflow in half precision: collect or convert again in float32"
        )
    return values


def check_moment(matrix: ArrayLike, *, name: str = "Hessian", recorded: bool = False) -> Float64Array:
    """A second-moment matrix as float64, checked and exactly symmetric; shape (n, n).

    Asymmetry up to ASYMMETRY_LIMIT of the largest entry is averaged away, into a new matrix. Otherwise the answer shares the memory of a
    float64 array that was given. The check needs little memory of its own.

    Parameters
    ----------
    matrix : (n, n)
    name : for messages
    recorded : the matrix was checked when it was written, and read back with its hash compared: of its entries, only that they are finite
        and that no diagonal one is negative is checked

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric
    NotPositiveSemidefinite
        For a negative diagonal entry, or an entry beyond the root of the product of its diagonal entries.
    """
    H = as_float64(matrix, name=name)
    if H.ndim != 2 or H.shape[0] != H.shape[1]:
        raise ShapeMismatch(f"{name}: shape {H.shape}, expected a square matrix (n, n)")
    if H.size == 0:
        return H
    if not recorded:
        H = _symmetric(H, name=name)
    diagonal = np.diagonal(H)
    if diagonal.min() < 0:
        i = int(diagonal.argmin())
        raise NotPositiveSemidefinite(
            f"{name}: diagonal entry {i} is {diagonal[i]:.3g}, expected a mean of squares; the matrix is not E[x xᵀ]"
        )
    if not recorded:
        _check_correlations(H, name=name)
    return H


def _symmetric(H: Float64Array, *, name: str) -> Float64Array:
    """H itself where it is symmetric, the mean of H and its transpose where it nearly is."""
    n = len(H)
    largest, asymmetry, position = 0.0, 0.0, (0, 0)
    for rows in panels(n, n):
        largest = max(largest, float(H[rows].max()), -float(H[rows].min()))
        difference = np.abs(H[rows, rows.start :] - H[rows.start :, rows].T)  # the rest has been seen as a transpose
        if difference.max() > asymmetry:
            i, j = (int(k) for k in np.unravel_index(difference.argmax(), difference.shape))
            asymmetry, position = float(difference[i, j]), (rows.start + i, rows.start + j)
    if asymmetry > ASYMMETRY_LIMIT * largest:
        i, j = position
        raise NotSymmetric(
            f"{name}: entries ({i}, {j}) and ({j}, {i}) differ by {asymmetry / largest:.1e} of the largest entry, expected "
            f"at most {ASYMMETRY_LIMIT:.0e}; likely a triangle or another matrix: pass the full E[x xᵀ]"
        )
    if asymmetry == 0:
        return H
    mean = np.empty((n, n))
    for rows in panels(n, n):
        np.add(H[rows], H[:, rows].T, out=mean[rows])
        mean[rows] *= 0.5
    return mean


def _check_correlations(H: Float64Array, *, name: str) -> None:
    """Refuse an entry of a symmetric matrix beyond the root of the product of its diagonal entries."""
    n = len(H)
    diagonal = np.diagonal(H)
    root = np.sqrt(diagonal)
    largest, position = 0.0, (0, 0)
    for rows in panels(n, n):
        excess = np.abs(H[rows])
        excess -= (1 + ASYMMETRY_LIMIT) * root[rows, None] * root[None, :]
        if excess.max() > largest:
            i, j = (int(k) for k in np.unravel_index(excess.argmax(), excess.shape))
            largest, position = float(excess[i, j]), (rows.start + i, j)
    if largest > 0:
        i, j = position
        raise NotPositiveSemidefinite(
            f"{name}: entry ({i}, {j}) is {H[i, j]:.3g} beside diagonal entries {diagonal[i]:.3g} and {diagonal[j]:.3g}, expected at most "
            "the root of their product; the matrix is not E[x xᵀ]"
        )


def check_weight(weight: ArrayLike, *, columns: int, name: str = "weight") -> Float64Array:
    """A weight matrix as float64, shape (m, n) with n = `columns`.

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput
    """
    W = as_float64(weight, name=name)
    if W.ndim != 2 or W.shape[1] != columns:
        hint = ""
        if W.ndim == 2 and W.shape[0] == columns:
            hint = "; it looks transposed: pass (out_features, in_features)"
        raise ShapeMismatch(f"{name}: weight {W.shape} with Hessian {(columns, columns)}, expected (m, {columns}){hint}")
    return W


def clip_eigenvalues(eigenvalues: Float64Array, *, name: str = "Hessian") -> Float64Array:
    """Eigenvalues in descending order with rounding below zero set to zero.

    Raises
    ------
    NotPositiveSemidefinite
        For an eigenvalue below −NEGATIVE_EIGENVALUE_LIMIT times the largest magnitude.
    """
    values = np.sort(eigenvalues)[::-1]
    if values.size and values[-1] < -NEGATIVE_EIGENVALUE_LIMIT * np.abs(values).max():
        raise NotPositiveSemidefinite(
            f"{name}: smallest eigenvalue {values[-1]:.3g} against largest {values[0]:.3g}, expected none below zero; "
            "likely not a second moment, or accumulated in half precision"
        )
    return np.maximum(values, 0.0)


def symmetric_eigenvalues(matrix: Matrix) -> Float64Array:
    """Eigenvalues of a symmetric matrix, ascending, (n,), in main memory; refused above `rdtools.widths.WIDEST_SPECTRUM` columns."""
    check_spectrum_width(len(matrix))
    if is_tensor(matrix):
        import torch

        return on_host(torch.linalg.eigvalsh(matrix))
    return np.asarray(scipy.linalg.eigh(matrix, eigvals_only=True, driver="evr", check_finite=False))


@dataclass(frozen=True, eq=False)
class Cholesky:
    """``H + damping · mean(diag H) · I = L Lᵀ``.

    Attributes
    ----------
    lower : (n, n) float64, L, where H is
    damping : relative to the mean diagonal; 0 when H itself was factored
    """

    lower: Matrix
    damping: float


def _equilibrated_cholesky(H: Matrix, *, overwrite: bool = False) -> Matrix | None:
    """L of ``H = L Lᵀ``, or None where H is singular to working precision.

    H is scaled to a unit diagonal first, so that columns of very different energy do not look like rank deficiency; a
    pivot there is the unexplained share of a column's energy, and rounding leaves about n·eps of it.
    """
    scale = np.sqrt(diagonal(H))
    if not (scale > 0).all():
        return None
    if is_tensor(H):
        return _equilibrated_on_device(H, overwrite=overwrite)
    R = np.divide(H, scale[:, None], out=H if overwrite else None)
    R /= scale
    try:
        # the upper factor of a column-major view is the lower one in row-major memory: no copy on the way in or out
        L = scipy.linalg.cholesky(R.T, lower=False, overwrite_a=True, check_finite=False).T
    except np.linalg.LinAlgError:
        return None
    if not resolved(np.diagonal(L)):
        return None
    L *= scale[:, None]
    return np.asarray(L)


def resolved(pivots: Float64Array) -> bool:
    """True if every column of a factor keeps more of its energy than rounding leaves."""
    return bool(np.isfinite(pivots).all() and (pivots**2).min() >= 10 * len(pivots) * np.finfo(np.float64).eps)


def _equilibrated_on_device(H: Matrix, *, overwrite: bool) -> Matrix | None:
    """`_equilibrated_cholesky` of a tensor with a positive diagonal."""
    import torch

    scale = H.diagonal().sqrt()
    R = H.div_(scale[:, None]) if overwrite else H / scale[:, None]
    R /= scale
    L, info = torch.linalg.cholesky_ex(R)
    if int(info) or not resolved(diagonal(L)):
        return None
    L *= scale[:, None]
    return L


def cholesky(moment: Matrix | Callable[[], Matrix], *, damping: float | None = None, name: str = "Hessian") -> Cholesky:
    """Factor a checked second moment, adding damping only if asked to or if it is singular.

    Parameters
    ----------
    moment : (n, n) float64, as from `check_moment`, with a positive diagonal; an array, or a tensor, which is factored where it is; or a
        function that makes a new one, which the factor overwrites
    damping : relative to the mean diagonal. None: zero if that factors, else the first of DAMPING_LADDER that does.

    Raises
    ------
    NotPositiveSemidefinite
        If it cannot be factored; the message names the smallest damping that would work.
    """
    new = callable(moment)
    for delta in (0.0, *DAMPING_LADDER) if damping is None else (damping,):
        damped = moment() if callable(moment) else moment
        n = len(damped)
        if n == 0:
            return Cholesky(damped, 0.0)
        if delta:
            damped = damped if new else copied(damped)
            add_to_diagonal(damped, delta * (math.fsum(diagonal(damped)) / n))
        lower = _equilibrated_cholesky(damped, overwrite=new or delta > 0)
        if lower is not None:
            return Cholesky(lower, delta)
    if damping is None:
        raise NotPositiveSemidefinite(
            f"{name}: no Cholesky factor even with damping {DAMPING_LADDER[-1]:g} of the mean diagonal; "
            "expected a positive semidefinite matrix; it has an eigenvalue well below zero"
        )
    works = cholesky(moment, name=name).damping
    likely = f"damping {works:g} works; likely fewer calibration tokens than columns"
    raise NotPositiveSemidefinite(f"{name}: singular with damping {damping:g} of the mean diagonal; {likely}")


def log2_am_over_gm(values: Float64Array) -> float:
    """``log2(arithmetic mean / geometric mean)``, exactly 0 for equal values and inf if only some are zero.

    Computed from ratios to the largest value, so that spectra over hundreds of decades neither overflow nor cancel.
    """
    if values.size == 0 or values.max() == 0:
        return 0.0
    if values.min() == 0:
        return math.inf
    logs = np.log2(values) - math.log2(values.max())
    # log2(mean r) − mean log2 r with r ≤ 1: both terms are small where the values are nearly equal
    difference = math.log2(math.fsum(np.exp2(logs)) / values.size) - math.fsum(logs) / values.size
    return max(difference, 0.0)
