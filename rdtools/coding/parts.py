"""The parts beside the weights of a layer, written and read: grid of its activations, low-rank term, links of its input map, and bias.

Layout::

    which of these are there        u8
    grid of activations             bits u8, symmetric u8, clip f64, group size u32
    its fine channels, if any       channels u32, bits u8
    low-rank term                   rank k u32, dtype u8, then U (m k) and V (n k) by rows, 16, 32 or 64 bits each
    links of the input map          see `rdtools.coding.links`
    bias of the rows                m×bf16
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import format_v3 as v3
from rdtools.coding.fields import Reader, packed
from rdtools.coding.links import decode_links, encode_links
from rdtools.records import ActivationGrid, Basis, LayerParts, LowRank, RowBias
from rdtools.records.row_bias import BIAS_DTYPE
from rdtools.records.stored import StoredDtype, bfloat16_patterns, bfloat16_values, stored_bits

#: All parts that there may be.
_PARTS = v3.HAS_ACTIVATION | v3.HAS_LOW_RANK | v3.HAS_LINKS | v3.HAS_FINE | v3.HAS_BIAS


def _factor_bytes(factor: Float64Array, dtype: StoredDtype) -> bytes:
    if dtype == "bfloat16":
        return bfloat16_patterns(factor).astype("<u2").tobytes()
    return factor.astype(v3.FACTOR_DTYPES[dtype]).tobytes()


def _factor(side: Reader, rows: int, rank: int, dtype: StoredDtype) -> Float64Array:
    data = np.frombuffer(side.take(stored_bits(dtype) // 8 * rows * rank), v3.FACTOR_DTYPES[dtype])
    values = bfloat16_values(data) if dtype == "bfloat16" else data.astype(np.float64)
    return values.reshape(rows, rank)


def coded_columns(basis: Basis, parts: LayerParts) -> int:
    """Number n′ of columns that are coded: the active ones, or what the links of the map make of them."""
    return parts.links[-1].outputs if parts.links else int(basis.active.sum())


def encode_parts(parts: LayerParts) -> bytes:
    """The parts as they stand before the side information of the codec; nothing where there are none."""
    grid, low = parts.activation, parts.low_rank
    body = b""
    if grid is not None:
        body += packed(v3.ACTIVATION_GRID, grid.bits, grid.symmetric, grid.clip, grid.group_size)
        if grid.fine_channels:
            body += packed(v3.FINE_CHANNELS, grid.fine_channels, grid.fine_bits)
    if low is not None:
        body += v3.LOW_RANK.pack(low.rank, list(v3.FACTOR_DTYPES).index(low.dtype))
        body += _factor_bytes(low.left, low.dtype) + _factor_bytes(low.right, low.dtype)
    if parts.links:
        body += encode_links(parts.links)
    if parts.bias is not None:
        body += _factor_bytes(parts.bias.values, BIAS_DTYPE)
    fine = grid is not None and grid.fine_channels > 0
    flags = v3.HAS_ACTIVATION * (grid is not None) | v3.HAS_LOW_RANK * (low is not None) | v3.HAS_LINKS * bool(parts.links)
    flags |= v3.HAS_FINE * fine | v3.HAS_BIAS * (parts.bias is not None)
    return bytes([flags]) + body if flags else b""


def decode_parts(side: Reader, basis: Basis, max_weights: int) -> LayerParts:
    """Read what `encode_parts` wrote, of a layer (m, n).

    Raises
    ------
    CorruptFile
    """
    rows, columns = basis.rows, len(basis.active)
    flags = side.flags("parts of a layer", _PARTS, side.u8())
    if flags == 0:
        raise side.refusal("parts of a layer, of which none is there")
    if flags & v3.HAS_FINE and not flags & v3.HAS_ACTIVATION:
        raise side.refusal("fine channels of activations without a grid of the others")
    grid = low = None
    if flags & v3.HAS_ACTIVATION:
        bits, symmetric, clip, group_size = v3.ACTIVATION_GRID.unpack(side.take(v3.ACTIVATION_GRID.size))
        grid = side.build(ActivationGrid, bits, side.choice("symmetry of activations", (False, True), symmetric), clip, group_size)
        if flags & v3.HAS_FINE:
            channels, fine_bits = v3.FINE_CHANNELS.unpack(side.take(v3.FINE_CHANNELS.size))
            if channels == 0:
                raise side.refusal("0 fine channels of activations, expected at least 1 where they are said to be there")
            grid = side.build(replace, grid, fine_channels=channels, fine_bits=fine_bits)
    if flags & v3.HAS_LOW_RANK:
        rank, dtype_tag = v3.LOW_RANK.unpack(side.take(v3.LOW_RANK.size))
        dtype = side.choice("dtype of factors", tuple(v3.FACTOR_DTYPES), dtype_tag)
        if rank > min(rows, columns):
            raise side.refusal(f"a low-rank term of rank {rank} beside {rows} rows and {columns} columns, expected at most the smaller")
        left = _factor(side, rows, rank, dtype)
        low = side.build(LowRank, left, _factor(side, columns, rank, dtype), dtype)
    links = decode_links(side, int(basis.active.sum()), max_weights // max(rows, 1)) if flags & v3.HAS_LINKS else ()
    bias = side.build(RowBias, _factor(side, rows, 1, BIAS_DTYPE)[:, 0]) if flags & v3.HAS_BIAS else None
    return LayerParts(grid, low, links, bias)
