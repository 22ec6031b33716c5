"""Successive cancellation with a trellis of cosets on the GPU: a program for each segment of rows, its costs in registers.

The search is that of `rdtools.kernels.coset_trellis_numba`, with its roundings: distances in float64, costs in float32. Beside its cost
every state carries the last 32 inputs of its walk, which are stored once in 32 − ν rows: they hold the inputs of these rows and, above
them, the state before, so that the way back takes one dependent load for so many rows, and all rows then find their cosets side by side.
Rows of different segments never meet, so that a program takes its segment through all columns of a strip.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels._triton import divide, rint
from rdtools.kernels.coset_trellis_reference import NEVER, RENEW, butterfly_labels
from rdtools.kernels.sic_sweep_triton import PANEL, STRIP, _strips, exact_products
from torch import Tensor

#: Rows, and columns that are fed back to, which a program works on side by side: heuristics, not tuned on a device.
ROWS, COLUMNS = 32, 16
#: States of a warp's registers.
STATES_PER_WARP = 256


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _point(x, coset, reach):  # type: ignore[no-untyped-def]
    return 4.0 * tl.minimum(tl.maximum(rint((x - coset) * 0.25), -reach), reach) + coset


# The barriers let the threads of a program see what the others have stored: without one they may read what was there before.
@triton.jit(do_not_specialize=["m", "segment", "start", "p", "reach"])  # type: ignore[untyped-decorator, unused-ignore]
def _decide_strip(  # type: ignore[no-untyped-def]
    feedback, feedback_row, factor, n, spacings, labels, integers, error, residual, targets, distances, marks, words,
    m, segment, start, p, reach,
    STATES: tl.constexpr, STATE_BITS: tl.constexpr, RENEW: tl.constexpr, NEVER: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEEPS_RESIDUAL: tl.constexpr,
):  # fmt: skip
    """Decide columns start … start + p − 1 of a segment; a column of `error` holds its weights until it is decided.

    Scratch: targets (m,) float64, distances (m, 4) float32, marks (segments, blocks, STATES) and words (segments, blocks) int32.
    """
    HALF: tl.constexpr = STATES // 2
    STEPS: tl.constexpr = 32 - STATE_BITS
    first = tl.program_id(0).to(tl.int64) * segment
    count = tl.minimum(m - first, segment).to(tl.int32)
    blocks = (count + STEPS - 1) // STEPS
    most = (segment + STEPS - 1) // STEPS
    marks += tl.program_id(0).to(tl.int64) * most * STATES
    words += tl.program_id(0).to(tl.int64) * most
    lane, far = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    state = tl.arange(0, STATES)
    label = tl.load(labels + tl.arange(0, HALF))
    odd, swapped = (label & 1) != 0, (label & 2) != 0
    edge = reach.to(tl.float64)
    for k in range(0, p):
        i = p - 1 - k
        column = start.to(tl.int64) + i
        pivot, spacing = tl.load(factor + column * n + column), tl.load(spacings + column)
        width = spacing * pivot
        for top in range(0, count, ROWS):
            inside = top + lane < count
            row = first + top + lane
            e = tl.load(error + row * n + column, mask=inside, other=0.0)
            y = tl.load(feedback + row * feedback_row + i, mask=inside, other=0.0)
            x = divide(e * pivot + y, width + tl.zeros_like(y)).to(tl.float64)
            tl.store(targets + row, x, mask=inside)
            for coset in tl.static_range(4):
                d = x - _point(x, coset * 1.0, edge)
                tl.store(distances + row * 4 + coset, (d * d).to(tl.float32), mask=inside)
        tl.debug_barrier()
        cost = tl.where(state == 0, 0.0, NEVER).to(tl.float32)
        inputs = state
        at = distances + first * 4
        d0, d1, d2, d3 = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
        for t in range(0, count):
            near, other = tl.where(odd, d1, d0), tl.where(odd, d3, d2)
            straight, across = tl.where(swapped, other, near), tl.where(swapped, near, other)
            # the next row's distances are under way while costs are compared
            at = distances + (first + tl.minimum(t + 1, count - 1)) * 4
            d0, d1, d2, d3 = tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)
            a, b = tl.split(tl.trans(tl.reshape(cost, (2, HALF))))
            f, g = tl.split(tl.trans(tl.reshape(inputs, (2, HALF))))
            even, uneven = b + across < a + straight, b + straight < a + across
            cost = tl.reshape(tl.join(tl.where(even, b + across, a + straight), tl.where(uneven, b + straight, a + across)), (STATES,))
            inputs = tl.reshape(tl.join(tl.where(even, g, f) << 1, (tl.where(uneven, g, f) << 1) | 1), (STATES,))
            if t % RENEW == 0:
                cost -= tl.min(cost, axis=0)
            if ((t + 1) % STEPS == 0) | (t + 1 == count):
                tl.store(marks + t // STEPS * STATES + state, inputs)
        last = tl.argmin(cost, axis=0)
        tl.debug_barrier()
        for back in range(0, blocks):
            block = blocks - 1 - back
            word = tl.load(marks + block * STATES + last)
            tl.store(words + block, word)
            last = (word >> (tl.minimum((block + 1) * STEPS, count) - block * STEPS)) & (STATES - 1)
        tl.debug_barrier()
        for top in range(0, count, ROWS):
            inside = top + lane < count
            row = first + top + lane
            block = (top + lane) // STEPS
            word = tl.load(words + block, mask=inside, other=0)
            walked = word >> tl.where(inside, tl.minimum((block + 1) * STEPS, count) - 1 - top - lane, 0)
            turned = (walked ^ (walked >> STATE_BITS)) & 1
            coset = tl.load(labels + ((walked >> 1) & (HALF - 1))) ^ (2 * turned)
            q = _point(tl.load(targets + row, mask=inside, other=0.0), coset.to(tl.float64), edge)
            tl.store(integers + row * n + column, q.to(tl.int32), mask=inside)
            e = tl.load(error + row * n + column, mask=inside, other=0.0)
            e = (e.to(tl.float64) - spacing.to(tl.float64) * q).to(e.dtype)
            if KEEPS_RESIDUAL:
                y = tl.load(feedback + row * feedback_row + i, mask=inside, other=0.0)
                tl.store(residual + row * n + column, y + e * pivot, mask=inside)
            for low in range(0, i, COLUMNS):
                both = inside[:, None] & (low + far < i)[None, :]
                address = feedback + row[:, None] * feedback_row + (low + far)[None, :]
                L = tl.load(factor + column * n + start + low + far, mask=low + far < i, other=0.0)
                tl.store(address, tl.load(address, mask=both, other=0.0) + e[:, None] * L[None, :], mask=both)
            tl.debug_barrier()  # before it e is read by lanes that another lane writes for
            tl.store(error + row * n + column, e, mask=inside)
        tl.debug_barrier()


def coset_trellis_sweep(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    states: int,
    *,
    segment: int,
    integer_max: int,
    residual: bool = True,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Same as `rdtools.kernels.coset_trellis_reference.coset_trellis_sweep`, for tensors on one device.

    It decides as the CPU's kernel does; sums over panels and strips are the device's, so that walks may differ where two are equally
    near to rounding.
    """
    (m, n), device = weight.shape, weight.device
    L, spacings = factor.to(weight.dtype).contiguous(), (0.5 * steps).to(weight.dtype)
    integers = torch.empty((m, n), dtype=torch.int32, device=device)
    final = torch.empty((m, n) if residual else (1, 1), dtype=weight.dtype, device=device)
    if m * n == 0:
        return integers, final if residual else None
    segment, bits = min(segment, m), states.bit_length() - 1
    walks, blocks = triton.cdiv(m, segment), triton.cdiv(segment, 32 - bits)
    labels = torch.from_numpy(butterfly_labels(states)).to(device, torch.int32)
    targets, distances = (torch.empty(shape, dtype=kind, device=device) for shape, kind in (((m,), torch.float64), ((m, 4), torch.float32)))
    marks, words = (torch.empty(shape, dtype=torch.int32, device=device) for shape in ((walks, blocks, states), (walks, blocks)))
    error = torch.empty((m, n), dtype=weight.dtype, device=device).copy_(weight)
    outer = torch.empty((m, min(PANEL, n)), dtype=weight.dtype, device=device)
    with exact_products(weight):
        for start, width, y in _strips(L, error, outer, STRIP):
            _decide_strip[(walks,)](
                y, y.stride(0), L, n, spacings, labels, integers, error, final, targets, distances, marks, words,
                m, segment, start, width, integer_max // 4 - 1,
                STATES=states, STATE_BITS=bits, RENEW=RENEW, NEVER=NEVER, ROWS=ROWS, COLUMNS=COLUMNS, KEEPS_RESIDUAL=residual,
                num_warps=max(1, states // STATES_PER_WARP), enable_fp_fusion=False,
            )  # fmt: skip
    return integers, final if residual else None
