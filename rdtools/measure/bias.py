"""The bias that runs beside quantized weights, where distortion is measured."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array, times_vector
from rdtools.coding import rows_of
from rdtools.errors import UsageError
from rdtools.measure import distortion
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.records import QuantizedWeight


def bias_rounding_distortion(layer: Layer, weight: QuantizedWeight) -> float:
    """``Σ_k ((W − Ŵ) μ − b)_k²/(m n)``: what the rounding of a bias to its stored numbers adds to D; 0 without a bias or a mean.

    With the bias that is best, D is the error under the covariance of the input and this. Against numbers of 8 bits it is about 2.7e-6 of
    ``b²``, and so is most of D where the mean of a channel is hundreds of times what varies.
    """
    bias, mean = weight.parts.bias, layer.hessian.mean
    if bias is None or mean is None:
        return 0.0
    rounding = 0.0
    for rows, block in rows_of(weight, distortion.BLOCK_ENTRIES):
        shifts = times_vector(layer.in_memory.weight[rows] - block, mean)
        rounding += float(np.square(shifts - bias.values[rows]).sum())
    return rounding / math.prod(layer.weight.shape)


def bias_beside(layer: Layer, weight: QuantizedWeight, heldout: HeldoutMoment | None = None) -> dict[str, Float64Array]:
    """Arguments `bias` and `mean` of `rdtools.measure.distortion.errors_of`; none without a bias.

    Raises
    ------
    UsageError
        If the layer's Hessian, or the held-out moment, has no mean.
    """
    if weight.parts.bias is None:
        return {}
    mean = layer.hessian.mean
    if heldout is not None and heldout.mean is None:
        raise UsageError(
            f"{layer.key.name}: a bias beside {heldout.name} without a mean of the input, expected one: HeldoutMoment.of(moment, mean=…)"
        )
    if mean is None:
        raise UsageError(f"{layer.key.name}: a bias beside a Hessian without a mean of the input, expected one: collect it again")
    return {"bias": weight.parts.bias.values, "mean": mean}
