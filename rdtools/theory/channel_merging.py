"""Channels of an activation merged to pay for those that were split: QLLM's assembly, and the bits that describe both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, TheoryError
from rdtools.linalg import check_moment, check_weight


def merge_distortions(moment: ArrayLike, weight: ArrayLike) -> Float64Array:
    """``(H_ii − 2 H_ij + H_jj) ‖w_i − w_j‖²/(4 mn)`` for all pairs: what merging channels i and j costs.

    Merged, a pair is one channel (x_i + x_j)/2 with the column w_i + w_j. The error ``(x_i − x_j)(w_i − w_j)/2`` is that of a weight with
    both columns at their mean, so that it is ``tr(E H Eᵀ)/(mn)`` of that E. Several pairs, or a group, are best counted in that way
    too: the sum over pairs leaves out ``½ E[(x_i − x_j)(x_k − x_l)] (w_i − w_j)·(w_k − w_l)/(mn)`` for two pairs.

    Parameters
    ----------
    moment : (n, n), H = E[x xᵀ]
    weight : (m, n)

    Returns
    -------
    (n, n) float64, symmetric, ≥ 0, 0 on the diagonal

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly; the distance of the paper, not that of the released code. Moment form derived for this
    project.

    Examples
    --------
    Independent unit channels with weights 1 and 3: (1 + 1) · 4/4 over two weights.

    >>> merge_distortions(np.eye(2), np.array([[1.0, 3.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    H = check_moment(moment)
    W = check_weight(weight, columns=len(H))
    if W.size == 0:
        raise ShapeMismatch(f"merge: weight of shape {W.shape} is empty; expected at least one row and column")
    power = np.diagonal(H)
    # channels that are equal but for rounding would have a negative distance
    apart = np.maximum((power[:, None] + power[None, :]) - 2 * H, 0.0)
    return np.asarray(apart * cdist(W.T, W.T, "sqeuclidean") / (4 * W.size))


def merge_distortion(moment: ArrayLike, weight: ArrayLike, first: int, second: int) -> float:
    """The entry of `merge_distortions` for channels `first` and `second`.

    Examples
    --------
    >>> merge_distortion(np.eye(2), np.array([[1.0, 3.0]]), 0, 1)
    1.0
    """
    H = np.asarray(moment)
    W = check_weight(weight, columns=len(H))
    pair = [first, second]
    # the table of the pair alone, whose weights are 2 of n columns
    return float(merge_distortions(H[np.ix_(pair, pair)], W[:, pair])[0, 1]) * 2 / len(H)


def reassembly_bits(copies: ArrayLike, *, merges: int, rows: int) -> float:
    """``[s (⌈log2 n⌉ + ⌈log2 T_max⌉) + 2 r ⌈log2 n⌉]/(N n)``: bits per weight that say what was split and merged.

    s channels are split, each named with its count, and r merged, each named with what it is merged into. One description serves the N rows
    of all layers with this input. About 1e-4 for n = 4096, r = 200, N = 12288.

    Parameters
    ----------
    copies : (n,) T_j ≥ 1
    merges : r ≥ 0
    rows : N, outputs of all layers that share the input

    Raises
    ------
    TheoryError
        For no channels, counts below 1, negative merges or no rows.

    References
    ----------
    Derived for this project, for QLLM, arXiv 2310.08041.

    Examples
    --------
    Of four channels, one in 3 copies costs 2 + 2 bits, two merges 8, over 4 weights.

    >>> reassembly_bits([1, 3, 1, 1], merges=2, rows=1)
    3.0
    """
    T = np.asarray(copies).ravel()
    if T.size == 0 or T.min() < 1 or merges < 0 or rows < 1:
        raise TheoryError(
            f"reassembly: {T.size} channels, {merges} merges, {rows} rows; expected counts ≥ 1, merges ≥ 0 and at least one row"
        )
    # ⌈log2 k⌉ is the bit length of k − 1
    name, count = (T.size - 1).bit_length(), (int(T.max()) - 1).bit_length()
    return (int((T > 1).sum()) * (name + count) + 2 * merges * name) / (rows * T.size)
