"""The bias of least error beside a quantized weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rdtools.arrays import times_vector
from rdtools.coding import rows_of
from rdtools.moments.layer import Layer
from rdtools.records import QuantizedWeight, RowBias

#: Weights that are decoded at a time.
BLOCK_ENTRIES = 2**22


def with_bias(weight: QuantizedWeight, layer: Layer) -> QuantizedWeight:
    """A weight beside ``b = (W − Ŵ) μ``, μ the mean of the layer's input, rounded as it is stored.

    Rounding leaves ``(b − (W − Ŵ) μ)²``, about 2.7e-6 of b² (2⁻⁷ between numbers, log-uniform mantissas), which D counts. That is
    little unless a mean is hundreds of times what varies in the input.

    Parameters
    ----------
    weight : decided for the covariance of the input
    layer : the original, whose Hessian has the mean

    References
    ----------
    Derived for this project; see `rdtools.theory.bias_correction.best_bias`.
    """
    mean = layer.hessian.mean
    assert mean is not None  # the input was centred by it
    bias = np.empty(len(layer.weight))
    for rows, block in rows_of(weight, BLOCK_ENTRIES, layer.weight):
        bias[rows] = times_vector(layer.weight[rows] - block, mean)
    return replace(weight, parts=replace(weight.parts, bias=RowBias.rounded(bias, name=f"{layer.key.name}: bias")))
