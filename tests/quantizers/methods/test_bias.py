"""A bias per row beside quantized weights: decoded, measured, counted, and best."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rdtools.coding import decode, effective_layer, encode
from rdtools.compare import layer_facts, result_row
from rdtools.errors import ShapeMismatch, UnknownMethod, UsageError
from rdtools.measure import error, measure
from rdtools.methods import format_method, parse_method
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.quantizers import Preparation
from rdtools.records import EffectiveLayer, Hessian, InputMap, InputMoments, RowBias

M, N = 24, 16
METHODS = (
    "rtn",
    "hrtn",
    "gptq",
    "hptq",
    "watersic",
    "watersic-mmse(damping=0.0001)",
    "watersic-trellis",
    "watersic-e8",
    "hptq-waterfilled",
)


@pytest.fixture(scope="module")
def inputs():
    """Tokens with a mean three times as large as what is left; those of another text."""
    rng = np.random.default_rng(0)
    mix, mean = rng.standard_normal((N, N)) / 4, 3 * rng.standard_normal(N)
    return tuple(rng.standard_normal((500, N)) @ mix + mean * scale for scale in (1.0, 0.9))


@pytest.fixture(scope="module")
def layer(inputs):
    return Layer.from_activations(np.random.default_rng(1).standard_normal((M, N)), inputs[0])


def _loss(layer, effective, x):
    return np.square(x @ layer.weight.T - effective.apply(x)).sum(1).mean() / (M * N)


@pytest.mark.parametrize("name", METHODS)
def test_the_decoded_file_has_the_distortion_of_tokens_run_through(layer, inputs, name):
    """To 1e-9, calibration's and held out; 16 bits per row in all; integers of the covariance, and D below that without a bias."""
    quantizer = parse_method(f"{name}+bias", 4)
    assert format_method(quantizer) == f"{name}+bias"
    answer = quantizer.quantize(layer)
    held = HeldoutMoment.of(inputs[1].T @ inputs[1] / len(inputs[1]))
    held = dataclasses.replace(held, mean=inputs[1].mean(0))
    point = measure(layer, answer, held)
    effective = effective_layer(decode(encode(answer.weight).data))
    assert point.distortion == pytest.approx(_loss(layer, effective, inputs[0]), rel=1e-9)
    assert point.distortion == pytest.approx(error(layer, effective).mean, rel=1e-12)
    energy = np.square(inputs[1] @ layer.weight.T).sum(1).mean() / (M * N)
    assert point.heldout_distortion == pytest.approx(_loss(layer, effective, inputs[1]) / energy, rel=1e-9)
    alone = dataclasses.replace(answer.weight, parts=dataclasses.replace(answer.weight.parts, bias=None))
    assert len(encode(answer.weight).data) == len(encode(alone).data) + 2 * M + 1  # and a byte that says which parts there are
    with pytest.raises(UsageError, match="without a mean of the input"):
        measure(layer, answer, dataclasses.replace(held, mean=None))
    plain = measure(layer, parse_method(name, 4).quantize(layer))
    assert point.distortion < plain.distortion
    assert point.overhead_bpw == pytest.approx(point.total_bpw - point.symbol_bpw)


def test_integers_are_those_of_the_covariance(layer):
    """What is quantized for H − μμᵀ of an input without a mean is the same to the bit."""
    centred = layer.hessian.matrix - np.outer(layer.hessian.mean, layer.hessian.mean)
    other = Layer.of(layer.weight, Hessian(centred, layer.hessian.n_tokens, name=layer.hessian.name, mean=np.zeros(N)))
    one, two = (parse_method("hptq+bias", 4).quantize(some).weight for some in (layer, other))
    np.testing.assert_array_equal(one.symbols.integers, two.symbols.integers)
    assert not two.parts.bias.values.any()


def test_no_other_bias_is_better(layer, inputs):
    """b is the nearest bfloat16 to E[(W − Ŵ) x]: a step up or down in any row costs."""
    weight = parse_method("rtn+bias", 3).quantize(layer).weight
    exact = (inputs[0] @ (layer.weight - weight.dequantize()).T).mean(0)
    bias = weight.parts.bias.values
    assert (np.abs(bias - exact) <= 2.0**-8 * np.abs(exact)).all()
    effective = effective_layer(weight)
    for factor in (1 - 2.0**-7, 1 + 2.0**-7):
        moved = dataclasses.replace(effective, bias=RowBias.rounded(bias * factor))
        assert error(layer, moved).mean > error(layer, effective).mean


def test_a_constant_input_costs_nothing_and_loses_nothing(inputs):
    """Its column is not coded; the bias does what it does."""
    x = inputs[0].copy()
    x[:, 3] = 7.0
    layer = Layer.from_activations(np.random.default_rng(1).standard_normal((M, N)), x)
    answer = parse_method("gptq+bias", 4).quantize(layer)
    assert answer.weight.basis.active.tolist() == [number != 3 for number in range(N)]
    assert measure(layer, answer).distortion == pytest.approx(_loss(layer, effective_layer(answer.weight), x), rel=1e-9)


def test_theory_beside_it_is_of_the_covariance(layer):
    """Bounds and predictions of the row: those of the layer with the covariance in place of H; D₀ and status are the layer's own."""
    quantizer = parse_method("hptq+bias", 4)
    answer = quantizer.quantize(layer)
    row = result_row(layer, quantizer, answer)
    centred = layer_facts(layer.centred)
    other = parse_method("hptq", 4)
    beside = result_row(layer.centred, other, other.quantize(layer.centred), facts=centred)
    assert row.pred_high_rate_distortion == beside.pred_high_rate_distortion
    assert row.pred_finite_rate_distortion == beside.pred_finite_rate_distortion
    # b is rounded: D is a little larger
    assert row.rd_bound_rate_bpw == pytest.approx(beside.rd_bound_rate_bpw, abs=1e-3)
    assert row.rate_gap_total_bpw > 0
    assert np.isnan(row.pred_heldout_over_calibration)
    assert row.point.relative_distortion == row.point.distortion / layer.statistics.energy


def test_what_a_bias_cannot_stand_beside_is_refused(layer):
    bare = Layer.of(layer.weight, layer.hessian.matrix, name="1.k_proj")
    with pytest.raises(UsageError, match=r"1\.k_proj: Hessian: no mean of the input, which a bias per row needs; collect the"):
        parse_method("gptq+bias", 3).quantize(bare)
    with pytest.raises(UsageError, match=r"1\.k_proj: a bias beside a Hessian without a mean"):
        parse_method("gptq+bias", 3).quantize(layer).weight.measure(bare)
    drift = InputMoments.drifted(layer.hessian.matrix, layer.hessian.matrix + np.eye(N), layer.hessian.matrix)
    with pytest.raises(UsageError, match="drift beside a bias per row"):
        Preparation(centred=True, drift=drift)
    effective = EffectiveLayer(layer.weight, InputMap(columns=N), bias=RowBias(np.zeros(M)))
    with pytest.raises(UsageError, match="a bias, expected plain moments with a mean"):
        error(layer, effective, drift)
    for name in ("quip", "qtip", "crvq", "gptq-w4a4", "lrc-w4a4-r0.1"):
        with pytest.raises(UnknownMethod, match=f"{name} has no bias per row to choose"):
            parse_method(f"{name}+bias", 3)


def test_a_bias_of_another_length_is_refused():
    with pytest.raises(ShapeMismatch, match="a bias of 3 numbers, expected 2, one per row"):
        EffectiveLayer(np.ones((2, 4)), InputMap(columns=4), bias=RowBias(np.zeros(3)))
    with pytest.raises(ShapeMismatch, match=r"bias: shape \(1, 2\), expected \(m,\)"):
        RowBias(np.zeros((1, 2)))
    with pytest.raises(UsageError, match="expected values of bfloat16"):
        RowBias(np.array([0.1]))


def test_all_bits_of_a_layer_count_its_bias():
    effective = EffectiveLayer(np.ones((2, 4)), InputMap(columns=4), bias=RowBias(np.array([1.0, -2.0])))
    assert effective.total_bpw(8.0) == 5.0
    np.testing.assert_array_equal(effective.apply(np.ones(4)), [5.0, 2.0])
    assert "RowBias(2 rows: 32 bits)" in repr(effective)
