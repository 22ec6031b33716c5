"""The choice of critical channels, and of those that stand in a group together: CRVQ's importance and orders."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, row_blocks
from rdtools.ops import nearest_centroid
from rdtools.quantizers.rounding.codebooks import k_means
from rdtools.records.additive_codes import GROUP, StoredOrder

Importance = Literal["residual", "spqr", "magnitude", "random"]
ChannelOrder = Literal["sorted", "natural_rest", "stratified_rest"]


def channel_importance(
    weight: Float64Array,  # (m, n)
    energies: Float64Array,  # (n,)
    factor: Float64Array,  # (n, n)
    rule: Importance,
    *,
    words: int,
    iterations: int,
    generator: np.random.Generator,
    backend: str | None = None,
) -> Float64Array:
    """Importance of each input channel j, (n,).

    "residual", as released: ``mean_i R_ij² H_jj``, R being what one codebook of `words`, fitted by k-means to the groups of eight
    neighbouring columns without scales, filled up with zeros, leaves of W. "spqr": ``mean_i R_ij²/(2 [H⁻¹]_jj)``. "magnitude":
    ``mean_i |W_ij|``. "random": a random order.

    Parameters
    ----------
    weight : W
    energies : H_jj
    factor : L, ``H = L Lᵀ``
    rule : one of these
    words, iterations : of k-means

    References
    ----------
    CRVQ, arXiv 2412.09282, as released, rules 3, 1 and 2, with up to 1000 iterations; SpQR, arXiv 2306.03078.
    """
    m, n = weight.shape
    if rule == "random":
        return generator.permutation(n).astype(np.float64)
    if rule == "magnitude":
        return np.asarray(np.mean(np.abs(weight), axis=0))
    unit = float(np.sqrt(np.mean(weight**2))) or 1.0
    padded = np.zeros((m, -(-n // GROUP) * GROUP), dtype=np.float32)
    for rows in row_blocks(weight):
        padded[rows, :n] = weight[rows] / unit
    vectors = padded.reshape(-1, GROUP)
    centroids = k_means(vectors, words, iterations, generator, backend=backend)
    vectors -= centroids[nearest_centroid(vectors, centroids, backend=backend)[0]]
    residual = padded[:, :n].astype(np.float64)
    residual *= residual
    squares = unit**2 * np.mean(residual, axis=0)
    if rule == "residual":
        return np.asarray(squares * energies)
    inverse = scipy.linalg.solve_triangular(factor, np.eye(n), lower=True)
    return np.asarray(squares / (2.0 * np.sum(inverse**2, axis=0)))


def channel_order(importance: Float64Array, kind: ChannelOrder, critical: int) -> tuple[NDArray[np.int64], StoredOrder]:
    """The column at each place, and how much of that a decoder has to be told.

    "sorted", as published: all columns by falling importance, which packs the heavy ones among the rest together, where a code can no
    longer be spent on one of them. "natural_rest": the critical ones, then the others, both as they were. "stratified_rest": the critical
    ones, then the others dealt out so that each group has one of each octile of importance, the groups in turn from either end.

    Parameters
    ----------
    importance : (n,), n a multiple of eight
    kind : one of these
    critical : critical groups; with none, "natural_rest" is the natural order

    Returns
    -------
    order : (n,) int64
    stored : "natural", "set" or "permutation"

    Examples
    --------
    >>> channel_order(np.arange(16.0), "natural_rest", 1)[0].tolist()
    [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]
    >>> channel_order(np.arange(16.0), "stratified_rest", 0)[0].tolist()
    [15, 12, 11, 8, 7, 4, 3, 0, 14, 13, 10, 9, 6, 5, 2, 1]
    """
    falling = np.argsort(-importance, kind="stable").astype(np.int64)
    first, rest = np.split(falling, [GROUP * critical])
    if kind == "natural_rest":
        return np.concatenate([np.sort(first), np.sort(rest)]), "set" if critical else "natural"
    if kind == "stratified_rest":
        octiles = rest.reshape(GROUP, -1)
        octiles[1::2] = octiles[1::2, ::-1].copy()
        falling = np.concatenate([first, octiles.T.ravel()])
    return falling, "permutation"
