"""Memory that methods take beside the layer, per weight: the slope between two numbers of rows, which leaves out what does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from rdtools.kernels import sic_sweep_numba

from rdtools import arrays, measure
from rdtools.measure import distortion
from rdtools.methods import METHODS, parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment

#: Weight-only methods that are not trained on the layer, and suffixes that add a rotation or an order.
NAMES = [
    *(name for name, entry in METHODS.items() if entry.family not in ("aqlm", "crvq", "lrc", "qllm", "weight-activation")),
    *("hptq+haar", "hptq+act-order", "gptq+act-order", "watersic+rotation", "watersic-lmmse+act-order"),
]
#: In units of the weights: everything, and what needs more.
LIMIT, ABOVE = 3.0, {}
COLUMNS, ROWS = 64, (512, 1024)


def _layer(rows: int) -> Layer:
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((rows, COLUMNS)) * np.exp(0.3 * rng.standard_normal((rows, 1))), ar1_moment(COLUMNS, 0.5))


def _peak(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def layers():
    return [_layer(rows) for rows in ROWS]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks and panels as small beside this layer as they are beside a real one."""
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 64)
    monkeypatch.setattr(sic_sweep_numba, "PANEL", 8)
    monkeypatch.setattr(sic_sweep_numba, "STRIP", 2)
    monkeypatch.setattr(distortion, "BLOCK_ENTRIES", 2**10)


@pytest.mark.parametrize("name", NAMES)
def test_quantizing_takes_three_times_the_weights(name, layers):
    """Beside the layer and what does not grow with its rows, the answer included; measuring takes the symbols as they are decoded."""
    rates = METHODS[name.partition("+")[0]].rates
    method = parse_method(name, 3 if 3 in rates.get("values", [3]) else rates["values"][-1])
    method.quantize(_layer(64))  # which compiles kernels
    answers = []
    small, large = (_peak(lambda layer=layer: answers.append(method.quantize(layer))) for layer in layers)
    weights = layers[1].weight.nbytes - layers[0].weight.nbytes
    print(name, round((large - small) / weights, 2), end=" ")
    for layer in layers:
        _ = layer.statistics, layer.weight_checksum
    small, large = (_peak(lambda layer=layer, answer=answer: measure(layer, answer)) for layer, answer in zip(layers, answers, strict=True))
    print("measure", round((large - small) / weights, 2))
