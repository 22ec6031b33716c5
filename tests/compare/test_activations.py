"""What no weights take away of the error of quantized activations."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.compare.activations import activation_point
from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer


@pytest.mark.parametrize("staggered", [False, True])
def test_behind_a_split_the_bound_is_that_of_the_moments_with_their_pseudo_inverse(staggered):
    """``tr(W (Σ_x − Σ_xx̂ Σ_x̂⁺ Σ_x̂x) Wᵀ)/(mn)`` to 1e-6: equal copies make the moment of x̂ singular, and no row without its bound."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 12)) * np.where(np.arange(12) == 3, 20.0, 1.0)
    layer = Layer.of(rng.standard_normal((9, 12)), x.T @ x / 600)
    quantizer = parse_method(f"qllm-w4a4(threshold=0.4,staggered={staggered},correction_rank=0)", 4)
    sums = ActivationAccumulator(quantizer.choose_map([layer], x, seed=0), quantizer.activation)
    assert sums.input_map.copies.max() == 3
    sums.add(x)
    activations = sums.finish(layer.hessian.matrix, name="x")
    answer = quantizer.quantize(layer, activations=activations)
    bound = activation_point(layer, answer.weight, activations).reduced_rank_bound_distortion
    moments = activations.moments
    explained = moments.cross @ np.linalg.pinv(moments.actual, rcond=1e-9, hermitian=True) @ moments.cross.T
    assert bound == pytest.approx(np.trace(layer.weight @ (moments.reference - explained) @ layer.weight.T) / 108, rel=1e-6)
    assert 0 < bound < measure(layer, answer, moments=moments).distortion
