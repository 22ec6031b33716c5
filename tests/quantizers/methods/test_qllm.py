"""QLLM on one layer: from a sample of activations to a file, and from the file to the layer that was measured."""

from __future__ import annotations

import numpy as np
import pytest
from quantizers.reassembly.outlier_layers import outliers

from rdtools.coding import container_bits, decode, effective_layer, encode
from rdtools.compare import result_row
from rdtools.compare.activations import ActivationInputs, noise_distortion, predicted_noise
from rdtools.errors import RateUnreachable, UsageError
from rdtools.measure import error, measure
from rdtools.methods import format_method, parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import QLLM
from rdtools.records import InputMap


def summed(method, chain, x):
    sums = ActivationAccumulator(chain, method.activation)
    sums.add(x)
    return sums.finish(x.T @ x / len(x), name="input")


def case(method, *, dead=(), seed=0, similar=True):
    x, test, W = outliers(seed, similar=similar, columns=64, rows=24, tokens=1200)
    x[:, list(dead)] = test[:, list(dead)] = 0.0
    layer = Layer.from_activations(W, x, name="q_proj")
    chain = method.choose_map([layer], x, seed=0)
    activations = summed(method, chain, x)
    return layer, activations, method.quantize(layer, activations=activations), x, test


SETTINGS = {
    "qllm-w4a4": {},
    "staggered": {"staggered": True, "correction_rank": 0},
    "balanced gptq": {"balance": True, "rounding": "feedback", "metric": "released"},
    "pruned": {"assembly": "prune", "threshold": 0.4},
    "wider": {"assembly": "none", "weight_bits": 3, "rate_bits": 3.0, "activation_bits": 8},
    "published": {"rescale": False, "fit": "rounded"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_file_decodes_to_the_layer_that_was_measured(settings):
    """Its distortion by moments is that of running the tokens through it, and every bit of the map is in the file."""
    method = QLLM(**({"rate_bits": 4.0} | settings))
    layer, activations, quantized, x, _ = case(method, dead=(5,))
    container = encode(quantized.weight)
    effective = effective_layer(decode(container.data))
    again = effective_layer(quantized.weight)
    assert np.array_equal(effective.weight, again.weight)
    lost = np.mean((x @ layer.weight.T - effective.apply(x)) ** 2) / layer.weight.shape[1]
    point = measure(layer, quantized, moments=activations.moments)
    assert point.distortion == pytest.approx(lost, rel=1e-6)
    assert point.distortion == error(layer, effective, activations.moments).mean
    m, n = layer.weight.shape
    integers = method.weight_bits * m * effective.input_map.outputs
    assert container_bits(container)[0].total >= integers + effective.input_map.bits - (n - 1)
    assert point.symbol_bpw * m * n == pytest.approx(integers)
    assert quantized.symbol_rate_bits == pytest.approx(integers / (m * n))
    assert effective.input_map.copies is not None
    assert effective.activation == method.activation


@pytest.mark.parametrize("seed", [0, 1])
def test_reassembly_beats_rounding_activations_as_they_are(seed):
    """On other tokens, by a third with at most a fifth of 64 channels added; the correction changes little once it is rounded away."""
    errors = {}
    for name, settings in {
        "base": {"threshold": 1.0, "correction_rank": 0},
        "map": {"correction_rank": 0},
        "corrected": {"correction_rank": 8},
    }.items():
        layer, _, quantized, _, test = case(QLLM(rate_bits=4.0, **settings), seed=seed)
        y = test @ layer.weight.T
        errors[name] = np.sum((y - effective_layer(quantized.weight).apply(test)) ** 2) / np.sum(y**2)
    assert errors["map"] < 0.65 * errors["base"]
    assert errors["corrected"] < 1.06 * errors["map"]


@pytest.mark.parametrize("staggered", [False, True])
def test_the_prediction_of_the_noise_knows_that_copies_share_an_error(staggered):
    """Within a tenth: the noise of equal copies is T² and not T times that of one, that of shifted ones is 1 time it."""
    method = QLLM(rate_bits=4.0, correction_rank=0, assembly="none", threshold=0.06, staggered=staggered)
    _, activations, quantized, _, _ = case(method, similar=False)
    effective = effective_layer(quantized.weight)
    ratio = noise_distortion(effective, activations) / predicted_noise(effective, activations)
    assert ratio == pytest.approx(1.0, abs=0.1)


def test_a_row_says_what_was_decided_for_it():
    method = QLLM(rate_bits=4.0, threshold=1.0)
    layer, activations, quantized, _, _ = case(method)
    row = result_row(layer, method, quantized, activations=ActivationInputs(activations)).to_row()
    assert "no channel is split: activations are rounded as they are" in row["message"]
    assert (row["method"], row["activation_bits"], row["activation_grid"]) == ("qllm-w4a4(threshold=1.0)", 4, "asymmetric")
    assert np.isnan(row["pred_high_rate_distortion"])
    x, _, W = outliers(0, columns=32, rows=8, tokens=200)
    x[:, 7] = 1e4 * np.sign(x[:, 7])
    layer = Layer.from_activations(W, x)
    chain = QLLM(rate_bits=4.0).choose_map([layer], x, seed=0)
    quantized = QLLM(rate_bits=4.0).quantize(layer, activations=summed(QLLM(rate_bits=4.0), chain, x))
    assert "channel 7 has" in quantized.note


def test_layers_of_one_input_share_the_map(rng):
    x, _, W = outliers(0, columns=32, rows=16, tokens=200)
    method = QLLM(rate_bits=4.0, threshold=0.3)
    q, k = (Layer.from_activations(part, x, name=name) for part, name in ((W[:10], "q"), (W[10:], "k")))
    chain = method.choose_map([q, k], x, seed=0)
    activations = summed(method, chain, x)
    for layer in (q, k):
        parts = method.quantize(layer, activations=activations).weight.parts
        assert parts.links == chain.links


@pytest.mark.parametrize(
    "name", ["qllm-w4a4", "qllm-w4a4-published", "qllm-w4a4(threshold=0.2,metric=released,balance=true,correction_rank=0)"]
)
def test_names_are_read_back(name):
    method = parse_method(name, 4)
    assert format_method(method) == name
    assert parse_method(format_method(method), 4) == method


def test_what_cannot_be_is_refused(rng):
    for settings, message in (
        ({"correction_rank": -1}, "correction_rank -1"),
        ({"activation_bits": None}, "activation_bits None"),
        ({"weight_bits": 9}, "weight_bits 9"),
        ({"threshold": 2.0}, "threshold 2.0"),
        ({"fit": "both"}, "fit"),
        ({"rounding": "up"}, "rounding"),
    ):
        with pytest.raises(UsageError, match=message):
            QLLM(rate_bits=4.0, **settings)
    with pytest.raises(RateUnreachable, match="3 bits per weight cannot be reached: its weights have 4"):
        QLLM(rate_bits=3.0).check_reachable("q")
    method = QLLM(rate_bits=4.0)
    layer, activations, _, x, _ = case(method)
    with pytest.raises(UsageError, match="q_proj: no moments of activations"):
        method.quantize(layer)
    with pytest.raises(UsageError, match="q_proj: no sample of activations"):
        method.choose_map([layer], None, seed=0)
    with pytest.raises(UsageError, match=r"expected ActivationGrid\(bits=6"):
        QLLM(rate_bits=4.0, activation_bits=6).quantize(layer, activations=activations)
    with pytest.raises(UsageError, match="correction of rank 25 for a weight"):
        QLLM(rate_bits=4.0, correction_rank=25).quantize(layer, activations=activations)
    dead = x.copy()
    dead[:, 3] = 0.0
    other = Layer.from_activations(layer.weight, dead, name="q_proj")
    with pytest.raises(UsageError, match="expected a map that begins with InputMap"):
        method.quantize(other, activations=activations)
    assert InputMap(columns=3).copies is None
