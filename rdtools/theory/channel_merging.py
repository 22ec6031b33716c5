"""Channels of an activation merged to pay for those that were split: what QLLM's assembly costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rdtools.errors import ShapeMismatch, TheoryError
from rdtools.linalg import check_moment, check_weight


def merged_distortion(moment: ArrayLike, weight: ArrayLike, groups: Sequence[Sequence[int]]) -> float:
    """``tr(E H Eᵀ)/(mn)`` with ``e_i = w_i − mean of the group's columns``: what merging groups of channels costs.

    A merged group is one channel, the mean of its activations, with the sum of its columns. A pair loses ``(x_i − x_j)(w_i − w_j)/2``, so
    that it costs ``(H_ii − 2 H_ij + H_jj) ‖w_i − w_j‖²/(4 mn)``; the sum over pairs leaves out
    ``½ E[(x_i − x_j)(x_k − x_l)] (w_i − w_j)·(w_k − w_l)/(mn)`` for two pairs. 0 for no groups.

    Parameters
    ----------
    moment : (n, n), H = E[x xᵀ]
    weight : (m, n)
    groups : disjoint groups of channels

    Raises
    ------
    TheoryError
        For a channel that is in two groups, or that does not exist.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly; moment form derived for this project.

    Examples
    --------
    Independent unit channels with weights 1 and 3: (1 + 1) · 4/4 over two weights.

    >>> merged_distortion(np.eye(2), np.array([[1.0, 3.0]]), [(0, 1)])
    1.0
    """
    H = check_moment(moment)
    W = check_weight(weight, columns=len(H))
    if W.size == 0:
        raise ShapeMismatch(f"merge: weight of shape {W.shape} is empty; expected at least one row and column")
    members = [i for group in groups for i in group]
    if len(set(members)) < len(members) or not all(0 <= i < len(H) for i in members):
        raise TheoryError(f"merge: channels {members} of {len(H)}, expected each at most once, 0 to {len(H) - 1}")
    if not members:
        return 0.0
    errors = np.concatenate([W[:, list(group)] - W[:, list(group)].mean(axis=1, keepdims=True) for group in groups], axis=1)
    return max(0.0, float(np.vdot(errors @ H[np.ix_(members, members)], errors))) / W.size
