"""One measured point: coded, decoded, compared with the original."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import code_length, count_codes, decode, encode, mean_column_entropy, pooled_entropy, reconstruct
from rdtools.errors import CorruptFile
from rdtools.hessians.layer import Layer
from rdtools.measure.distortion import weighted_error
from rdtools.records import RATE_KIND_OF_MODEL, QuantizedLayer, QuantizedWeight, RDPoint


def same_weight(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    """Whether two quantized weights are equal to the bit."""

    def same_array(x: NDArray[Any] | None, y: NDArray[Any] | None) -> bool:
        return (x is None and y is None) or (x is not None and y is not None and np.array_equal(x, y))

    return (
        same_array(a.codes, b.codes)
        and same_array(a.step_exponents, b.step_exponents)
        and same_array(a.row_scales, b.row_scales)
        and same_array(a.live, b.live)
        and (a.step, a.code_model, a.offset, a.gain_std, a.rotation) == (b.step, b.code_model, b.offset, b.gain_std, b.rotation)
    )


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
    """
    weight = quantized.weight
    container = encode(weight)
    decoded = decode(container.data, name=quantized.method)
    if not same_weight(decoded, weight):
        raise CorruptFile(
            f"{layer.key.name}: {quantized.method}: the coded file does not decode to what was encoded; "
            "a fault of rdtools or of this machine: please report it"
        )
    moment = layer.hessian.matrix
    error = weighted_error(layer.weight, reconstruct(decoded), moment)
    signal = weighted_error(layer.weight, np.zeros_like(layer.weight), moment)
    counts = count_codes(weight.codes)
    size = layer.weight.size
    coded_share = weight.codes.size / size
    payload = 8 * container.payload_bytes / size
    coded = 8 * len(container.data) / size
    return RDPoint(
        distortion=error.mean,
        distortion_stderr=error.stderr,
        relative_distortion=error.mean / signal.mean if signal.mean > 0 else float("nan"),
        rate_kind=RATE_KIND_OF_MODEL[weight.code_model.kind],
        code_rate_bits=code_length(weight, counts) / size,
        entropy_shared_bits=pooled_entropy(counts) * coded_share,
        entropy_column_bits=mean_column_entropy(counts) * coded_share,
        payload_bits=payload,
        side_info_bits=coded - payload,
        coded_bits=coded,
    )
