"""The same work as others do it, written from the descriptions of their algorithms."""

# ruff: noqa: N803, N806 (mathematical capitals)

from __future__ import annotations

import numpy as np
import torch
from rdtools.kernels import e8p_reference

#: Bits of the grid that sweeps round to, and columns of a block of the GPTQ loop, as in the paper's code.
BITS, GPTQ_BLOCK = 4, 128
#: Tokens that arrive at a time, and vectors whose products with a table are in memory at a time.
SEQUENCE, CANDIDATE_ROWS = 4096, 1024


def gptq_factor(H: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of H⁻¹, by way of H's own: three factorizations in H's dtype."""
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)


def gptq_loop(W: torch.Tensor, T: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """GPTQ's loop: columns from the first to the last, errors fed back within a block at once and to later blocks at its end."""
    W = W.clone()
    n = W.shape[1]
    integers = torch.empty_like(W)
    for start in range(0, n, GPTQ_BLOCK):
        stop = min(start + GPTQ_BLOCK, n)
        block, errors = W[:, start:stop].clone(), torch.empty_like(W[:, start:stop])
        for i in range(stop - start):
            row = T[start + i, start:stop]
            w = block[:, i]
            z = torch.clamp(torch.round(w / scale - 0.5), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
            integers[:, start + i] = z
            error = (w - scale * (z + 0.5)) / row[i]
            block[:, i:] -= error[:, None] @ row[None, i:]
            errors[:, i] = error
        W[:, stop:] -= errors @ T[start:stop, stop:]
    return integers


def ldlq_loop(W: torch.Tensor, L: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """LDLQ column by column: each target is ``w_k + (W − Ŵ) u_k`` with the errors of all columns decided before."""
    rounded, integers = W.clone(), torch.empty_like(W)
    for k in range(W.shape[1] - 1, -1, -1):
        target = W[:, k] + (W[:, k + 1 :] - rounded[:, k + 1 :]) @ (L[k + 1 :, k] / L[k, k])
        z = torch.clamp(torch.round(target / scale - 0.5), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
        integers[:, k] = z
        rounded[:, k] = scale * (z + 0.5)
    return integers


def hadamard_loop(x: torch.Tensor) -> torch.Tensor:
    """The butterfly, one level at a time over the whole matrix."""
    m, n = x.shape
    half = 1
    while half < n:
        x = x.view(m, n // (2 * half), 2, half)
        x = torch.stack([x[:, :, 0] + x[:, :, 1], x[:, :, 0] - x[:, :, 1]], dim=2)
        half *= 2
    return x.view(m, n) / n**0.5


def moment_loop(x: torch.Tensor) -> torch.Tensor:
    """GPTQ's accumulation: the whole product of a sequence at a time, in float32 throughout."""
    H = torch.zeros(x.shape[1], x.shape[1])
    for start in range(0, len(x), SEQUENCE):
        part = x[start : start + SEQUENCE]
        H += part.T @ part
    return H


def e8p_candidates(x: torch.Tensor) -> torch.Tensor:
    """The nearest E8P words by QuIP#'s table: with parity set right on the last coordinate, 1366 candidates are left for each shift."""
    S = e8p_reference.entries()
    table = []
    for s in S:
        for flipped in [None, *(j for j in range(7) if s[j] == 0.5)]:
            signs = np.ones(8)
            signs[[] if flipped is None else [flipped]] = -1
            signs[7] = -1 if (int(s.sum()) % 2 == 1) != (flipped is not None) else 1
            table.append(s * signs)
    T = torch.from_numpy(np.array(table)).to(x.dtype)
    half = 0.5 * (T * T).sum(1)
    words, distances = [], []
    for t in (0.25, -0.25):
        y = x - t
        signs = torch.where(y < 0, -1.0, 1.0).to(x.dtype)
        signs[:, 7] *= signs.prod(1)
        word = T[torch.cat([torch.addmm(half, part, T.T, beta=-1).argmax(1) for part in (y * signs).split(CANDIDATE_ROWS)])] * signs + t
        words.append(word)
        distances.append(((x - word) ** 2).sum(1))
    return torch.where((distances[0] <= distances[1])[:, None], *words)


def centroid_products(x: torch.Tensor, C: torch.Tensor) -> torch.Tensor:
    """The nearest centroids by one matrix product a block of vectors."""
    half = 0.5 * (C * C).sum(1)
    return torch.cat([torch.addmm(half, part, C.T, beta=-1).argmax(1) for part in x.split(CANDIDATE_ROWS)])


def shared_symbols(integers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers column after column, counted from the least, and the share of each value."""
    symbols = (integers.T.ravel() - integers.min()).astype(np.int32)
    return symbols, np.bincount(symbols) / len(symbols)


def range_encoded(symbols: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The words of symbols under one model."""
    import constriction  # which a machine that times other peers may lack

    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols, constriction.stream.model.Categorical(probabilities, perfect=False))
    return encoder.get_compressed()


def range_decoded(words: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """The symbols of words under one model."""
    import constriction  # which a machine that times other peers may lack

    model = constriction.stream.model.Categorical(probabilities, perfect=False)
    return constriction.stream.queue.RangeDecoder(words).decode(model, count)


def range_coder(symbols: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Encode and decode with one model."""
    return range_decoded(range_encoded(symbols, probabilities), probabilities, len(symbols))


def ans_by_columns(integers: np.ndarray) -> np.ndarray:
    """Encode and decode with asymmetric numeral systems, a histogram for each column; what was coded last is decoded first."""
    import constriction  # as above

    m, low = len(integers), int(integers.min())
    columns = (integers.T - low).astype(np.int32)
    models = [constriction.stream.model.Categorical(np.bincount(column, minlength=2) / m, perfect=False) for column in columns]
    coder = constriction.stream.stack.AnsCoder()
    for column, model in zip(columns[::-1], models[::-1], strict=True):
        coder.encode_reverse(column, model)
    reader = constriction.stream.stack.AnsCoder(coder.get_compressed())
    return np.stack([reader.decode(model, m) for model in models], axis=1) + low
