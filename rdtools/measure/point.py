"""One measured point: coded, decoded, compared with the original."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from rdtools.coding import code_length, column_levels, count_codes, decode, encode, mean_column_entropy, pooled_entropy, reconstruct
from rdtools.errors import CorruptFile, WrongType
from rdtools.hessians.layer import Layer
from rdtools.measure.distortion import weighted_error
from rdtools.records import (
    RATE_KIND_OF_MODEL,
    Basis,
    LatticeCodes,
    QuantizedLayer,
    QuantizedWeight,
    RDPoint,
    ScalarCodes,
    TrellisCodes,
)
from rdtools.transforms.one_thread import one_blas_thread

_PARTS = (QuantizedWeight, Basis, ScalarCodes, LatticeCodes, TrellisCodes)


def same_weight(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    """Whether two quantized weights are equal to the bit."""

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, np.ndarray):
            return isinstance(y, np.ndarray) and x.dtype == y.dtype and np.array_equal(x, y)
        if isinstance(x, tuple):
            return isinstance(y, tuple) and len(x) == len(y) and all(map(same, x, y))
        if isinstance(x, _PARTS):
            return type(x) is type(y) and all(same(getattr(x, f.name), getattr(y, f.name)) for f in fields(x))
        return bool(x == y)

    return same(a, b)


def edge_share(codes: ScalarCodes) -> float:
    """Share of the integers of a fixed-rate grid that are the least or the largest of its levels; nan for other integers."""
    if codes.model.kind != "fixed" or codes.integers.size == 0:
        return float("nan")
    levels = column_levels(codes)
    lowest = -(levels // 2)
    return float(np.mean((levels > 1) & ((codes.integers == lowest) | (codes.integers == lowest + levels - 1))))


def measure(layer: Layer, quantized: QuantizedLayer) -> RDPoint:
    """Code a quantized layer, decode it, and measure what came back.

    The distortion is that of the decoded file, and the file must decode to exactly what was encoded.

    Parameters
    ----------
    layer : the original
    quantized : a quantizer's answer for it

    Raises
    ------
    CorruptFile
        If the file does not decode to what was encoded.
    ShapeMismatch
        If the two do not belong together.
    WrongType
        If they are not a layer and an answer, in this order.
    """
    if not (isinstance(layer, Layer) and isinstance(quantized, QuantizedLayer)):
        raise WrongType(
            f"measure: got {type(layer).__name__} and {type(quantized).__name__}, expected a Layer and what a quantizer answered: "
            "measure(layer, quantizer.quantize(layer))"
        )
    with one_blas_thread():  # many small products are far slower with several
        return _measure(layer, quantized)


def _measure(layer: Layer, quantized: QuantizedLayer) -> RDPoint:
    weight = quantized.weight
    container = encode(weight)
    decoded = decode(container.data, name=quantized.method)
    if not same_weight(decoded, weight):
        raise CorruptFile(
            f"{layer.key.name}: {quantized.method}: the coded file does not decode to what was encoded; "
            "a fault of rdtools or of this machine: please report it"
        )
    moment = layer.hessian.matrix
    rebuilt = reconstruct(decoded)
    error = weighted_error(layer.weight, rebuilt, moment)
    signal = weighted_error(layer.weight, np.zeros_like(layer.weight), moment)
    size = layer.weight.size
    counts, shared, column, edge = None, float("nan"), float("nan"), float("nan")
    if isinstance(weight.codes, ScalarCodes):
        counts, edge = count_codes(weight.codes.integers), edge_share(weight.codes)
        coded_share = weight.codes.integers.size / size
        shared, column = pooled_entropy(counts) * coded_share, mean_column_entropy(counts) * coded_share
    payload = 8 * container.payload_bytes / size
    coded = 8 * len(container.data) / size
    return RDPoint(
        distortion=error.mean,
        distortion_stderr=error.stderr,
        relative_distortion=error.mean / signal.mean if signal.mean > 0 else float("nan"),
        squared_error=float(np.mean((layer.weight - rebuilt) ** 2)),
        edge_share=edge,
        rate_kind=RATE_KIND_OF_MODEL[weight.codes.model.kind] if isinstance(weight.codes, ScalarCodes) else "fixed",
        code_rate_bits=code_length(weight, counts) / size,
        entropy_shared_bits=shared,
        entropy_column_bits=column,
        payload_bits=payload,
        side_info_bits=coded - payload,
        coded_bits=coded,
    )
