"""What every method that quantizes activations must do, on layers of 32 inputs with outliers and a dead channel."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from activations import quantize

from rdtools.coding import decode, effective_layer, encode
from rdtools.measure import error
from rdtools.methods import METHODS, parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import quantizes_activations
from rdtools.records import QuantizedLayer

ENTRIES = [name for name, entry in METHODS.items() if quantizes_activations(entry.make(3.0))]
NAMES = (*ENTRIES, "gptq-w4a4+haar", "qllm-w4a4(staggered=true,correction_rank=0)", "lrc-w4a4-r0.1(activation_clip=none,rounds=2)")


def drawn() -> tuple[Layer, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 32)) @ rng.standard_normal((32, 32)) * np.exp(rng.standard_normal(32))
    x[:, 9] = 0.0
    return Layer.from_activations(rng.standard_normal((24, 32)), x, name="layer"), x


@cache
def answer(name: str) -> QuantizedLayer:
    layer, x = drawn()
    rate = METHODS[name.partition("+")[0].partition("(")[0]].rates["values"][0]
    return quantize(parse_method(name, rate), layer, x)


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_decode_to_the_layer_whose_error_by_moments_is_that_of_its_tokens(name):
    """To 1e-6 of it; weights and inputs are left alone, and the same call gives the same bytes."""
    layer, x = drawn()
    quantized = answer(name)
    data = encode(quantized.weight).data
    answer.cache_clear()
    assert encode(answer(name).weight).data == data
    effective = effective_layer(decode(data))
    grid = effective.activation
    assert grid is not None
    sums = ActivationAccumulator(effective.input_map, grid)
    sums.add(x)
    moments = sums.finish(layer.hessian.matrix, name="x").moments
    ran = np.mean((x @ layer.weight.T - effective.apply(x)) ** 2) / 32
    assert error(layer, effective, moments).mean == pytest.approx(ran, rel=1e-6)
    assert ran < 0.5 * layer.statistics.energy
    again, same = drawn()
    assert np.array_equal(again.weight, layer.weight)
    assert np.array_equal(same, x)


def test_a_fresh_process_rebuilds_every_layer_from_bytes_alone(tmp_path):
    _, x = drawn()
    np.save(tmp_path / "x.npy", x)
    for number, name in enumerate(NAMES):
        (tmp_path / f"{number}.rdtq").write_bytes(encode(answer(name).weight).data)
    code = (
        "import sys, json, numpy as np; from rdtools.coding import decode, effective_layer; folder = sys.argv[1];"
        "x = np.load(folder + '/x.npy');"
        "layers = [effective_layer(decode(open(f'{folder}/{k}.rdtq', 'rb').read())) for k in range(int(sys.argv[2]))];"
        "print(json.dumps([[float(np.sum(layer.apply(x) ** 2)), float(np.sum(layer.weight ** 2))] for layer in layers]))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(len(NAMES))], check=True, env=environment, capture_output=True)
    for name, (outputs, weights) in zip(NAMES, json.loads(done.stdout), strict=True):
        effective = effective_layer(answer(name).weight)
        assert outputs == pytest.approx(float(np.sum(effective.apply(x) ** 2)), rel=1e-9), name
        assert weights == pytest.approx(float(np.sum(effective.weight**2)), rel=1e-12), name
