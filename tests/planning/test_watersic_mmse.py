from __future__ import annotations

import numpy as np
import pytest
from tolerances import STANDARD_ERRORS

import rdtools as rd
from rdtools import errors
from rdtools.compare import layer_facts, result_row
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment, haar_moment, power_law
from rdtools.planning.watersic_mmse import MmseWaterSIC
from rdtools.quantizers import WaterSIC


def _moments() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    scales = np.exp(rng.standard_normal(64))
    return {
        "haar i^-1.5": haar_moment(power_law(64, 1.5), rng),
        "channels": haar_moment(power_law(64, 1.0), rng) * np.outer(scales, scales),
        "ar1 0.9": ar1_moment(64, 0.9),
    }


@pytest.mark.parametrize("rate", [1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("name", list(_moments()))
def test_it_stays_within_a_third_of_a_bit_and_never_far_behind_watersic(name, rate):
    """Normal weights, 4096 rows: at most 0.32 bit above R(D), and at most 0.005 bit above the better WaterSIC.

    Codes and distortion are off by the draw: 1/√(2mn) of the variance and the standard error of D, half a bit a unit of their logarithm.
    """
    layer = Layer.of(np.random.default_rng(1).standard_normal((4096, 64)), _moments()[name], name=name)
    facts = layer_facts(layer)
    rows = [
        result_row(layer, q, q.quantize(layer), facts=facts).to_row()
        for q in (MmseWaterSIC(rate_bits=rate), WaterSIC(rate_bits=rate), WaterSIC(rate_bits=rate, lmmse=True))
    ]
    gaps = [row["rate_gap_symbols_bpw"] for row in rows]
    band = STANDARD_ERRORS * 0.5 * np.log2(np.e) * rows[0]["distortion_stderr"] / rows[0]["distortion"]
    assert gaps[0] <= 0.32 + band
    assert gaps[0] <= min(gaps[1:]) + 0.005 + band


@pytest.mark.parametrize("rate", [1.5, 2.0, 3.0])
def test_its_distortion_is_the_prediction(rate):
    """Within 1 % and the draw, the ridge included."""
    layer = Layer.of(np.random.default_rng(2).standard_normal((4096, 64)), _moments()["haar i^-1.5"], name="x")
    quantizer = MmseWaterSIC(rate_bits=rate)
    row = result_row(layer, quantizer, quantizer.quantize(layer)).to_row()
    assert row["measured_over_pred_finite_rate"] == pytest.approx(
        1, abs=0.01 + STANDARD_ERRORS * row["distortion_stderr"] / row["distortion"]
    )
    assert np.isnan(row["pred_high_rate_distortion"])


def test_a_plan_serves_all_layers_of_an_input_and_does_not_know_their_scale():
    layer = Layer.of(np.random.default_rng(3).standard_normal((32, 64)), _moments()["ar1 0.9"], name="a")
    other = Layer(layer.key, 100 * layer.weight, layer.hessian)
    quantizer = MmseWaterSIC(rate_bits=2.0)
    assert quantizer.plan(layer) is quantizer.plan(other)
    assert MmseWaterSIC(rate_bits=2.0, rotation="haar").plan(layer) is not quantizer.plan(layer)
    settings = quantizer.for_layer(layer)
    assert (settings.order, settings.ridge > 0, settings.lmmse) == (quantizer.plan(layer).order_name, True, False)


def test_a_singular_hessian_needs_no_damping_beside_the_ridge():
    X = np.random.default_rng(4).standard_normal((30, 48))
    layer = Layer.of(np.random.default_rng(5).standard_normal((512, 48)), X.T @ X / 30, n_tokens=30)
    q = MmseWaterSIC(rate_bits=2.0).quantize(layer)
    assert q.damping == 0
    plain = WaterSIC(rate_bits=2.0).quantize(layer)
    assert plain.damping == 1e-4
    assert rd.measure(layer, q).distortion < rd.measure(layer, plain).distortion


def test_dead_layers_and_rates_that_no_code_has():
    q = MmseWaterSIC(rate_bits=2.0).quantize(Layer.of(np.ones((4, 3)), np.zeros((3, 3))))
    assert q.weight.symbols.integers.shape == (4, 0)
    with pytest.raises(errors.InvalidRate):
        MmseWaterSIC(rate_bits=0.0)


def test_what_a_ridge_does_not_mend_is_damped_as_for_watersic():
    """Two equal columns of 1e10 times the energy of the others: at 6 bits the ridge is too small beside them."""
    rng = np.random.default_rng(6)
    X = rng.standard_normal((300, 48))
    X[:, 1] = X[:, 0]
    X[:, :2] *= 1e5
    layer = Layer.of(rng.standard_normal((256, 48)), X.T @ X / 300, n_tokens=300)
    for damping in (None, 1e-2):
        q = MmseWaterSIC(rate_bits=6.0, damping=damping).quantize(layer)
        assert q.damping in ((0.0, 1e-4) if damping is None else (damping,))
        assert abs(q.symbol_rate_bits - 6) <= 0.01
