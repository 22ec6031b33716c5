"""Trellis-coded successive cancellation: every rate, every shape, and the distortion that the trellis promises."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.coding import decode, encode
from rdtools.errors import RateUnreachable, UsageError, WrongType
from rdtools.measure import measure
from rdtools.measure.point import same_weight
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import TrellisSIC, WaterSIC


def gaussian_layer(m=256, n=24, seed=0):
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, 1.0), rng), name="x")


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 2.5, 5.0, 8.0])
@pytest.mark.parametrize("settings", [{"states": 8}, {"states": 4, "segment": 100, "ridge": 0.01, "order": "reversed-act-order"}])
def test_every_rate_is_met_and_decoded_from_the_bytes_alone(rate, settings):
    layer = gaussian_layer()
    q = TrellisSIC(rate_bits=rate, **settings).quantize(layer)
    assert abs(q.symbol_rate_bits - rate) <= 0.01
    assert same_weight(decode(encode(q.weight).data), q.weight)


def test_its_distortion_is_watersics_less_the_granular_gain():
    """At 4 bits, 1.08 dB with 8 states and 0.84 with 4; both distortions are off by √(2/mn) each, whose parts they share add nothing."""
    layer = gaussian_layer(512, 32)
    scalar = measure(layer, WaterSIC(rate_bits=4).quantize(layer))
    for states, gain in ((4, 0.99), (8, 1.09)):
        trellis = measure(layer, TrellisSIC(rate_bits=4, states=states).quantize(layer))
        band = 4 * 10 / np.log(10) * np.sqrt(4 / layer.weight.size) + 6 * 0.02
        assert 10 * np.log10(scalar.distortion / trellis.distortion) == pytest.approx(gain, abs=band)


def test_segments_that_do_not_divide_the_rows_and_a_precision_of_32_bits():
    layer = gaussian_layer(130, 5)
    q = TrellisSIC(rate_bits=3, states=8, segment=64, precision="float32").quantize(layer)
    assert abs(q.symbol_rate_bits - 3) <= 0.01
    assert q.weight.symbols.segment == 64
    assert same_weight(decode(encode(q.weight).data), q.weight)


@pytest.mark.parametrize("shape", [(40, 1), (3, 300), (1, 400)])
def test_one_row_fewer_rows_than_states_and_one_column(shape):
    """All rates that there are: few weights have few lengths, which the message says."""
    layer = Layer.of(np.random.default_rng(0).standard_normal(shape), np.eye(shape[1]))
    try:
        q = TrellisSIC(rate_bits=3).quantize(layer)
    except RateUnreachable as error:
        assert "ask for one of these" in str(error)  # noqa: PT017
        return
    assert abs(q.symbol_rate_bits - 3) <= 0.01
    assert same_weight(decode(encode(q.weight).data), q.weight)


def test_equal_columns_and_outliers():
    rng = np.random.default_rng(1)
    same = Layer.of(np.repeat(rng.standard_normal((200, 1)), 6, axis=1), np.ones((6, 6)) + np.eye(6))
    W = rng.standard_normal((64, 16))
    W[5, 3] = 1e6
    far = Layer.of(W, np.eye(16) + 0.5)
    for layer in (same, far):
        q = TrellisSIC(rate_bits=3, states=8).quantize(layer)
        assert abs(q.symbol_rate_bits - 3) <= 0.01
        assert same_weight(decode(encode(q.weight).data), q.weight)
    # the outlier is coded, not cut: off by a few steps, not by a millionth of itself
    q = TrellisSIC(rate_bits=6, states=8).quantize(far)
    values = q.weight.symbols.integers[5, 3] * 0.5 * q.weight.symbols.column_steps[3]
    assert abs(values - 1e6) <= 4 * q.weight.symbols.column_steps[3] * 16


def test_nothing_to_code():
    for layer in (Layer.of(np.zeros((8, 3)), np.eye(3)), Layer.of(np.ones((8, 3)), np.zeros((3, 3)))):
        q = TrellisSIC(rate_bits=2, states=8).quantize(layer)
        assert q.symbol_rate_bits == pytest.approx(0, abs=1e-4)
        assert measure(layer, q).distortion == 0
        assert same_weight(decode(encode(q.weight).data), q.weight)


def test_a_large_matrix_is_searched_on_a_sample(monkeypatch):
    from rdtools.quantizers.search import step

    monkeypatch.setattr(step, "SAMPLED_FROM", 2**12)
    monkeypatch.setattr(step, "SAMPLE", 2**11)
    layer = gaussian_layer(512, 16)
    assert abs(TrellisSIC(rate_bits=2, states=8).quantize(layer).symbol_rate_bits - 2) <= 0.01


def test_settings_that_cannot_be_meant_are_refused():
    for settings, message in (({"states": 7}, "states 7: expected one of 4, 8"), ({"segment": 0}, "segment 0"), ({"order": "x"}, "order")):
        with pytest.raises(UsageError, match=message):
            TrellisSIC(rate_bits=2, **settings)
    with pytest.raises(WrongType):
        TrellisSIC(rate_bits="2")
