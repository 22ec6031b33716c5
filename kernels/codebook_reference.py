"""Groups of weights as sums of codewords: errors, gradients, and the search for codes, written like the paper.

Row i has the values ``s_i Σ_t C_b(t)[codes_it]`` on the columns ``g G(t) … g G(t) + g − 1``, summed over slots t; slot t has group G(t)
and codebook b(t).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import FloatArray


def codebook_error(
    weight: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
) -> FloatArray:
    """``E = W − Ŵ``, (m, n) in the dtype of the weights; arguments as for `codebook_search`."""
    g = codebooks.shape[2]
    values = np.zeros_like(weight)
    for t, (group, book) in enumerate(slots):
        values[:, g * group : g * group + g] += codebooks[book, codes[:, t]]
    error: FloatArray = weight - scales[:, None] * values
    return error


def codebook_gradient(
    product: FloatArray,  # (m, n)
    scales: FloatArray,  # (m,)
    codebooks: FloatArray,  # (M, K, g)
    codes: NDArray[np.uint16],  # (m, S)
    slots: NDArray[np.int64],  # (S, 2)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Derivatives of ``tr(E H Eᵀ)`` by the codebooks and the scales, from ``E H``; sums are in float64.

    ``∂/∂C_b[k] = −2 Σ s_i (E H)_iG(t)`` over the codes ``codes_it = k`` of slots of that codebook, ``∂/∂s_i = −2 (E H)_i · Ŵ_i/s_i``.

    Returns
    -------
    by_codebooks : (M, K, g) float64
    by_scales : (m,) float64
    """
    g = codebooks.shape[2]
    by_codebooks, by_scales = np.zeros(codebooks.shape), np.zeros(len(scales))
    for t, (group, book) in enumerate(slots):
        part = product[:, g * group : g * group + g].astype(np.float64)
        np.add.at(by_codebooks[book], codes[:, t], -2.0 * scales[:, None] * part)
        by_scales -= 2.0 * (part * codebooks[book, codes[:, t]]).sum(axis=1)
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
    """Choose the codes of each row anew, one slot after another, by the exact change of the loss ``e H eᵀ`` of the row.

    With the old codeword c₀ added back, ``p = (e H)_G + s c₀ H_GG``, the word c changes the loss by

        −2 s (c − c₀) · p + s² (c H_GG cᵀ − c₀ H_GG c₀ᵀ)

    After each slot the `beam` best of all continued rows are kept, the first of equals; at the end the best one. With one this is
    coordinate descent, whose loss never rises, and a code stays where another is as good.

    Parameters
    ----------
    error : (m, n) float64 or float32, W − Ŵ of the codes; everything is computed in its dtype
    moment : (n, n), H, symmetric
    scales : (m,), s
    codebooks : (M, K, g); words beyond those of a codebook are not looked at
    codes : (m, S) uint16, to start from
    slots : (S, 2) int64, group and codebook of each code
    visits : (V,) int64, slots in the order in which they are decided, each at most once
    sizes : (M,) int64, words of each codebook
    beam : rows kept

    Returns
    -------
    (m, S) uint16

    References
    ----------
    AQLM, arXiv 2401.06118, section 3.2, beam search.
    """
    dtype, g = error.dtype, codebooks.shape[2]
    H, C, s = (x.astype(dtype, copy=False) for x in (moment, codebooks, scales))
    result = codes.copy()
    for i in range(len(error)):
        rows = [(dtype.type(0), error[i].copy(), codes[i].copy())]
        for t in visits:
            group, book = slots[t]
            at, words = slice(g * group, g * group + g), C[book, : sizes[book]]
            choices = []
            for loss, e, row in rows:
                old = words[row[t]]
                p = e @ H[:, at] + s[i] * (old @ H[at, at])
                scores = s[i] * (s[i] * np.einsum("ka,ab,kb->k", words, H[at, at], words) - 2 * (words @ p))
                choices += [(loss + score - scores[row[t]], e, row, k) for k, score in enumerate(scores)]
            choices.sort(key=lambda choice: (choice[0], beam > 1 or choice[3] != choice[2][t]))
            rows = []
            for loss, e, row, k in choices[:beam]:
                new, code = e.copy(), row.copy()
                new[at] -= s[i] * (words[k] - words[row[t]])
                code[t] = k
                rows.append((loss, new, code))
        result[i] = min(rows, key=lambda row: row[0])[2]
    return result
