"""Groups of weights as sums of codewords; `rdtools.kernels.codebook_reference` has the formulas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray
from rdtools.errors import UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel


def _check(
    op: str, values: FloatArray, scales: FloatArray, codebooks: FloatArray, codes: NDArray[np.uint16], slots: NDArray[np.int64]
) -> None:
    check_arrays(
        op,
        values=(values, "(m, n)", FLOATS),
        scales=(scales, "(m,)", FLOATS),
        codebooks=(codebooks, "(M, K, g)", FLOATS),
        codes=(codes, "(m, S)", ("uint16",)),
        slots=(slots, "(S, 2)", ("int64",)),
    )
    books, words, g = codebooks.shape
    groups = values.shape[1] // max(g, 1)
    if slots.size and not (slots.min() >= 0 and slots[:, 0].max() < groups and slots[:, 1].max() < books):
        raise UsageError(
            f"{op}: slots up to {slots.max(axis=0).tolist()}, expected groups 0 to {groups - 1} and codebooks 0 to {books - 1}"
        )
    if codes.size and codes.max() >= words:
        raise UsageError(f"{op}: codes up to {codes.max()}, expected 0 to {words - 1}")


def codebook_error(
    weight: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
    *,
    backend: str | None = None,
) -> FloatArray:
    """``E = W − Ŵ``, row i of Ŵ having ``s_i Σ_t C_b(t)[codes_it]`` on the g columns of group G(t).

    Parameters
    ----------
    weight : (m, n) float64 or float32, W
    scales : (m,), s
    codebooks : (M, K, g)
    codes : (m, S) uint16, below K
    slots : (S, 2) int64, group G(t) and codebook b(t) of each code
    backend : None, "numba" or "reference"

    Returns
    -------
    (m, n) in the dtype of the weights

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> C, slots = np.array([[[1.0, 0.0], [0.0, 3.0]]]), np.array([[1, 0]])
    >>> codebook_error(np.ones((1, 4)), np.array([2.0]), C, np.array([[1]], dtype=np.uint16), slots).tolist()
    [[1.0, 1.0, 1.0, -5.0]]
    """
    _check("codebook_error", weight, scales, codebooks, codes, slots)
    error: FloatArray = kernel("codebook_error", choose_backend(backend))(weight, scales, codebooks, codes, slots)
    return error


def codebook_gradient(
    product: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
    *,
    backend: str | None = None,
) -> tuple[Float64Array, Float64Array]:
    """Derivatives of ``tr(E H Eᵀ)`` by codebooks and scales, from ``E H``; the other arguments and errors are those of `codebook_error`.

    Returns
    -------
    by_codebooks : (M, K, g) float64
    by_scales : (m,) float64

    Examples
    --------
    With H = I and W = 0 the loss is ``(s c)²``, of derivative 2 s² c and 2 s c².

    >>> C, codes, slots = np.full((1, 1, 1), 3.0), np.zeros((1, 1), dtype=np.uint16), np.zeros((1, 2), dtype=np.int64)
    >>> by_codebooks, by_scales = codebook_gradient(np.array([[-6.0]]), np.array([2.0]), C, codes, slots)
    >>> by_codebooks.tolist(), by_scales.tolist()
    ([[[24.0]]], [36.0])
    """
    _check("codebook_gradient", product, scales, codebooks, codes, slots)
    by_codebooks, by_scales = kernel("codebook_gradient", choose_backend(backend))(product, scales, codebooks, codes, slots)
    return by_codebooks, by_scales


def codebook_search(
    error: FloatArray,  # (m, n)
    moment: FloatArray,  # (n, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
    *,
    visits: NDArray[np.int64] | None = None,  # (V,)
    sizes: NDArray[np.int64] | None = None,  # (M,)
    beam: int = 1,
    backend: str | None = None,
) -> NDArray[np.uint16]:
    """Codes of each row of lower ``tr(E H Eᵀ)``, chosen slot by slot by the exact change of the loss.

    Parameters
    ----------
    error : (m, n) float64 or float32, W − Ŵ of the codes to start from; everything is computed in its dtype
    moment : (n, n), H, symmetric
    scales, codebooks, codes, slots : as for `codebook_error`
    visits : (V,) slots in the order in which they are decided, each at most once; None for all, the first one first
    sizes : (M,) words of each codebook; None for K
    beam : continued rows that are kept after each slot; 1 is coordinate descent
    backend : None, "numba" or "reference"

    Returns
    -------
    (m, S) uint16; with a beam of 1 no row's loss is above that of the codes to start from

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    Examples
    --------
    >>> C, codes, slots = np.array([[[0.0], [1.0]]]), np.zeros((1, 2), dtype=np.uint16), np.array([[0, 0], [1, 0]])
    >>> codebook_search(np.array([[0.4, 0.4]]), np.array([[1.0, 0.9], [0.9, 1.0]]), np.ones(1), C, codes, slots).tolist()
    [[1, 0]]
    """
    op = "codebook_search"
    _check(op, error, scales, codebooks, codes, slots)
    books, most, _ = codebooks.shape
    order = np.arange(len(slots)) if visits is None else visits
    words = np.full(books, most) if sizes is None else sizes
    check_arrays(op, error=(error, "(m, n)", ()), moment=(moment, "(n, n)", FLOATS))
    check_arrays(op, codebooks=(codebooks, "(M, K, g)", ()), visits=(order, "(V,)", ("int64",)), sizes=(words, "(M,)", ("int64",)))
    if len(np.unique(order)) < len(order) or (order.size and not 0 <= order.min() <= order.max() < len(slots)):
        raise UsageError(f"{op}: visits that are no selection of the {len(slots)} slots, expected each at most once")
    if beam < 1 or not 1 <= words.min(initial=1) <= words.max(initial=1) <= most:
        raise UsageError(f"{op}: beam {beam} and codebooks of {words.tolist()} words, expected at least 1, and 1 to {most} words")
    if codes.size and (codes >= words[slots[:, 1]]).any():
        raise UsageError(f"{op}: a code beyond the words of its codebook, expected codes below {words.tolist()}")
    searched: NDArray[np.uint16] = kernel(op, choose_backend(backend))(
        error, moment, scales, codebooks, codes, slots, order, words, beam=beam
    )
    return searched
