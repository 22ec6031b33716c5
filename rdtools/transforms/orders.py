"""In which order columns are decided.

An order is a permutation p: the problem is solved on ``H[p][:, p]`` and ``W[:, p]``, whose columns are decided from the last to the first.
The product of the ``ℓ_ii²`` is det H in every order; their sum, and so the distortion of equal steps, is not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, diagonal, is_tensor

Order = NDArray[np.intp]


def natural(moment: Matrix) -> Order:
    """Columns as they are: the last is decided first."""
    return np.arange(len(moment))


def reversed_natural(moment: Matrix) -> Order:
    """The first column is decided first, as in the textbook form of GPTQ."""
    return np.arange(len(moment))[::-1]


def act_order(moment: Matrix) -> Order:
    """The largest diagonal entry is decided first.

    References
    ----------
    The activation-order option of GPTQ, arXiv 2210.17323 (reference implementation).
    """
    return np.argsort(diagonal(moment), kind="stable")


def reversed_act_order(moment: Matrix) -> Order:
    """The largest diagonal entry is decided last: what all others left over is then mended where it costs most."""
    return act_order(moment)[::-1]


def min_pivot(moment: Matrix) -> Order:
    """Greedy, from the column decided last: place next the one whose variance, given those already placed, is smallest.

    Cholesky with the smallest pivot, n³/2 multiplications. A heuristic: the order of least ``Σ ℓ_ii²`` is NP-hard to find.

    References
    ----------
    Chen et al., arXiv 2507.18553, section on the order of quantization.

    Examples
    --------
    >>> min_pivot(np.diag([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    if is_tensor(moment):
        return _min_pivot_on_device(moment)
    n = len(moment)
    order = np.empty(n, dtype=np.intp)
    placed = np.zeros(n, dtype=bool)
    pivots = np.diagonal(moment).copy()
    resolved = n * np.finfo(np.float64).eps * pivots
    L = np.zeros((n, n), order="F")
    for k in range(n):
        i = int(np.where(placed, np.inf, pivots).argmin())
        order[k], placed[i] = i, True
        # what rounding leaves of a column that those before it explain is noise, and explains nothing
        if pivots[i] > resolved[i]:
            L[:, k] = (moment[:, i] - L[:, :k] @ L[i, :k]) / np.sqrt(pivots[i])
            pivots -= L[:, k] ** 2
    return order


def _min_pivot_on_device(moment: Matrix) -> Order:
    """`min_pivot` of a tensor; two numbers go to the host for each column."""
    n, pivots = len(moment), moment.diagonal().clone()
    order = np.empty(n, dtype=np.intp)
    resolved = n * np.finfo(np.float64).eps * pivots
    L = moment.new_zeros((n, n))
    for k in range(n):
        i = int(pivots.argmin())
        order[k] = i
        if bool(pivots[i] > resolved[i]):
            L[:, k] = (moment[:, i] - L[:, :k] @ L[i, :k]) / pivots[i].sqrt()
            pivots -= L[:, k] ** 2
        pivots[i] = np.inf
    return order


#: By name.
ORDERS: dict[str, Callable[[Matrix], Order]] = {
    "natural": natural,
    "reversed": reversed_natural,
    "act-order": act_order,
    "reversed-act-order": reversed_act_order,
    "min-pivot": min_pivot,
}
