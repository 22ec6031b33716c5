"""The table of operations: complete, tested, and enough to compile all that is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdtools.errors import UsageError
from rdtools.ops.registry import OPERATIONS, backends, kernel, warm_up

ROOT = Path(__file__).resolve().parents[2]

FAST = [(name, backend) for name in OPERATIONS for backend in backends(name) if backend != "reference"]

#: Ends a process by naming the compiled functions of our kernels, each with its signatures, and those that were not found in the cache.
REPORT = """
import json, sys
from numba.core.dispatcher import Dispatcher
functions = [(module, f) for module, values in list(sys.modules.items()) if module.startswith("rdtools.kernels")
             for f in vars(values).values() if isinstance(f, Dispatcher) and f.__module__ == module]
signatures = {}
for module, f in functions:
    signatures.setdefault(module, []).extend([f.__name__, str(types)] for types in f.signatures)
print(json.dumps([signatures, [f"{module}.{f.__name__}" for module, f in functions if sum(f.stats.cache_misses.values())]]))
"""

#: Operations on shapes of several panels, strips and blocks, and every family of quantizers.
USE = """
import numpy as np
from rdtools import ops, quantizers
from rdtools.coding import decode, encode
from rdtools.moments.layer import Layer
rng = np.random.default_rng(0)
for dtype in (np.float64, np.float32):
    for m, n in ((1, 1), (70, 1100)):
        W, L = rng.standard_normal((m, n)).astype(dtype), np.eye(n)
        for weight in (W, np.asfortranarray(W)):
            for seed, residual in ((None, True), (0, False)):
                ops.sic_sweep(weight, L, np.ones(n), seed=seed, residual=residual)
                integers = ops.sic_sweep_sample_gains(weight, L, np.ones(n), seed=seed, residual=residual)[0]
                ops.coset_trellis_sweep(weight, L, np.ones(n), 8, segment=50, residual=residual)
        ops.coordinate_descent(W, L, integers, np.ones(n), passes=2)
        for layout in (integers, np.asfortranarray(integers)):
            ops.column_histogram(layout, low=-3, width=7)
        for order in (1, 2):
            ops.hadamard_inplace(rng.standard_normal((m, 64)).astype(dtype), np.ones((order, order)))
        ops.rank_update(np.zeros((n, n)), W)
        ops.cancellation_moments(L, np.ones(n), np.ones(n), np.zeros((n, n)), 1)
        ops.householder_product(rng.standard_normal((m, n)), np.ones((1, n)), np.ones(1), np.zeros(1, np.int64))
        ops.portable_normal(1, 3, n)
        x, centroids = rng.standard_normal((m, 8)).astype(dtype), rng.standard_normal((5, 8)).astype(dtype)
        for bits in (2, 3, 4):
            ops.rvq_nearest(x, bits)
        for weights in (None, np.full(8, 2, dtype), np.full(x.shape, 2, dtype)):
            ops.centroid_update(x, ops.nearest_centroid(x, centroids, weights)[0], centroids, weights)
        for code in ops.trellis.TRELLIS_CODES:
            for free in (False, True):
                ops.trellis_quantize(rng.standard_normal((m, 16)).astype(dtype), ops.trellis_values(code, 6), 1, tail_biting=not free)
layer = Layer.of(rng.standard_normal((32, 32)), np.eye(32) + 0.5)
for quantizer in (quantizers.RTN, quantizers.GPTQ, quantizers.WaterSIC, quantizers.QuIP, quantizers.QuIPSharp, quantizers.QTIP):
    quantizer(rate_bits=2).quantize(layer)
decode(encode(quantizers.TrellisSIC(rate_bits=2, states=8).quantize(layer).weight).data)
alike = Layer.of(np.outer(rng.standard_normal(512), np.ones(32)) + 0.1 * rng.standard_normal((512, 32)), np.eye(32))
decode(encode(quantizers.WaterSIC(rate_bits=2, adaptive_columns=512).quantize(alike).weight).data)
quantizers.CRVQ(rate_bits=1.25, bits=4, extended_bits=4, beam=2).quantize(layer)
for dtype in (np.float64, np.float32):
    W, books, codes, slots = np.ones((2, 8), dtype), np.ones((1, 2, 4), dtype), np.zeros((2, 2), np.uint16), np.array([[0, 0], [1, 0]])
    E = ops.codebook_error(W, W[:, 0], books, codes, slots)
    ops.codebook_gradient(E, W[:, 0], books, codes, slots)
    ops.codebook_search(E, np.eye(8, dtype=dtype), W[:, 0], books, np.asfortranarray(codes), slots, beam=3)
"""

#: Compiled functions in files of their own that operations are made of.
PARTS = {"rdtools.kernels.adaptive_model_numba"}


def _run(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code + REPORT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    signatures, missed = json.loads(done.stdout)
    return {module: {tuple(entry) for entry in entries} for module, entries in signatures.items() if entries}, missed


def test_after_a_warm_up_no_other_process_compiles():
    """Nothing is compiled again, and what is used is what `warm_up` made: the cache here may hold what other tests compiled."""
    families = {entry.modules["numba"] for entry in OPERATIONS.values() if "numba" in entry.modules} | PARTS
    warm, _ = _run("from rdtools.ops import warm_up\nwarm_up()\n")
    used, missed = _run(USE)
    assert missed == []
    assert warm.keys() == used.keys() == families
    assert {module: entries - warm[module] for module, entries in used.items() if entries - warm[module]} == {}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_reference_and_a_file_for_each_backend(name):
    assert OPERATIONS[name].name == name
    assert "reference" in backends(name)
    assert callable(kernel(name))
    assert all((ROOT / "kernels" / f"{module.rpartition('.')[2]}.py").is_file() for module in OPERATIONS[name].modules.values())


@pytest.mark.parametrize(("name", "backend"), FAST)
def test_every_backend_is_tested_against_the_reference(name, backend):
    """By a file of tests/kernels that calls the operation with this backend and with the reference."""
    texts = [path.read_text() for path in (ROOT / "tests" / "kernels").glob("*.py")]
    assert any(f"{name}(" in text and f'"{backend}"' in text and '"reference"' in text for text in texts)


@pytest.mark.parametrize("name", [name for name, backend in FAST if backend == "numba"])
def test_on_its_examples_numba_gives_what_the_reference_gives(name):
    """Results, and arguments that are overwritten; the examples are exact in every dtype."""
    examples = [list(OPERATIONS[name].examples()) for _ in range(2)]
    assert examples[0]
    for (fast, options), (slow, _) in zip(*examples, strict=True):
        results = [kernel(name, backend)(*arguments, **options) for backend, arguments in (("numba", fast), ("reference", slow))]
        for a, b in zip((*fast, results[0]), (*slow, results[1]), strict=True):
            for x, y in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,), strict=True):
                np.testing.assert_array_equal(x, y)


def test_an_operation_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UsageError, match=r"operation 'sort': expected one of sic_sweep, .*trellis_unpack"):
        warm_up(["sic_sweep", "sort"])


def test_the_readme_of_the_kernels_lists_the_registry():
    lines = [line.split("|")[1:3] for line in (ROOT / "kernels" / "README.md").read_text().splitlines() if line.startswith("| reference")]
    listed = {name.strip(): tuple(b.strip() for b in group.split(",")) for group, names in lines for name in names.split(",")}
    assert listed == {name: backends(name) for name in OPERATIONS}
