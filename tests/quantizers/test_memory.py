"""Memory that methods take beside the layer: at most so many matrices of the size of H and so many of the size of W."""

from __future__ import annotations

import tracemalloc
from fnmatch import fnmatch
from typing import NamedTuple

import numpy as np
import pytest
from rdtools.kernels import cancellation_moments_numba, coset_trellis_numba, sic_sweep_numba

from rdtools import arrays, measure
from rdtools.coding import format_v2
from rdtools.coding.entropy import gaussians
from rdtools.measure import distortion
from rdtools.methods import METHODS, parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.ops import moments
from rdtools.quantizers import prepared_input, quantizes_activations
from rdtools.quantizers.grids import row
from rdtools.quantizers.rounding import block_ldlq, clamp_safe_admm
from rdtools.quantizers.search import rescaler_steps
from rdtools.transforms import haar, rotation

#: Settings by which a test shortens what methods train.
SHORT = {"aqlm": "(bits=6,epochs=2,iterations=2)", "crvq": "(bits=6,extended_bits=6,epochs=2,iterations=2,steps=2)"}
#: Names that work in the memory of another one, by pattern; their limits are in the table all the same.
ALIKE = (
    "*g128*", "*midrise*", "lrc-w4a4-r0.05", "lrc-w4a4-r0.[23]", "lrc-w4a8*", "*w4a8", "*w16a4", "pca-split-w4a4-r0.1", "watersic-d4",
    "aqlm-2x8", "aqlm-1x16", "crvq-natural-rest", "crvq-published", "qtip-published", "qera-approx*", "rtn-w4a4",
    "hptq-column", "watersic-histogram", "gptq-mse", "watersic-shared", "watersic-lmmse-shared", "softwater",
)  # fmt: skip
NAMES = [
    *(name + SHORT.get(entry.family, "") for name, entry in METHODS.items() if not any(fnmatch(name, alike) for alike in ALIKE)),
    *("gptq(group_size=8)", "hptq+haar", "hptq+act-order", "gptq+act-order", "watersic+rotation", "watersic-lmmse+act-order"),
]


class Held(NamedTuple):
    """What a method takes at most beside the layer and the moments that it is given, the answer included.

    `inputs` matrices of the size of H and `weights` of that of W, `outputs` of (m, m); and of a square layer `square` in all, where that
    is more.
    """

    inputs: float
    weights: float
    outputs: float = 0.0
    square: float | None = None


#: What every method takes at most, H and three times W, the factor in the place of H: so much for those that nothing else is said of.
USUAL = Held(1, 3)
#: Of those that take more, by pattern, the first that fits, with the reason beside it.
MORE = {
    # the factor, and the moment by which greedy and refinement passes, or rescalers, go, and its blocks with their factors
    "quip": Held(2, 3), "quip-greedy": Held(2, 3), "quip-sharp-published": Held(2, 3), "quip-sharp": Held(2.25, 3),
    "quip-published": Held(2, 3), "watersic-published": Held(2, 3),
    # the factor; H and its own factor; two copies of the error map; the map of the bound
    "quip-clamp-safe": Held(4, 3),
    # the plan: the factor, what the ridge makes of the covariance, and the covariance
    "watersic-mmse": Held(3, 3), "watersic-e8": Held(3, 3), "watersic-d4": Held(3, 3),
    # the plan; and beside retargeted and reordered weights and integers the feedback of some rows
    "watersic-trellis": Held(3, 3.25),
    # the factor, the moment in the order of the groups, and half of it for float32
    "crvq*": Held(2.5, 3), "aqlm*": Held(2.5, 3),
    # weights once more behind the map; the factor, and the moment on its way through the map
    "pca-split*": Held(4, 3.5),
    # a singular value decomposition: six times the smaller side squared where the layer is square
    "lorc*": Held(1, 3.75, 0, 8.75), "qera-*w4-*": Held(2, 3.75, 0, 8.75), "svdquant*": Held(1.25, 4.25, 0, 9.25),
    "qera-w4a4*": Held(2, 4.75, 0, 9.75), "qllm*": Held(3, 3.1, 0, 8.25),
    # the same; and a form of the outputs, of which it needs eigenvectors
    "lrc*": Held(4, 4, 1, 10),
}  # fmt: skip
#: Numbers for each column that a limit leaves room for: steps, gains, tables, and blocks of rows as small as they are here.
VECTORS = 96
#: The same of measuring: the symbols as they are decoded, four bytes for each weight and what reading them takes.
MEASURED = 1.1
#: Shapes of the layer on which kernels are compiled, and of pairs of layers whose difference is looked at.
FIRST, TALL, WIDE, SQUARE = (64, 64), ((192, 64), (384, 64)), ((32, 128), (32, 256)), ((64, 64), (128, 128))
#: The pair on which measuring is looked at, whose matrices are large beside its blocks.
TALLER = (512, 64), (1024, 64)


def _layer(m: int, n: int) -> tuple[Layer, np.ndarray]:
    """A layer, and the inputs behind its Hessian, of a spectrum that falls by e⁶."""
    rng = np.random.default_rng([m, n])
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    x = (rng.standard_normal((4 * n, n)) * np.exp(-3 * np.arange(n) / n)) @ basis.T
    return Layer.from_activations(rng.standard_normal((m, n)) * np.exp(0.3 * rng.standard_normal((m, 1))), x), x


def _peak(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _beside(method, layer: Layer, x: np.ndarray) -> dict:
    """Further arguments of a method that quantizes activations, with all that a measurement needs of them too."""
    if not quantizes_activations(method):
        return {}
    chain = method.choose_map([layer], x, seed=0)
    sums = ActivationAccumulator(chain, method.choose_grid([layer], x, chain))
    sums.add(x)
    activations = sums.finish(layer.hessian.matrix, name="x")
    _ = activations.moments
    return {"activations": activations}


def _quantizing(method, layer: Layer, x: np.ndarray) -> int:
    beside = _beside(method, layer, x)
    prepared_input._LAST.clear()  # which a layer of the same input would share
    return _peak(lambda: method.quantize(layer, **beside))


@pytest.fixture(scope="module")
def layers():
    return {shape: _layer(*shape) for shape in {*TALL, *TALLER, *WIDE, *SQUARE}}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks and panels as small beside these layers as they are beside real ones."""
    for module, name, value in (
        (arrays, "BLOCK_ROWS", 16), (arrays, "BLOCK_SHARE", 64), (arrays, "PANEL_ENTRIES", 2**9), (rotation, "_TOGETHER", 8),
        (haar, "_PANEL", 8), (block_ldlq, "PANEL", 8),
        (sic_sweep_numba, "PANEL", 8), (sic_sweep_numba, "STRIP", 2), (sic_sweep_numba, "ROWS", 64), (coset_trellis_numba, "STRIP", 2),
        (gaussians, "_BLOCK", 2**10), (format_v2, "BLOCK_SYMBOLS", 2**10), (distortion, "BLOCK_ENTRIES", 2**10),
        (moments, "_FORM_PANEL", 8), (row, "_SEARCH_CHUNK", 2**11), (rescaler_steps, "_WIDTH", 8), (clamp_safe_admm, "_ROWS", 8),
        (cancellation_moments_numba, "PANEL", 8), (cancellation_moments_numba, "TILE", 8),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def _held(name: str) -> Held:
    """The limit of a method with settings and suffixes."""
    base = name.partition("+")[0].partition("(")[0]
    return next((held for pattern, held in MORE.items() if fnmatch(base, pattern)), USUAL)


def _method(name: str):
    base = METHODS[name.partition("+")[0].partition("(")[0]]
    rates = base.rates.get("values", [3])
    shortened = {"aqlm": 0.75 * base.settings.get("basic", 1), "crvq": 0.75 + 2.25 / 8}  # codes of six bits; one critical group in eight
    return parse_method(name, shortened.get(base.family, 3 if 3 in rates else rates[-1]))


def _growth(pair, held: Held) -> tuple[float, float]:
    """By how many bytes the limit of the second layer of a pair is above that of the first, vectors of columns included."""
    (m, n), (more, columns) = pair
    matrices = held.inputs * (columns**2 - n**2) + held.weights * (more * columns - m * n) + held.outputs * (more**2 - m**2)
    return 8 * (matrices + VECTORS * (columns - n))


@pytest.mark.parametrize("name", NAMES)
def test_quantizing_takes_what_the_table_says(name, layers):
    """What a larger layer takes more, in rows and in columns."""
    method, held = _method(name), _held(name)
    _quantizing(method, *layers[FIRST])  # which compiles kernels
    for pair in (TALL, WIDE):
        first, second = (_quantizing(method, *layers[shape]) for shape in pair)
        assert second - first <= _growth(pair, held), pair
    if held.square is not None:
        first, second = (_quantizing(method, *layers[shape]) for shape in SQUARE)
        assert second - first <= _growth(SQUARE, Held(held.square, 0))


@pytest.mark.parametrize(
    "name", ["rtn", "watersic", "watersic-trellis-plain", "quip", "quip-sharp", "qtip(scale=published)", "qtip-waterfilled", "hptq+haar"]
)
def test_measuring_takes_the_symbols_as_they_are_decoded(name, layers):
    """And one block of rows, whatever the number of rows."""
    method = parse_method(name, 2)
    pair = [layers[shape][0] for shape in TALLER]
    answers = {layer: method.quantize(layer) for layer in pair}
    for layer in pair:
        _ = layer.statistics, layer.weight_checksum
    measure(pair[0], answers[pair[0]])  # which loads modules and compiles kernels
    small, large = (_peak(lambda layer=layer: measure(layer, answers[layer])) for layer in pair)
    assert large - small <= MEASURED * (pair[1].weight.nbytes - pair[0].weight.nbytes)
