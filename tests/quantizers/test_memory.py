"""Memory that methods take beside the layer: at most so many matrices of the size of H and so many of the size of W."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from rdtools.kernels import coset_trellis_numba, sic_sweep_numba

from rdtools import arrays
from rdtools.coding import format_v2
from rdtools.coding.entropy import gaussians
from rdtools.measure import distortion
from rdtools.methods import METHODS
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.ops import moments
from rdtools.quantizers import quantizes_activations
from rdtools.quantizers.grids import row
from rdtools.quantizers.rounding import block_ldlq, clamp_safe_admm
from rdtools.quantizers.search import rescaler_steps
from rdtools.transforms import rotation

#: Settings by which a test shortens what methods train.
SHORT = {"aqlm": "(bits=6,epochs=2,iterations=2)", "crvq": "(bits=6,extended_bits=6,epochs=2,iterations=2)"}
NAMES = [
    *(name + SHORT.get(entry.family, "") for name, entry in METHODS.items() if "g128" not in name),
    *("gptq(group_size=8)", "hptq+haar", "hptq+act-order", "gptq+act-order", "watersic+rotation", "watersic-lmmse+act-order"),
]
MEASURED = 1.1
TALL, WIDE = ((192, 64), (384, 64)), ((32, 128), (32, 256))


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
    return _peak(lambda: method.quantize(layer, **beside))


@pytest.fixture(scope="module")
def layers():
    return {shape: _layer(*shape) for shape in (*TALL, *WIDE)}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks and panels as small beside these layers as they are beside real ones."""
    for module, name, value in (
        (arrays, "BLOCK_ROWS", 16), (arrays, "PANEL_ENTRIES", 2**9), (rotation, "_TOGETHER", 8), (block_ldlq, "PANEL", 8),
        (sic_sweep_numba, "PANEL", 8), (sic_sweep_numba, "STRIP", 2), (sic_sweep_numba, "ROWS", 64), (coset_trellis_numba, "STRIP", 2),
        (gaussians, "_BLOCK", 2**10), (format_v2, "BLOCK_SYMBOLS", 2**10), (distortion, "BLOCK_ENTRIES", 2**10),
        (moments, "_FORM_PANEL", 8), (row, "_SEARCH_CHUNK", 2**10), (rescaler_steps, "_WIDTH", 8), (clamp_safe_admm, "_ROWS", 8),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
