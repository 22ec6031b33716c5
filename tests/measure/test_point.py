from __future__ import annotations

import dataclasses
import sys
import tracemalloc

import numpy as np
import pytest
from tolerances import rounding

from rdtools.coding import encode, reconstruct
from rdtools.coding import format_v2 as fmt
from rdtools.compare.facts import min_conditional_variance_ratio
from rdtools.compare.rows import result_row
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.measure import measure, weighted_error
from rdtools.measure.bias import bias_rounding_distortion
from rdtools.measure.distortion import mean_square
from rdtools.measure.point import same_weight
from rdtools.methods import parse_method
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment, haar_moment, power_law
from rdtools.ops import quadratic_form
from rdtools.quantizers import HPTQ, QTIP, WaterfilledGPTQ
from rdtools.records import Hessian


def _layer() -> Layer:
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((128, 32)), haar_moment(power_law(32, 1.0), rng))


def test_squared_error_gives_the_loss_under_any_damping():
    """tr(E (H + δI) Eᵀ) = tr(E H Eᵀ) + δ ‖E‖²."""
    layer = _layer()
    q = HPTQ(rate_bits=3, damping=0.1).quantize(layer)
    point = measure(layer, q)
    delta = 0.1 * float(np.mean(np.diagonal(layer.hessian.matrix)))
    damped = weighted_error(layer.weight, reconstruct(q.weight), layer.hessian.matrix + delta * np.eye(32)).mean
    assert point.distortion + delta * point.squared_error == pytest.approx(damped, rel=rounding(1000))


def test_only_fixed_rate_grids_have_an_edge():
    layer = _layer()
    assert 0 < measure(layer, WaterfilledGPTQ(rate_bits=3).quantize(layer)).clipped_fraction < 1
    assert np.isnan(measure(layer, QTIP(rate_bits=2).quantize(layer)).clipped_fraction)


def test_the_minimum_conditional_variance_is_the_energy_that_other_columns_do_not_explain():
    H = np.array([[1.0, 0.6], [0.6, 1.0]])
    assert min_conditional_variance_ratio(Layer.of(np.ones((1, 2)), H).spectrum) == pytest.approx(1 - 0.36, rel=rounding(10))
    assert min_conditional_variance_ratio(Layer.of(np.ones((1, 2)), np.ones((2, 2))).spectrum) == 0.0
    assert np.isnan(min_conditional_variance_ratio(Layer.of(np.ones((1, 2)), np.zeros((2, 2))).spectrum))


def test_the_energy_of_a_layer_is_computed_once_for_all_rows(monkeypatch):
    """D₀ = tr(W H Wᵀ)/(m n), the error of all weights zero."""
    calls = []
    real = quadratic_form
    monkeypatch.setattr("rdtools.moments.layer.quadratic_form", lambda W, H: calls.append(W) or real(W, H))
    layer = _layer()
    points = [measure(layer, HPTQ(rate_bits=rate).quantize(layer)) for rate in (2, 3)]
    assert len(calls) == 1
    energy = weighted_error(layer.weight, np.zeros_like(layer.weight), layer.hessian.matrix).mean
    assert layer.statistics.energy == energy
    assert [point.relative_distortion for point in points] == [point.distortion / energy for point in points]


def _peak(call):
    """What a call gave, and the most memory that it took beside what was there before, in bytes."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def large():
    """So large that a rate is searched on some of the rows, of unequal rows, and that symbols are coded in blocks."""
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((1536, 1024)) * np.exp(rng.standard_normal((1536, 1))), ar1_moment(1024, 0.5))


@pytest.mark.parametrize("name", ["gptq-g128", "gptq+act-order", "gptq-waterfilled", "watersic", "watersic-lmmse"])
def test_quantizing_takes_the_factor_and_three_times_the_weights(name, large, monkeypatch):
    """At most, beside the layer; and a file takes no eight bytes for each of its symbols."""
    parse_method(name, 3).quantize(_layer())  # which compiles kernels
    answer, peak = _peak(lambda: parse_method(name, 3).quantize(large))
    assert peak <= large.hessian.matrix.nbytes + 3 * large.weight.nbytes
    monkeypatch.setattr(fmt, "BLOCK_SYMBOLS", 2**17)
    container, peak = _peak(lambda: encode(answer.weight))
    assert peak <= 32 * 2**17 + 3 * len(container.data) < 8 * large.weight.size


def test_distortion_takes_memory_for_one_block_of_rows(monkeypatch):
    """The errors of a block, their squares or products with H's panels, and no second matrix of the weights' size."""
    rng = np.random.default_rng(0)
    W, V, H = rng.standard_normal((4096, 128)), rng.standard_normal((4096, 128)), haar_moment(power_law(128, 1.0), rng)
    monkeypatch.setattr("rdtools.measure.distortion.BLOCK_ENTRIES", 2**14)
    (loss, square), peak = _peak(lambda: (weighted_error(W, V, H), mean_square(W, V)))
    assert peak <= 4 * 8 * 2**14 + 2 * 8 * len(W) < W.nbytes / 2
    assert square == pytest.approx(np.mean((W - V) ** 2), rel=rounding(W.size))
    assert loss.mean == pytest.approx(np.trace((W - V) @ H @ (W - V).T) / W.size, rel=rounding(W.size))


RECONSTRUCTION = sys.modules["rdtools.coding.reconstruct"]  # the function of the same name stands before it


@pytest.mark.parametrize(
    ("name", "rate"),
    [("hptq", 3), ("hptq+haar", 3), ("hptq+kronecker", 3), ("quip", 3), ("quip-sharp", 2), ("qtip", 2), ("gptq(group_size=16)", 3),
     ("gptq-g128-asym", 3)],
)  # fmt: skip
def test_weights_are_decoded_in_blocks_of_rows_to_the_same_bits(name, rate, monkeypatch):
    """Beside dead columns, which are zero; a block is 16 of the rows, or of the columns where these are rotated."""
    X = np.random.default_rng(0).standard_normal((300, 40)) * (np.arange(40) % 13 != 5)
    weight = parse_method(name, rate).quantize(Layer.of(np.random.default_rng(1).standard_normal((56, 40)), X.T @ X / 300)).weight
    whole = reconstruct(weight)
    monkeypatch.setattr(RECONSTRUCTION, "BLOCK_ENTRIES", 1)
    assert np.array_equal(reconstruct(weight), whole)
    assert not whole[:, ~weight.basis.active].any()


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("hptq", 3), ("hptq+haar", 3), ("gptq", 3), ("gptq-asym", 3), ("quip", 3), ("quip-sharp", 2), ("qtip", 2)),
        ("aqlm-2x8(epochs=0,iterations=1)", 2),
    ],
)
def test_decoding_takes_the_weights_and_one_block_of_rows(name, rate, monkeypatch):
    """And three panels of 64 reflections for a Haar rotation: no second matrix of the weights' size."""
    layer = Layer.of(np.random.default_rng(0).standard_normal((1024, 512)), ar1_moment(512, 0.5))
    weight = parse_method(name, rate).quantize(layer).weight
    reconstruct(weight)
    monkeypatch.setattr(RECONSTRUCTION, "BLOCK_ENTRIES", 2**15)
    values, peak = _peak(lambda: reconstruct(weight))
    assert values.nbytes < peak <= values.nbytes + 4 * 8 * 2**15 + 3 * 8 * 64 * 512


def test_a_record_of_another_dtype_or_type_is_not_the_same():
    weight = HPTQ(rate_bits=3).quantize(_layer()).weight
    assert same_weight(weight, dataclasses.replace(weight, symbols=dataclasses.replace(weight.symbols)))
    wider = dataclasses.replace(weight.basis, active=weight.basis.active.astype(np.int8))
    assert not same_weight(weight, dataclasses.replace(weight, basis=wider))
    assert not same_weight(weight, dataclasses.replace(weight, symbols=None))


def _centred(large: float):
    """A layer whose first channel has this mean and the variance of the others, and what `rtn+bias` makes of it."""
    rng = np.random.default_rng(4)
    mean = np.array([large, *[0.1] * 15])
    hessian = Hessian(np.eye(16) + np.outer(mean, mean), 0, name="input", mean=mean)
    layer = Layer.of(rng.standard_normal((32, 16)), hessian)
    return layer, parse_method("rtn+bias", 3.0).quantize(layer)


def test_a_bias_beside_a_heldout_moment_without_a_mean_is_refused():
    layer, answer = _centred(1.0)
    moment, mean = layer.hessian.matrix, layer.hessian.mean
    with pytest.raises(
        UsageError, match=r"a bias beside held-out moment without a mean of the input, .*HeldoutMoment.of\(moment, mean=…\)"
    ):
        measure(layer, answer, HeldoutMoment.of(moment))
    point = measure(layer, answer, HeldoutMoment.of(moment, mean=mean))
    assert point.heldout_distortion == pytest.approx(point.relative_distortion, rel=1e-9)
    with pytest.raises(ShapeMismatch, match=r"a mean of shape \(3,\), expected \(16,\)"):
        HeldoutMoment.of(moment, mean=mean[:3])


@pytest.mark.parametrize(("large", "share"), [(1.0, (0.0, 1e-4)), (1e4, (0.9, 1.0))])
def test_what_the_rounding_of_a_bias_adds_is_known_and_said(large, share):
    """D = tr(E C Eᵀ)/mn + ‖E μ − b‖²/mn, which is most of it beside a mean of 10⁴ standard deviations."""
    layer, answer = _centred(large)
    point = measure(layer, answer)
    E = layer.weight - reconstruct(answer.weight)
    rounding_part = bias_rounding_distortion(layer, answer.weight)
    assert rounding_part + np.square(E).sum() / E.size == pytest.approx(point.distortion, rel=1e-6)
    assert share[0] <= rounding_part / point.distortion <= share[1]
    message = result_row(layer, parse_method("rtn+bias", 3.0), answer).message
    assert ("% of D is the rounding of the bias to bfloat16" in message) == (large > 1)
