"""Viterbi's search on the GPU: a program for each sequence, its costs in global memory, which caches keep near it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

#: Costs that a program has in registers, and bytes of scratch for the sequences of one launch: heuristics, not tuned on a device.
TILE, SCRATCH = 2**11, 2**30


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _errors(x, values, branch, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DIMENSION: tl.constexpr):  # type: ignore[no-untyped-def]
    """Squared distance of the weights at x to the values of the states (ROWS, COLUMNS) at `place`."""
    total = tl.zeros((ROWS, COLUMNS), dtype=x.dtype.element_ty)
    for v in tl.static_range(DIMENSION):
        d = tl.load(values + branch * DIMENSION + v) - tl.load(x + v)
        total += d * d
    return total


# All numbers of states and classes are powers of two that blocks divide, so that every place exists and no load needs a mask.
@triton.jit(do_not_specialize=["first", "steps"])  # type: ignore[untyped-decorator, unused-ignore]
def _viterbi(  # type: ignore[no-untyped-def]
    sequences, first, values, overlaps, cost, back, states, steps,
    STATES: tl.constexpr, FAN: tl.constexpr, DIMENSION: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """The best states of each sequence as a circle that is read from `first` on; of FAN states that follow each, BLOCK classes at a time.

    Overlaps: what the first state begins and the last one ends with, −1 for anything. Scratch for each sequence: cost (2, STATES), where
    steps take turns, and back (steps, STATES / FAN). The barriers let the threads of a program see what the others have stored.
    """
    CLASSES: tl.constexpr = STATES // FAN
    s = tl.program_id(0).to(tl.int64)
    sequences += s * steps * DIMENSION
    cost += s * 2 * STATES
    back += s * steps * CLASSES
    states += s * steps
    overlap = tl.load(overlaps + s)
    block, fan = tl.arange(0, BLOCK), tl.arange(0, FAN)
    for top in range(0, CLASSES, BLOCK):
        c = top + block
        branch = c[:, None] * FAN + fan[None, :]
        error = _errors(sequences + first * DIMENSION, values, branch, BLOCK, FAN, DIMENSION)
        allowed = (overlap < 0) | (c == overlap)
        tl.store(cost + branch, tl.where(allowed[:, None], error, float("inf")))
    tl.debug_barrier()
    for t in range(1, steps):
        old, new = cost + (t + 1) % 2 * STATES, cost + t % 2 * STATES
        x = sequences + (first + t) % steps * DIMENSION
        back += CLASSES
        for top in range(0, CLASSES, BLOCK):
            c = top + block
            least, choice = tl.min(tl.load(old + fan[:, None] * CLASSES + c[None, :]), axis=0, return_indices=True)
            tl.store(back + c, choice.to(tl.uint8))
            branch = c[:, None] * FAN + fan[None, :]
            tl.store(new + branch, least[:, None] + _errors(x, values, branch, BLOCK, FAN, DIMENSION))
        tl.debug_barrier()
    last = cost + (steps + 1) % 2 * STATES
    lowest = tl.full((), float("inf"), dtype=cost.dtype.element_ty)
    state = tl.full((), 0, dtype=tl.int32)
    for top in range(0, STATES, WIDTH):
        j = top + tl.arange(0, WIDTH)
        allowed = (overlap < 0) | (j % CLASSES == overlap)
        least, at = tl.min(tl.where(allowed, tl.load(last + j), float("inf")), axis=0, return_indices=True)
        state = tl.where(least < lowest, top + at, state)
        lowest = tl.minimum(lowest, least)
    tl.store(states + steps - 1, state)
    for k in range(1, steps):
        c = state // FAN
        state = tl.load(back + c).to(tl.int32) * CLASSES + c
        tl.store(states + steps - 1 - k, state)
        back -= CLASSES


def trellis_quantize(
    sequences: Tensor,  # (S, T)
    values: Tensor,  # (2^L, V)
    bits_per_weight: int,
    tail_biting: bool,
) -> tuple[Tensor, Tensor]:
    """Same as `rdtools.kernels.trellis_reference.trellis_quantize`; costs in the dtype of the sequences.

    Of paths equally near, to rounding, it may take another.
    """
    (S, T), (count, V), dtype = sequences.shape, values.shape, sequences.dtype
    n, fan, device = T // V, 2 ** (bits_per_weight * V), sequences.device
    x, table = sequences.contiguous(), values.to(dtype).contiguous()
    states = torch.empty((S, n), dtype=torch.int32, device=device)
    batch = min(S, max(1, SCRATCH // (2 * count * dtype.itemsize + n * (count // fan))))
    cost = torch.empty((batch, 2, count), dtype=dtype, device=device)
    back = torch.empty((batch, n, count // fan), dtype=torch.uint8, device=device)
    free = torch.full((batch,), -1, dtype=torch.int32, device=device)
    block, width = min(count // fan, max(1, TILE // fan)), min(count, TILE)

    def search(rows: Tensor, first: int, overlaps: Tensor, part: Tensor) -> None:
        _viterbi[(len(rows),)](
            rows, first, table, overlaps, cost, back, part, n,
            STATES=count, FAN=fan, DIMENSION=V, BLOCK=block, WIDTH=width, enable_fp_fusion=False,
        )  # fmt: skip

    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        for start in range(0, S, max(batch, 1)):
            rows, part = x[start : start + batch], states[start : start + batch]
            overlaps = free
            if tail_biting:
                search(rows, (n - n // 2) % n, free, part)
                overlaps = (part[:, n // 2] // fan).contiguous()
            search(rows, 0, overlaps, part)
    return states, values[states].reshape(S, T)
