"""Additive codebooks: k-means, then updates of codebooks and row scales in turn with searches for codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, row_blocks
from rdtools.ops import centroid_update, codebook_search, nearest_centroid
from rdtools.quantizers.rounding.codebook_updates import Books, Float32Array, Update, adam_updates, least_squares
from rdtools.records.additive_codes import GROUP, code_slots

#: Iterations of k-means between looks at whether anything still moves, and what counts as not moving, as published.
_LOOK, _RELATIVE, _ABSOLUTE = 10, 1e-6, 1e-8


def k_means(
    vectors: Float32Array,  # (k, d)
    words: int,
    iterations: int,
    generator: np.random.Generator,
    *,
    backend: str | None = None,
) -> Float32Array:
    """Centroids of Lloyd's algorithm from random vectors, (words, d), of which there are at least as many, or none, for zeros; a centroid
    that no vector is nearest to stays where it is.
    """
    if len(vectors) == 0:
        return np.zeros((words, vectors.shape[1]), dtype=np.float32)
    centroids = vectors[generator.choice(len(vectors), words, replace=False)]
    for iteration in range(1, iterations + 1):
        index, _ = nearest_centroid(vectors, centroids, backend=backend)
        moved = centroid_update(vectors, index, centroids, backend=backend).astype(np.float32)
        if iteration % _LOOK == 0 and np.allclose(moved, centroids, rtol=_RELATIVE, atol=_ABSOLUTE):
            return moved
        centroids = moved
    return centroids


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the training of codebooks.

    Attributes
    ----------
    update : "solve" for least squares, "adam" as published
    epochs : of update and search, at most
    steps : of conjugate gradients or Adam in an epoch
    tolerance : training ends when an epoch lowers the loss by less than this share
    iterations : of k-means, at most
    beam : rows kept in the search
    rate : learning rate of Adam, for rows of norm one
    """

    update: Update
    epochs: int
    steps: int
    tolerance: float
    iterations: int
    beam: int
    rate: float


@dataclass(frozen=True, eq=False)
class Trained:
    """Codebooks, codes and scales, as `rdtools.records.AdditiveCodes` describes them, before they are rounded for storage."""

    codebooks: tuple[Float64Array, ...]
    codes: NDArray[np.uint16]
    scales: Float64Array


def train_codebooks(
    weight: Float64Array,  # (m, n)
    moment: Callable[[], Float64Array],  # makes (n, n)
    book_bits: Sequence[int],
    critical: int,
    basic: int,
    training: Training,
    generator: np.random.Generator,
    *,
    backend: str | None = None,
) -> Trained:
    """Codebooks for the groups of eight columns of a weight, the first `critical` of which use all of them and the others the basic ones.

    Row scales begin as norms of rows. Each codebook begins as k-means of what those before it leave, without regard to H. An epoch is an
    update of codebooks and scales for the codes, and one search for codes through groups and codebooks in random order, both down
    ``tr(E H Eᵀ)``. Weights are taken in units of the root mean square norm of a row, H of its mean diagonal: then neither scale matters to
    Adam's rate. In float32, whose resolution no diagonal entry of H but zero is below: words of a nearly dead channel would else grow
    without bound, for errors that are rounding.

    References
    ----------
    AQLM, arXiv 2401.06118, section 3, and CRVQ, arXiv 2412.09282, as released, with Adam in units of the weights themselves.
    """
    m, n = weight.shape
    groups, sizes = n // GROUP, np.array([2**e for e in book_bits])
    norms = np.sqrt(np.concatenate([np.zeros(0), *(np.sum(weight[rows] ** 2, axis=1) for rows in row_blocks(weight))]))
    unit = float(np.sqrt(np.mean(norms**2))) or 1.0
    W, residual = (np.empty(shape, dtype=np.float32) for shape in (weight.shape, (m, groups, GROUP)))
    lengths = np.where(norms > 0, norms, 1.0)[:, None]
    for rows in row_blocks(weight):
        W[rows] = weight[rows] / unit
        residual[rows] = (weight[rows] / lengths[rows]).reshape(residual[rows].shape)
    del weight  # which a caller that has no other use for it has let go of
    codebooks, parts = np.zeros((len(sizes), int(sizes.max()), GROUP)), []
    for b, words in enumerate(sizes):
        count = groups if b < basic else critical
        vectors = residual[:, :count].reshape(-1, GROUP)
        centroids = k_means(vectors, int(words), training.iterations, generator, backend=backend)
        index, _ = nearest_centroid(vectors, centroids, backend=backend)
        for rows in row_blocks(residual):
            residual[rows, :count] -= centroids[index.reshape(m, count)[rows]]
        codebooks[b, :words] = centroids
        parts.append(index.reshape(m, count).astype(np.uint16))
        del vectors, index
    del residual
    H = _in_float32(moment())
    slots = code_slots(groups, critical, basic, len(sizes) - basic)
    books = Books(W, H, slots, codebooks, norms / unit, np.concatenate(parts, axis=1), backend)
    update = (
        adam_updates(books, training.steps, training.rate) if training.update == "adam" else partial(least_squares, books, training.steps)
    )
    best = np.inf
    for _ in range(training.epochs):
        error = books.error()
        product = error @ H
        loss = float(np.vdot(error, product))
        if not loss < (1.0 - training.tolerance) * best:
            break
        best = loss
        del error
        update(product)
        del product
        books.codes = codebook_search(
            books.error(), H, *books.rounded, books.codes, slots,
            visits=_visits(slots, groups, len(sizes), generator), sizes=sizes, beam=training.beam, backend=backend,
        )  # fmt: skip
    trained = tuple(book[:words].copy() for book, words in zip(codebooks, sizes, strict=True))
    return Trained(trained, books.codes, books.scales * unit)


def _in_float32(moment: Float64Array) -> Float32Array:
    """H in units of its mean diagonal, whose resolution no diagonal entry but zero is below."""
    H = np.empty(moment.shape, dtype=np.float32)
    scale = np.trace(moment) / max(len(H), 1) or 1.0
    for rows in row_blocks(moment):
        H[rows] = moment[rows] / scale
    energies = np.diagonal(H)
    H[np.diag_indices(len(H))] = np.where(np.diagonal(moment) > 0, np.maximum(energies, np.finfo(np.float32).eps), 0.0)
    return H


def _visits(slots: NDArray[np.int64], groups: int, books: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Slots by groups in random order, and by codebooks in random order within each."""
    group_order = generator.permutation(groups)[slots[:, 0]]
    within = np.array([generator.permutation(books) for _ in range(groups)]).reshape(groups, books)
    return np.lexsort((within[slots[:, 0], slots[:, 1]], group_order)).astype(np.int64)
