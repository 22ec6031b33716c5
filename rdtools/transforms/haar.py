"""Haar-distributed orthogonal matrices, the same bits on every machine and in every version.

``Q = H_1 H_2 … H_{n−1} D``: H_k is the Householder reflection that takes a vector of n − k + 1 independent N(0, 1) numbers to a multiple
of its first axis, acting on the coordinates k … n, and D holds the signs that the diagonal of R has in ``A = Q R`` for a Gaussian A whose
columns these vectors are. With them Q is exactly Haar. The construction is part of the format of stored weights.

References
----------
Stewart, The efficient generation of random orthogonal matrices with an application to condition estimators, SIAM J. Numer. Anal. 17
(1980), 403; Mezzadri, How to generate random matrices from the classical compact groups, Notices of the AMS 54 (2007), 592, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, beside, is_tensor
from rdtools.ops import householder_product
from rdtools.ops.gaussian import portable_normal

#: Reflections that are drawn and applied together, so that nothing of n² numbers is stored.
_PANEL = 64


class _Panel(NamedTuple):
    """Reflections of a panel, as `rdtools.ops.householder_product` takes them."""

    vectors: Float64Array
    scales: Float64Array
    starts: NDArray[np.int64]


def _leads(order: int, seed: int, factor: int) -> Float64Array:
    """(n,) first components of the Gaussian vectors, that of H_1 first and the single number of D last.

    They have a stream to themselves because D needs all of them before the first reflection.
    """
    return portable_normal(seed, 0, order, stream=2 * factor)[::-1]


def _signs(leads: Float64Array) -> Float64Array:
    """Diagonal of D: a reflection gives r_kk the sign opposite to that of its first component."""
    signs = -np.copysign(1.0, leads)
    signs[-1] = -signs[-1]
    return signs


def _panel(order: int, seed: int, factor: int, leads: Float64Array, first: int) -> _Panel:
    """Reflections `first` to `first` + _PANEL − 1, counted from 0; that of number k has n − k − 1 numbers after its first."""
    starts = np.arange(first, min(first + _PANEL, order - 1))
    lengths = order - 1 - starts
    ends = lengths * (lengths + 1) // 2  # vectors of 1, 2, 3, … numbers one after another
    begin = int(ends[-1] - lengths[-1])
    numbers = portable_normal(seed, begin, int(ends[0]) - begin, stream=2 * factor + 1)
    vectors = np.zeros((len(starts), order))
    for vector, start, length, end in zip(vectors, starts, lengths, ends, strict=True):
        vector[start] = leads[start]
        vector[start + 1 :] = numbers[end - length - begin : end - begin]
    squares = np.add.accumulate(vectors * vectors, axis=1)[:, -1]  # one addition after another, where np.sum has an order of its own
    norms, lead = np.sqrt(squares), leads[starts]
    vectors[np.arange(len(starts)), starts] = lead + np.copysign(norms, lead)
    return _Panel(vectors, 1.0 / (norms * (norms + np.abs(lead))), starts)


def _panels(order: int, seed: int, factor: int, leads: Float64Array, *, backward: bool) -> Iterator[_Panel]:
    firsts = range(0, order - 1, _PANEL)
    for first in reversed(firsts) if backward else firsts:
        panel = _panel(order, seed, factor, leads, first)
        yield _Panel(panel.vectors[::-1], panel.scales[::-1], panel.starts[::-1]) if backward else panel


def haar_multiply(x: Matrix, seed: int, *, factor: int = 0, transpose: bool = False) -> Matrix:
    """``x Q`` along the last axis, or ``x Qᵀ``, without forming Q: 2 m n² operations and memory for x and 64 vectors.

    Same bits everywhere, whatever the machine, the threads, and the rows that x has beside each; of a tensor on a device with the sums of
    its products.

    Parameters
    ----------
    x : (..., n), an array or a tensor
    seed : 0 … 2^64 − 1
    factor : number of the matrix among the independent ones of a seed
    transpose : multiply by Qᵀ, the inverse
    """
    y = x.double().contiguous().clone() if is_tensor(x) else np.array(x, dtype=np.float64, order="C")
    order = y.shape[-1]
    leads = _leads(order, seed, factor)
    rows = y.reshape(-1, order)
    if transpose:
        rows *= beside(_signs(leads), rows)
    for panel in _panels(order, seed, factor, leads, backward=transpose):
        householder_product(rows, *(beside(part, rows) for part in panel))
    if not transpose:
        rows *= beside(_signs(leads), rows)
    return y


def haar_matrix(order: int, seed: int, *, factor: int = 0) -> Float64Array:
    """An orthogonal matrix from the Haar measure, shape (order, order); a function of its arguments to the bit.

    The reflections are accumulated backward, so that each works on the block that is no longer the identity: 4/3 n³ operations.

    Parameters
    ----------
    order : n ≥ 1
    seed : 0 … 2^64 − 1
    factor : number of the matrix among the independent ones of a seed

    Examples
    --------
    >>> Q = haar_matrix(3, seed=1)
    >>> bool(np.allclose(Q @ Q.T, np.eye(3)))
    True
    """
    leads = _leads(order, seed, factor)
    transposed = np.diag(_signs(leads))
    for vectors, scales, starts in _panels(order, seed, factor, leads, backward=True):
        active = int(starts[-1])
        householder_product(transposed[active:, active:], vectors[:, active:], scales, starts - active)
    return np.ascontiguousarray(transposed.T)
