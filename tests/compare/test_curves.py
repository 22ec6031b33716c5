from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import rdtools.compare.curves as curves_module
from rdtools.compare import result_row
from rdtools.compare.bounds import BOUNDS, RD_BOUND, RD_BOUND_ROWVAR
from rdtools.compare.curves import CURVE_COLUMNS, FINITE_RATE, PREDICTIONS, SHANNON, UNIVERSAL, theory_curves
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import HPTQ, WaterSIC

RATES = np.linspace(0, 4.5, 10)


def _table(layer) -> pd.DataFrame:
    return pd.DataFrame(list(theory_curves(layer, RATES)), columns=list(CURVE_COLUMNS))


@pytest.fixture
def layer(rng):
    return Layer.of(3.0 * rng.standard_normal((4096, 32)), haar_moment(power_law(32, 1.0), rng), name="gaussian")


def test_every_curve_is_there_and_falls(layer):
    table = _table(layer)
    assert set(table["curve"]) == {*BOUNDS, UNIVERSAL, SHANNON, *PREDICTIONS, *FINITE_RATE}
    for _, curve in table.groupby("curve"):
        ordered = curve.sort_values("rate_bpw")["distortion"].to_numpy()
        assert (np.diff(ordered) <= 0).all()


def test_limits_start_at_the_energy_and_order_is_kept(layer):
    table = _table(layer).pivot_table(index="rate_bpw", columns="curve", values="distortion")
    at_zero = table.loc[0.0]
    assert at_zero[RD_BOUND.name] == pytest.approx(layer.statistics.weight_variance * np.trace(layer.hessian.matrix) / 32, rel=1e-12)
    assert (table[RD_BOUND_ROWVAR.name] <= table[RD_BOUND.name] * (1 + 1e-12)).loc[RATES].all()
    assert (table["watersic"] <= table["hptq"]).loc[RATES].all()
    assert (table["hptq"] <= table["hrtn"]).loc[RATES].all()


@pytest.mark.parametrize("rate", [1.5, 2.0, 3.0])
@pytest.mark.parametrize(("name", "method"), [("hptq at finite rate", HPTQ), ("watersic at finite rate", WaterSIC)])
def test_measurement_lies_on_the_curve_at_finite_rate(layer, rate, name, method):
    """Interpolated in log D over half-octave steps, whose curvature costs below 0.2 %; the prediction itself is good to 1 %."""
    quantizer = method(rate_bits=rate)
    row = result_row(layer, quantizer, quantizer.quantize(layer)).to_row()
    curve = _table(layer).query("curve == @name").sort_values("rate_bpw")
    measured_rate = row["entropy_per_column_bpw"]
    predicted = np.exp(np.interp(measured_rate, curve["rate_bpw"], np.log(curve["distortion"])))
    # 0.01 bit of rate is another 1.4 % of distortion
    assert row["distortion"] / predicted == pytest.approx(1, abs=0.01 + 0.014)


def test_dead_columns_share_the_rate(rng):
    """Half the columns dead: R and D per weight are half those of the active half at twice the rate."""
    H = haar_moment(power_law(16, 1.0), rng)
    wide = np.zeros((32, 32))
    wide[::2, ::2] = H
    W = rng.standard_normal((64, 32))
    small = pd.DataFrame(list(theory_curves(Layer.of(W[:, ::2], H), np.array([0.0, 6.0]))))
    half = pd.DataFrame(list(theory_curves(Layer.of(W, wide), np.array([0.0, 3.0]))))
    for name in (*PREDICTIONS, *FINITE_RATE, RD_BOUND.name):
        a, b = small[small["curve"] == name], half[half["curve"] == name]
        np.testing.assert_allclose(b["rate_bpw"], a["rate_bpw"] / 2, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(b["distortion"], a["distortion"] / 2, rtol=1e-9)


def test_left_out_where_it_does_not_hold_or_costs_too_much(layer, rng, monkeypatch):
    X = rng.standard_normal((20, 32))
    singular = Layer.of(layer.weight, X.T @ X / 20)
    assert set(_table(singular)["curve"]) == {*BOUNDS, UNIVERSAL, "hrtn"}
    monkeypatch.setattr(curves_module, "FINITE_RATE_COLUMNS", 31)
    assert set(_table(layer)["curve"]) == {*BOUNDS, UNIVERSAL, SHANNON, *PREDICTIONS}
    dead = Layer.of(np.ones((2, 3)), np.zeros((3, 3)))
    assert (_table(dead)["distortion"] == 0).all()


def test_layers_that_share_an_input_share_the_recursion(layer, monkeypatch):
    from dataclasses import replace

    first = _table(layer)
    monkeypatch.setattr(curves_module, "Cancellation", None)
    other = replace(layer, weight=2.0 * layer.weight)
    again = _table(other)
    np.testing.assert_allclose(again["distortion"], 4 * first["distortion"], rtol=1e-9)


def test_no_point_is_drawn_where_rows_have_no_prediction(rng):
    """Under a condition of 1e6 more than a bit is fed back at low rates; a row with such steps has no prediction."""
    H = haar_moment(np.geomspace(1, 1e-6, 32), rng)
    layer = Layer.of(rng.standard_normal((2048, 32)), H)
    table = _table(layer)
    for name, method in (("hptq at finite rate", HPTQ), ("watersic at finite rate", WaterSIC)):
        lowest = table[table["curve"] == name]["rate_bpw"].min()
        assert 1 < lowest < 4
        for rate in (lowest - 0.5, lowest + 0.5):
            q = method(rate_bits=rate)
            assert np.isnan(result_row(layer, q, q.quantize(layer)).pred_finite_rate_distortion) == (rate < lowest)
