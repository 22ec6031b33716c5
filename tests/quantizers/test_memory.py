"""Memory that methods take beside the layer, per weight: the slope between two numbers of rows, which leaves out what does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from rdtools.kernels import coset_trellis_numba, sic_sweep_numba

from rdtools import arrays, measure
from rdtools.coding import format_v2
from rdtools.coding.entropy import gaussians
from rdtools.measure import distortion
from rdtools.methods import METHODS, parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment
from rdtools.ops import moments
from rdtools.quantizers.grids import row
from rdtools.quantizers.rounding import block_ldlq
from rdtools.transforms import rotation

#: Methods that need more than a layer, or whose training a test shortens, and suffixes that add a rotation or an order.
OTHERS = ("aqlm", "crvq", "lrc", "qllm", "weight-activation", "pca-split")
NAMES = [
    *(name for name, entry in METHODS.items() if "g128" not in name and entry.family not in OTHERS),
    *("gptq(group_size=8)", "hptq+haar", "hptq+act-order", "gptq+act-order", "watersic+rotation", "watersic-lmmse+act-order"),
    "aqlm-1x8(epochs=2,iterations=2)",
]
#: In units of the weights: what a method takes at most; and of those that take more: stochastic rounding decides all rows in one piece;
#: rescalers keep the ideal's product with H, and with dropped columns a target, beside two sets of integers; a Kronecker rotation of
#: rescaled weights has them before and after.
LIMIT = 3.0
ABOVE = {"quip-clamp-safe": 4.0, "watersic-published": 3.8, "quip-published": 3.6}
#: The same of measuring: the symbols as they are decoded, four bytes for each weight and what reading them takes.
MEASURED = 1.1
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


def _slope(layers, call) -> float:
    """Bytes for each byte of weights."""
    small, large = (_peak(lambda layer=layer: call(layer)) for layer in layers)
    return (large - small) / (layers[1].weight.nbytes - layers[0].weight.nbytes)


@pytest.fixture(scope="module")
def layers():
    return [_layer(rows) for rows in ROWS]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks and panels as small beside this layer as they are beside a real one."""
    for module, name, value in (
        (arrays, "BLOCK_ROWS", 64), (arrays, "PANEL_ENTRIES", 2**10), (rotation, "_TOGETHER", 8), (block_ldlq, "PANEL", 8),
        (sic_sweep_numba, "PANEL", 8), (sic_sweep_numba, "STRIP", 2), (coset_trellis_numba, "STRIP", 2),
        (gaussians, "_BLOCK", 2**10), (format_v2, "BLOCK_SYMBOLS", 2**10), (distortion, "BLOCK_ENTRIES", 2**10),
        (moments, "_FORM_PANEL", 8), (row, "_SEARCH_CHUNK", 2**10),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("name", NAMES)
def test_quantizing_takes_three_times_the_weights(name, layers):
    """Beside the layer and what does not grow with its rows, the answer included."""
    rates = METHODS[name.partition("+")[0].partition("(")[0]].rates
    method = parse_method(name, 3 if 3 in rates.get("values", [3]) else rates["values"][-1])
    method.quantize(layers[0])  # which compiles kernels
    assert _slope(layers, method.quantize) <= ABOVE.get(name, LIMIT)


@pytest.mark.parametrize(
    "name", ["rtn", "watersic", "watersic-trellis-plain", "quip", "quip-sharp", "qtip", "qtip-waterfilled", "hptq+haar"]
)
def test_measuring_takes_the_symbols_as_they_are_decoded(name, layers):
    """And one block of rows, whatever the number of rows."""
    method = parse_method(name, 2)
    answers = {layer: method.quantize(layer) for layer in layers}
    for layer in layers:
        _ = layer.statistics, layer.weight_checksum
    measure(layers[0], answers[layers[0]])  # which loads modules and compiles kernels
    assert _slope(layers, lambda layer: measure(layer, answers[layer])) <= MEASURED
