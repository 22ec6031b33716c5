"""Arithmetic that Triton's kernels share, rounded as on the CPU."""

from __future__ import annotations

import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def divide(x, y):  # type: ignore[no-untyped-def]
    """Quotient, correctly rounded: Triton's own operator is two units off in float32."""
    if x.dtype == tl.float32:
        return tl.div_rn(x, y)
    else:
        return x / y


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def rint(x):  # type: ignore[no-untyped-def]
    """The nearest integer, the even one of two; from floor, because the interpreter has no library for devices."""
    below = tl.floor(x)
    rest = x - below
    odd = below - 2.0 * tl.floor(below * 0.5) > 0.5
    return tl.where((rest > 0.5) | ((rest == 0.5) & odd), below + 1.0, below)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def uniform(key_low, key_high, rows, column):  # type: ignore[no-untyped-def]
    """Same as `rdtools.kernels.philox_reference.uniform`, in float32."""
    row = rows.to(tl.uint32)
    zero = row * 0
    low, high = zero + key_low.to(tl.uint32), zero + key_high.to(tl.uint32)
    word, _, _, _ = tl.philox_impl(zero + column.to(tl.uint32), row, zero, zero, low, high)
    return (word >> 8).to(tl.float32) * (2.0**-24)
