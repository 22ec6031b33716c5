"""Layers quantized beside the activations that methods need, where tests run every method."""

from __future__ import annotations

import numpy as np

from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import Quantizer, quantizes_activations
from rdtools.records import QuantizedLayer


def quantize(quantizer: Quantizer, layer: Layer, inputs: np.ndarray) -> QuantizedLayer:
    """A layer and the (tokens, n) inputs behind its Hessian."""
    if not quantizes_activations(quantizer):
        return quantizer.quantize(layer)
    chain = quantizer.choose_map([layer], inputs, seed=0)
    sums = ActivationAccumulator(chain, quantizer.choose_grid([layer], inputs, chain))
    sums.add(inputs)
    return quantizer.quantize(layer, activations=sums.finish(layer.hessian.matrix, name="x"))
