"""Types of the arrays that the library passes around, what NumPy arrays and torch tensors spell differently, and the check of a count.

Matrices are where the work is: NumPy arrays in main memory, or torch tensors on a device. Vectors that decide settings (steps, scales,
orders of columns) are NumPy arrays always; `beside` brings one to a matrix. For an array in main memory every function here is the NumPy
expression that it stands for, to the bit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import WrongType

Float64Array = NDArray[np.float64]
FloatArray = NDArray[Any]  # float64 or float32
Int64Array = NDArray[np.int64]
#: A NumPy array in main memory, or a torch tensor on any device.
Matrix = Any

#: Entries that are looked at in one go where little memory is to be taken beside a matrix.
PANEL_ENTRIES = 2**16
#: Rows that are worked on together at least, and the share of all rows that they are at most, where a row costs several times its memory:
#: enough for the sweeps to share out among threads, and for the products of matrices to run at full speed.
BLOCK_ROWS, BLOCK_SHARE = 128, 16


def is_tensor(x: object) -> bool:
    """True for a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    return torch is not None and isinstance(x, torch.Tensor)


def place_of(x: Matrix) -> str:
    """Name of the device that a matrix is on; "cpu" for main memory."""
    return str(x.device) if is_tensor(x) else "cpu"


def dtype_name(x: Matrix) -> str:
    """The dtype of an array or tensor as NumPy calls it."""
    return _name(x.dtype)


@cache  # NumPy takes microseconds to spell a dtype, and every operation asks
def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def on_host(x: Matrix) -> NDArray[Any]:
    """The matrix in main memory: an array as it is, a tensor as an array."""
    host: NDArray[Any] = x.detach().cpu().numpy() if is_tensor(x) else x
    return host


def beside(values: NDArray[Any], x: Matrix) -> Matrix:
    """An array where the matrix x is: itself in main memory, or a tensor on x's device."""
    if not is_tensor(x):
        return values
    torch: Any = sys.modules["torch"]
    return torch.from_numpy(np.array(values)).to(x.device)


def as_dtype(x: Matrix, name: str) -> Matrix:
    """The matrix in a dtype; itself where it has it."""
    return x.to(getattr(sys.modules["torch"], name)) if is_tensor(x) else x.astype(name, copy=False)


def contiguous(x: Matrix) -> Matrix:
    """The matrix with its rows one after another in memory; itself where they are."""
    return x.contiguous() if is_tensor(x) else np.ascontiguousarray(x)


def empty_like(x: Matrix, dtype: str) -> Matrix:
    """A matrix of x's shape and place, rows one after another, not filled."""
    if is_tensor(x):
        torch: Any = sys.modules["torch"]
        return torch.empty(x.shape, dtype=getattr(torch, dtype), device=x.device)
    return np.empty(x.shape, dtype=dtype)


def zeros(shape: tuple[int, ...], like: Matrix) -> Matrix:
    """A float64 matrix of zeros where another is."""
    return like.new_zeros(shape).double() if is_tensor(like) else np.zeros(shape)


def take_columns(x: Matrix, columns: NDArray[Any]) -> Matrix:
    """``x[:, columns]`` for indices or a mask; x itself, not a copy, for the indices of all columns as they are."""
    if _all_in_order(columns, x):
        return x
    # rows of an array stay one after another, which x[:, columns] would not leave them
    return x[:, _index(columns, x)] if is_tensor(x) or columns.dtype == np.bool_ else np.take(x, columns, axis=1)


def take_rows(x: Matrix, rows: NDArray[Any]) -> Matrix:
    """``x[rows]`` for indices or a mask."""
    return x[_index(rows, x)]


def put_columns(values: Matrix, columns: NDArray[Any], like: Matrix | None = None) -> Matrix:
    """The matrix whose column ``columns[i]`` is column i of `values`, in memory as `like` is, or as they are; `values` themselves, not a
    copy, where they stand in their places.
    """
    if like is None and _all_in_order(columns, values):
        return values
    placed = values.new_empty(values.shape) if is_tensor(values) else np.empty_like(values if like is None else like)
    set_columns(placed, columns, values)
    return placed


def set_columns(x: Matrix, columns: NDArray[Any], values: Matrix) -> None:
    """``x[:, columns] = values`` for indices or a mask."""
    x[:, _index(columns, x)] = values


def submatrix(x: Matrix, places: NDArray[Any]) -> Matrix:
    """``x[np.ix_(places, places)]`` for indices or a mask."""
    if not is_tensor(x):
        return x[np.ix_(places, places)]
    index = _index(places, x)
    return x[index][:, index]


def _all_in_order(columns: NDArray[Any], x: Matrix) -> bool:
    return columns.dtype != np.bool_ and len(columns) == x.shape[1] and bool((columns == np.arange(len(columns))).all())


def _index(indices: NDArray[Any], x: Matrix) -> Any:
    return beside(np.flatnonzero(indices) if indices.dtype == np.bool_ else indices, x) if is_tensor(x) else indices


def diagonal(x: Matrix) -> NDArray[Any]:
    """(n,) the diagonal in main memory."""
    return on_host(x.diagonal()) if is_tensor(x) else np.diagonal(x)


def add_to_diagonal(x: Matrix, value: float) -> None:
    """``x ← x + value · I`` in place."""
    if is_tensor(x):
        x.diagonal().add_(value)
    else:
        x[np.diag_indices(len(x))] += value


def copied(x: Matrix) -> Matrix:
    """A copy in the same place."""
    return x.clone() if is_tensor(x) else x.copy()


def row_dots(x: Matrix, y: Matrix) -> NDArray[Any]:
    """(m,) ``Σ_j x_ij y_ij`` in main memory."""
    return on_host((x * y).sum(1)) if is_tensor(x) else np.einsum("ij,ij->i", x, y)


def column_dots(x: Matrix, y: Matrix) -> NDArray[Any]:
    """(n,) ``Σ_i x_ij y_ij`` in main memory."""
    return on_host((x * y).sum(0)) if is_tensor(x) else np.einsum("ij,ij->j", x, y)


def row_mean_squares(x: Matrix) -> NDArray[Any]:
    """(m,) mean of the squares of each row, summed in float64, in main memory; of one column at least."""
    return on_host((x.double() ** 2).mean(1)) if is_tensor(x) else np.mean(np.square(x, dtype=np.float64), axis=1)


def row_absmax(x: Matrix) -> NDArray[Any]:
    """(m,) float64 largest magnitude of each row, 0 of none, in main memory."""
    if is_tensor(x):
        return on_host(x.abs().amax(1).double()) if x.shape[1] else np.zeros(len(x))
    # without a matrix of magnitudes; a zero is added so that none is negative
    return np.asarray(np.maximum(x.max(axis=1, initial=0.0), -x.min(axis=1, initial=0.0)).astype(np.float64) + 0.0)


def frobenius_norm(x: Matrix) -> float:
    """Root of the sum of the squares of all entries."""
    return float((x**2).sum().sqrt()) if is_tensor(x) else float(np.linalg.norm(x))


def inner_product(x: Matrix, y: Matrix) -> float:
    """``Σ x_ij y_ij``."""
    return float((x * y).sum()) if is_tensor(x) else float(np.vdot(x, y))


def times_vector(x: Matrix, vector: NDArray[Any]) -> NDArray[Any]:
    """``x v`` of a vector in main memory, in main memory."""
    return on_host(x @ beside(vector, x))


def mean_square(x: Matrix) -> float:
    """Mean of the squares of all entries, of which there is one at least."""
    return float((x**2).mean()) if is_tensor(x) else float(np.mean(x**2))


def largest(x: Matrix) -> float:
    """Largest magnitude of all entries; 0 of none."""
    if is_tensor(x):
        return float(x.abs().max()) if x.numel() else 0.0
    return max(float(x.max(initial=0)), -float(x.min(initial=0))) + 0.0


def panels(rows: int, columns: int, entries: int | None = None) -> Iterator[slice]:
    """Slices of rows, from the first to the last, that hold about so many entries each, PANEL_ENTRIES where none are named, and at least 16
    rows where there are.
    """
    height = max(16, (PANEL_ENTRIES if entries is None else entries) // max(1, columns))
    return (slice(first, min(first + height, rows)) for first in range(0, rows, height))


def symmetrize(matrix: Matrix) -> Matrix:
    """``(M + Mᵀ)/2`` in the memory of M, an array or a tensor, exactly symmetric.

    Examples
    --------
    >>> symmetrize(np.array([[1.0, 4.0], [2.0, 3.0]])).tolist()
    [[1.0, 3.0], [3.0, 3.0]]
    """
    n = len(matrix)
    for rows in panels(n, n):
        mean = 0.5 * (matrix[rows, rows.start :] + matrix[rows.start :, rows].T)
        matrix[rows, rows.start :], matrix[rows.start :, rows] = mean, mean.T
    return matrix


def row_blocks(x: Matrix, *, parts: int = 1) -> Iterator[slice]:
    """Slices of the rows of a matrix, from the first to the last: one in BLOCK_SHARE, BLOCK_ROWS at least, or one in so many parts of
    these; of a tensor all in one.
    """
    rows = len(x)
    height = rows if is_tensor(x) else BLOCK_ROWS * max(1, -(-rows // (BLOCK_SHARE * BLOCK_ROWS))) // parts
    return (slice(first, min(first + height, rows)) for first in range(0, rows, max(height, 1)))


def check_count(count: Any, *, name: str) -> int:
    """A number of things as an int; NumPy's integers are taken, booleans are not.

    Raises
    ------
    WrongType
        For anything but a whole number from 0 on.
    """
    if isinstance(count, bool | np.bool_) or not isinstance(count, int | np.integer) or count < 0:
        raise WrongType(f"{name} {count!r}: expected a whole number from 0 on, such as 4096")
    return int(count)
