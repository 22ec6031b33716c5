"""Layers on a device: what is decided and measured there is what NumPy decides and measures in main memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from other_device import DEVICE, other_device

from rdtools.compare import result_row
from rdtools.errors import BackendUnavailable, UsageError
from rdtools.measure.point import same_weight
from rdtools.methods import METHODS, make_quantizers
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import GPTQ, HPTQ, RTN, LatticeSIC, WaterSIC, base
from rdtools.quantizers.grids.entropy import entropy_grid
from rdtools.quantizers.search import rate, step
from rdtools.records import InputMoments

#: One of each way through the house: grids of rows and groups, one step, column steps, gains, rescalers, planned ridge and order, widths,
#: lattice words and trellis paths.
NAMES = (
    "rtn", "rtn-mse", "hrtn+rotation", "gptq+haar", "gptq(group_size=5)+act-order", "gptq-g128-dynamic", "gptq-waterfilled",
    "hptq(precision=float32)", "hptq-column+min-pivot", "watersic+adaptive", "watersic-mmse+kronecker", "watersic-published", "quip",
    "quip-sharp+haar", "qtip",
)  # fmt: skip


def _check(name, layer):
    (quantizer,) = make_quantizers([name], [3.0])
    expected = quantizer.quantize(layer)
    numbers = _numbers(result_row(layer, quantizer, expected).to_row())
    with other_device():
        for place in ("cpu", DEVICE):
            there = layer.on(place)
            answer = quantizer.quantize(there)
            assert (answer.device, answer.dtype) == (place, "float32" if "float32" in name else "float64")
            row = result_row(there, quantizer, answer).to_row()
            assert same_weight(answer.weight, expected.weight) or "adaptive" in name  # whose strength of learning is a float
            assert _numbers(row) == pytest.approx(numbers, rel=1e-12, nan_ok=True)
            assert row["backend"] == ("torch" if place == DEVICE or expected.backend == "numpy" else expected.backend)


def _layer(m=48, n=16, *, dead=()):
    rng = np.random.default_rng(0)
    H, W = haar_moment(power_law(n, 1.0), rng), rng.standard_normal((m, n)) * np.exp(rng.standard_normal((m, 1)))
    H[list(dead)], H[:, list(dead)] = 0.0, 0.0
    return Layer.of(W, H, name="layer")


def _numbers(row):
    return {name: value for name, value in row.items() if isinstance(value, float) and name != "wall_s"}


@pytest.mark.parametrize("name", NAMES)
def test_tensors_give_the_integers_and_the_numbers_of_arrays(name):
    """Drawn layers have no ties, so that integers are equal; every column of the row agrees to 1e-12 of it, for tensors in main memory,
    and for those elsewhere, of which nothing but integers, counts and vectors of numbers comes back.
    """
    _check(name, _layer(dead=(3,)))


def test_trellis_walks_of_tensors_are_those_of_arrays(monkeypatch):
    """At the step of the first trial: on the other device every row of a column takes a dozen launches."""
    monkeypatch.setattr(rate, "RATE_TOLERANCE_BITS", 9.0)
    monkeypatch.setattr(step, "search_step", partial(rate.search_step, tolerance=9.0))
    _check("watersic-trellis(states=4)", _layer(9, 5, dead=(3,)))


def test_a_drift_of_arrays_goes_with_a_layer_on_a_device():
    layer, quantizer = _layer(dead=(3,)), WaterSIC(rate_bits=2)
    H, noise = layer.hessian.matrix, np.random.default_rng(1).standard_normal(layer.weight.shape)
    drift = InputMoments.drifted(H, H + 0.1 * np.diag(np.diagonal(H)), H, residual=0.01 * noise * layer.active)
    expected = quantizer.quantize(layer, drift=drift)
    with other_device():
        answer = quantizer.quantize(layer.on(DEVICE), drift=drift)
    assert same_weight(answer.weight, expected.weight)
    assert not same_weight(answer.weight, quantizer.quantize(layer).weight)


def test_everything_is_decided_with_exact_products_of_float32(monkeypatch):
    """GPTQ feeds errors of blocks back by products outside the kernels, which see to it themselves."""
    log, decide = [], base.SettledQuantizer.answer

    @contextmanager
    def products(device):
        log.append(device)
        yield
        log.append("as before")

    monkeypatch.setattr(base, "float32_products", products)
    monkeypatch.setattr(base.SettledQuantizer, "answer", lambda *arguments: log.append("decided") or decide(*arguments))
    with other_device():
        GPTQ(rate_bits=3, precision="float32").quantize(_layer().on(DEVICE))
    assert log == [DEVICE, "decided", "as before"]


@pytest.mark.parametrize("device", ["cuda:77", "nowhere"])
def test_a_layer_goes_to_no_device_that_is_not_there(device):
    with pytest.raises(UsageError, match=rf"^`device` {device}: not usable here"):
        _layer().on(device)


def test_what_comes_back_from_a_device_are_integers():
    """With every row twice a trial gives the same histogram but for its counts; the integers of the new rows, once, come on top."""
    layer, crossed = _layer(), []
    for weight in (layer.weight, np.concatenate([layer.weight, layer.weight])):
        with other_device() as crossings:
            there = Layer.of(weight, layer.hessian, name="layer").on(DEVICE)
            problem = HPTQ(rate_bits=3).prepare(there)
            grid = entropy_grid(problem.target, HPTQ(rate_bits=3)._rounding(problem), coding="shared", relative_steps=None, name="layer")
            before = crossings.crossed
            found = grid.at(-1.0).result
            trial = crossings.crossed - before
            assert found.in_memory.integers.shape == weight.shape
        crossed.append((trial, crossings.crossed - before - trial))
    assert crossed[0][0] == crossed[1][0]
    assert [moved for _, moved in crossed] == [layer.weight.size, 2 * layer.weight.size]


def test_layers_of_one_input_share_its_copy_and_its_factor():
    layer = _layer()
    other = replace(layer, weight=2 * layer.weight)
    with other_device():
        first, second = layer.on(DEVICE), other.on(DEVICE)
        assert first.hessian is second.hessian
        assert first.on("cpu").in_memory is layer
        quantizer = HPTQ(rate_bits=3)
        assert quantizer.prepare(first).shared is quantizer.prepare(second).shared
    assert (first.device, layer.device) == (DEVICE, "cpu")
    assert first.weight_checksum == layer.weight_checksum
    assert first.spectrum is layer.spectrum


def test_methods_and_backends_that_work_in_main_memory_say_so():
    layer = _layer()
    with other_device():
        with pytest.raises(
            BackendUnavailable, match=r"layer: LatticeSIC works in main memory, the layer is on meta; give it layer\.in_memory"
        ):
            LatticeSIC(rate_bits=3).quantize(layer.on(DEVICE))
        with pytest.raises(BackendUnavailable, match="'numba' for tensors on meta"):
            HPTQ(rate_bits=3, backend="numba").quantize(layer.on(DEVICE))
    with pytest.raises(BackendUnavailable, match="'torch' is for tensors on a GPU"):
        HPTQ(rate_bits=3, backend="torch").quantize(layer)
    assert HPTQ(rate_bits=3, backend="torch").quantize(layer.on("cpu")).backend == "torch"
    assert RTN(rate_bits=3).quantize(layer.on("cpu")).backend == "torch"


def test_the_registry_knows_which_methods_work_on_devices():
    places = {name: entry.device for name, entry in METHODS.items()}
    assert places["watersic-published"] == places["watersic-trellis"] == places["gptq"] == "any"
    assert places["watersic-e8"] == places["crvq"] == places["gptq-w4a4"] == "cpu"
