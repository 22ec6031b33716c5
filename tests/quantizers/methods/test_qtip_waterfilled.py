"""QTIP with waterfilled rates: whole bits by trial, a file that decodes, and what unequal rates are worth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rdtools.coding import decode, encode, reconstruct, rows_of
from rdtools.errors import RateUnreachable, UsageError
from rdtools.measure import measure
from rdtools.measure.point import same_weight
from rdtools.moments.layer import Layer
from rdtools.quantizers import QTIP, WaterfilledQTIP
from rdtools.quantizers.methods.qtip_waterfilled import allot_bits

ERRORS = (1.0, 0.27, 0.073, 0.019, 0.0053)


def test_bits_are_those_of_least_error_of_all_ways(rng):
    traces = 4.0 ** rng.standard_normal(4)
    ways = [b for b in itertools.product(range(5), repeat=4) if sum(b) == 8]
    best = min(ways, key=lambda b: sum(d * ERRORS[k] for d, k in zip(traces, b, strict=True)))
    assert tuple(allot_bits(traces, ERRORS, 2.0, name="x").tolist()) == best


def test_rates_that_no_whole_bits_have_are_refused_with_those_that_do():
    with pytest.raises(RateUnreachable, match=r"2.4 bits .* 4 blocks of 16 columns .* the nearest rates are 2.2500 and 2.5000"):
        allot_bits(np.ones(4), ERRORS, 2.4, name="x")
    with pytest.raises(RateUnreachable, match=r"the nearest rates are 4.0000"):
        allot_bits(np.ones(4), ERRORS, 4.5, name="x")
    with pytest.raises(UsageError, match="state bits"):
        WaterfilledQTIP(rate_bits=2, state_bits=5)


def test_unequal_columns_get_unequal_bits_and_the_file_decodes(rng):
    """At 2 bits, 256 times the energy in a half of the columns: one bit from 2 to 4 and 0 saves a third of the error at least."""
    weight = rng.standard_normal((20, 64))
    layer = Layer.of(weight, np.diag(np.repeat([256.0, 1.0], 32)))
    quantized = WaterfilledQTIP(rate_bits=2).quantize(layer)
    assert quantized.weight.symbols.bits.tolist() == [4, 4, 0, 0]
    assert same_weight(decode(encode(quantized.weight).data), quantized.weight)
    own, equal = measure(layer, quantized), measure(layer, QTIP(rate_bits=2).quantize(layer))
    assert own.distortion < 0.5 * equal.distortion
    assert own.total_bpw < equal.total_bpw + 0.3
    half = WaterfilledQTIP(rate_bits=1.745, row_rotation=None).quantize(layer)
    assert sum(half.weight.symbols.bits.tolist()) == 7
    assert half.symbol_rate_bits == 1.75 * 32 / 20  # of the padded rows
    assert measure(layer, half).symbol_bpw == half.symbol_rate_bits


@pytest.mark.parametrize("row_rotation", [None, "auto"])
def test_rows_decode_some_after_others(row_rotation, rng):
    """40 rows and 72 columns, which end within a tile: three blocks of rows."""
    layer = Layer.of(rng.standard_normal((40, 72)), np.diag(np.geomspace(1, 200, 72)))
    weight = WaterfilledQTIP(rate_bits=2, row_rotation=row_rotation).quantize(layer).weight
    parts = list(rows_of(weight, 16 * 72))
    assert [rows.stop for rows, _ in parts] == [16, 32, 40]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), reconstruct(weight))


def test_equal_columns_get_equal_bits_and_zero_weights_stay(rng):
    layer = Layer.of(rng.standard_normal((16, 32)), np.eye(32))
    assert WaterfilledQTIP(rate_bits=3).quantize(layer).weight.symbols.bits.tolist() == [3, 3]
    for nothing in (Layer.of(np.zeros((8, 20)), np.eye(20)), Layer.of(np.ones((8, 3)), np.zeros((3, 3)))):
        quantized = WaterfilledQTIP(rate_bits=2).quantize(nothing)
        assert same_weight(decode(encode(quantized.weight).data), quantized.weight)
        assert measure(nothing, quantized).distortion == 0
