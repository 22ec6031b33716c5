"""Groups of weights as sums of codewords on the CPU: blocks of rows go through the slots side by side, so that H is read once a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count

from rdtools.arrays import FloatArray

#: Rows of a block: with the errors of so many in the second cache, the columns of H that a slot needs stay in the first.
ROWS = 32


def _plain(x: NDArray[np.generic], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """One layout for all: another, or a read-only flag, would be compiled anew."""
    return np.require(x, dtype=dtype, requirements=["C", "W", "A"])


@jit(nogil=True, error_model="numpy")
def _error(weight, scales, codebooks, codes, slots, first, last, values, error):  # type: ignore[no-untyped-def]
    g = codebooks.shape[2]
    for i in range(first, last):
        values[:] = 0
        for t in range(slots.shape[0]):
            at, word = g * slots[t, 0], codebooks[slots[t, 1], codes[i, t]]
            for j in range(g):
                values[at + j] += word[j]
        for j in range(weight.shape[1]):
            error[i, j] = weight[i, j] - scales[i] * values[j]


@jit(nogil=True, error_model="numpy")
def _gradient(product, scales, codebooks, codes, slots, by_codebooks, by_scales):  # type: ignore[no-untyped-def]
    g = codebooks.shape[2]
    for i in range(product.shape[0]):
        total, twice = 0.0, -2.0 * scales[i]
        for t in range(slots.shape[0]):
            at, book, code = g * slots[t, 0], slots[t, 1], codes[i, t]
            word, sums = codebooks[book, code], by_codebooks[book, code]
            for j in range(g):
                part = np.float64(product[i, at + j])
                sums[j] += twice * part
                total += part * word[j]
        by_scales[i] = -2.0 * total


# sums in any order, so that they become vector instructions
@jit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _slopes(e, H, at, p):  # type: ignore[no-untyped-def]
    """``p_j = Σ_i e_i H_i,at+j``; H is symmetric, its rows contiguous."""
    for j in range(p.shape[0]):
        row, total = H[at + j], e.dtype.type(0)
        for i in range(e.shape[0]):
            total += e[i] * row[i]
        p[j] = total


@jit(nogil=True, error_model="numpy", fastmath={"contract"})
def _search(error, H, scales, codebooks, turned, squares, codes, slots, visits, sizes, beam, first, last, result):  # type: ignore[no-untyped-def]
    """Rows first … last − 1; `turned` are the codebooks (M, g, K), `squares` (V, K) the numbers ``c H_GG cᵀ``."""
    n, (_, K, g) = error.shape[1], codebooks.shape
    S, rows, zero = codes.shape[1], last - first, error.dtype.type(0)
    E, E_next = np.empty((rows, beam, n), error.dtype), np.empty((rows, beam if beam > 1 else 0, n), error.dtype)
    row_codes, codes_next = np.empty((rows, beam, S), np.uint16), np.empty((rows, beam if beam > 1 else 0, S), np.uint16)
    losses = np.zeros((rows, beam), error.dtype)
    p, scores = np.empty(g, error.dtype), np.empty(K, error.dtype)
    best, best_from, best_code = np.empty(beam, error.dtype), np.empty(beam, np.int64), np.empty(beam, np.int64)
    for i in range(rows):
        E[i, 0] = error[first + i]
        row_codes[i, 0] = codes[first + i]
    alive = 1
    for v in range(visits.shape[0]):
        t = visits[v]
        group, book = slots[t]
        at, words, lanes, count = g * group, codebooks[book], turned[book], sizes[book]
        keep = min(beam, alive * count)
        for i in range(rows):
            s = scales[first + i]
            filled = 0
            for h in range(alive):
                e = E[i, h]
                _slopes(e, H, at, p)
                old = row_codes[i, h, t]
                for j in range(g):
                    total = zero
                    for k in range(g):
                        total += words[old, k] * H[at + k, at + j]
                    p[j] += s * total
                for k in range(count):
                    scores[k] = s * squares[v, k]
                for j in range(g):
                    twice, lane = p[j] + p[j], lanes[j]
                    for k in range(count):
                        scores[k] -= twice * lane[k]
                base = losses[i, h] - s * scores[old]
                if keep == 1:
                    least, code = scores[old], np.int64(old)
                    for k in range(count):
                        if scores[k] < least:
                            least, code = scores[k], np.int64(k)
                    best[0], best_from[0], best_code[0] = base + s * least, h, code
                else:
                    for k in range(count):
                        loss = base + s * scores[k]
                        if filled < keep or loss < best[keep - 1]:
                            slot = min(filled, keep - 1)
                            while slot > 0 and best[slot - 1] > loss:
                                best[slot], best_from[slot] = best[slot - 1], best_from[slot - 1]
                                best_code[slot] = best_code[slot - 1]
                                slot -= 1
                            best[slot], best_from[slot], best_code[slot] = loss, h, k
                            filled = min(filled + 1, keep)
            if keep > 1:
                for q in range(keep):
                    E_next[i, q] = E[i, best_from[q]]
                    codes_next[i, q] = row_codes[i, best_from[q]]
                E[i, :keep] = E_next[i, :keep]
                row_codes[i, :keep] = codes_next[i, :keep]
            for q in range(keep):
                old = row_codes[i, q, t]
                for j in range(g):
                    E[i, q, at + j] -= s * (words[best_code[q], j] - words[old, j])
                row_codes[i, q, t] = best_code[q]
                losses[i, q] = best[q]
        alive = keep
    for i in range(rows):
        result[first + i] = row_codes[i, np.argmin(losses[i, :alive])]


def codebook_error(
    weight: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
) -> FloatArray:
    """Same as `rdtools.kernels.codebook_reference.codebook_error`, faster."""
    m, dtype = len(weight), weight.dtype
    W, s, C = (_plain(x, dtype) for x in (weight, scales, codebooks))
    b, t = _plain(codes, np.dtype(np.uint16)), _plain(slots, np.dtype(np.int64))
    error = np.empty(W.shape, dtype)
    _error(W, s, C, b, t, 0, m, np.empty(W.shape[1], dtype), error)
    return error


def codebook_gradient(
    product: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Same as `rdtools.kernels.codebook_reference.codebook_gradient`, faster."""
    P, s, C = (_plain(x, product.dtype) for x in (product, scales, codebooks))
    by_codebooks, by_scales = np.zeros(C.shape), np.zeros(len(P))
    _gradient(P, s, C, _plain(codes, np.dtype(np.uint16)), _plain(slots, np.dtype(np.int64)), by_codebooks, by_scales)
    return by_codebooks, by_scales


def codebook_search(
    error: FloatArray,  # (m, n)
    moment: FloatArray,  # (n, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
    visits: NDArray[np.int64],  # (V,)
    sizes: NDArray[np.int64],  # (M,)
    *,
    beam: int,
) -> NDArray[np.uint16]:
    """Same as `rdtools.kernels.codebook_reference.codebook_search`, faster; 2·ROWS·beam·n elements a thread, V·K for all."""
    m, g = len(error), codebooks.shape[2]
    E, H, s, C = (_plain(x, error.dtype) for x in (error, moment, scales, codebooks))
    b, t, order, words = _plain(codes, np.dtype(np.uint16)), *(_plain(x, np.dtype(np.int64)) for x in (slots, visits, sizes))
    squares = np.empty((len(order), C.shape[1]), E.dtype)
    for v, (group, book) in enumerate(t[order]):
        at = slice(g * group, g * group + g)
        squares[v] = ((C[book] @ H[at, at]) * C[book]).sum(axis=1)
    turned = np.ascontiguousarray(C.transpose(0, 2, 1))
    result = np.empty_like(b)

    def search(first: int) -> None:
        _search(E, H, s, C, turned, squares, b, t, order, words, beam, first, min(first + ROWS, m), result)

    for_each(search, range(0, m, ROWS), thread_count())
    return result
