"""Multiplication by a Hadamard matrix on the GPU: the core as a matrix product, Sylvester's part in registers."""

from __future__ import annotations

import math

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels._triton import divide
from rdtools.kernels.sic_sweep_triton import exact_products
from torch import Tensor

#: The longest Sylvester transform of one program, and elements that it has in registers: heuristics, not tuned on a device.
LONGEST, TILE = 2**13, 2**12


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _sylvester(  # type: ignore[no-untyped-def]
    x, root, groups, c, ORDER: tl.constexpr, LEVELS: tl.constexpr, GROUPS: tl.constexpr, LAST: tl.constexpr
):
    """In place over s of x[r, s, t], (…, ORDER, c); a group is a pair (r, t).

    Every level takes sums and differences of neighbours and writes halves apart (Pease's constant geometry).
    """
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    offset = (group // c * ORDER * c + group % c)[:, None] + tl.arange(0, ORDER).to(tl.int64)[None, :] * c
    inside = (group < groups)[:, None] & (tl.arange(0, ORDER) >= 0)[None, :]
    y = tl.load(x + offset, mask=inside, other=0.0)
    for _ in tl.static_range(LEVELS):
        a, b = tl.split(tl.reshape(y, (GROUPS, ORDER // 2, 2)))
        y = tl.reshape(tl.permute(tl.join(a + b, a - b), (0, 2, 1)), (GROUPS, ORDER))
    if LAST:
        y = divide(y, tl.load(root) + tl.zeros_like(y))
    tl.store(x + offset, y, mask=inside)


def hadamard_inplace(
    x: Tensor,  # (m, n)
    core: Tensor,  # (c, c), n = 2^k c
) -> None:
    """Same as `rdtools.kernels.hadamard_reference.hadamard_inplace`; x has to be contiguous."""
    (m, n), c = x.shape, len(core)
    if x.numel() == 0:
        return
    root = torch.full((1,), math.sqrt(n), dtype=x.dtype, device=x.device)
    with exact_products(x):
        if c > 1:
            x.copy_((x.view(-1, c) @ core.to(x.dtype)).view(m, n))
        remaining, inner = n // c, c
        while remaining:
            order = min(remaining, LONGEST)
            groups, per_program, last = x.numel() // order, max(1, TILE // order), order == remaining
            _sylvester[(triton.cdiv(groups, per_program),)](
                x, root, groups, inner, ORDER=order, LEVELS=order.bit_length() - 1, GROUPS=per_program, LAST=last,
                enable_fp_fusion=False,
            )  # fmt: skip
            remaining, inner = 0 if last else remaining // order, inner * order
