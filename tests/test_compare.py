from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import rounding

import rdtools as rd
from rdtools.compare import RESULT_COLUMNS, compare, layer_columns, layer_status, limit_variances
from rdtools.errors import CorruptFile, NotFiniteInput, NotSymmetric, ShapeMismatch
from rdtools.hessians.synthetic import haar_moment, power_law
from rdtools.quantizers import GPTQ, RTN, WaterSIC
from rdtools.theory.waterfilling import rate_distortion


@pytest.fixture
def layer(rng):
    return rd.Layer.of(rng.standard_normal((64, 24)), haar_moment(power_law(24, 1.0), rng), name="a.b.q_proj")


def test_public_names_are_functions_that_agree(layer):
    """`rd.measure` is also a package; calling it measures, before and after the package is imported."""
    q = rd.WaterSIC(rate_bits=3.0).quantize(layer)
    assert rd.measure(layer, q) == rd.measure.measure(layer, q)
    assert rd.theory.sic.gptq_gap_bits(layer.spectrum) > 0
    assert rd.compare.compare(layer, rd.WaterSIC(rate_bits=3.0), q)["method"] == "watersic"


def test_a_row_has_the_columns_that_tables_promise(layer):
    q = GPTQ(rate_bits=3.0)
    assert list(compare(layer, q, q.quantize(layer))) == [*layer_columns(layer), *RESULT_COLUMNS]


@pytest.mark.parametrize("quantizer", [RTN(rate_bits=3), GPTQ(rate_bits=3, rotation="auto"), WaterSIC(rate_bits=3)])
def test_gaps_are_rates_above_the_limit_at_the_measured_distortion(layer, quantizer):
    row = compare(layer, quantizer, quantizer.quantize(layer, seed=3))
    variance = float(np.mean(layer.weight**2))
    limit = float(rate_distortion(row["distortion"], variance * layer.spectrum.eigenvalues).rate_bits)
    assert row["limit_rate_bits"] == pytest.approx(limit, abs=rounding(500))
    assert row["gap_bits"] == pytest.approx(row["code_rate_bits"] - limit, abs=rounding(500))
    assert row["coded_gap_bits"] == pytest.approx(row["coded_bits"] - limit, abs=rounding(500))
    assert row["joint_limit_rate_bits"] <= row["limit_rate_bits"] + rounding(500)


def test_prediction_of_a_rotated_method_uses_the_rotated_basis():
    """On axes GPTQ loses as much as rounding; rotated it does not, and the row's G says so."""
    rng = np.random.default_rng(1)
    layer = rd.Layer.of(rng.standard_normal((256, 32)), np.diag(power_law(32, 1.5)), name="axes")
    rows = [compare(layer, q, q.quantize(layer)) for q in (GPTQ(rate_bits=4), GPTQ(rate_bits=4, rotation="hadamard"))]
    assert rows[0]["gptq_gap_bits"] == pytest.approx(rows[0]["rtn_gap_bits"], abs=rounding(500))
    assert rows[1]["gptq_gap_bits"] < 0.5 * rows[0]["gptq_gap_bits"]
    assert (rows[0]["rotation"], rows[1]["rotation"]) == ("none", "hadamard")


def test_methods_without_a_formula_have_no_prediction(layer, rng):
    shared = WaterSIC(rate_bits=3, coding="shared")
    assert math.isnan(compare(layer, shared, shared.quantize(layer))["predicted_distortion"])
    X = rng.standard_normal((10, 24))
    singular = rd.Layer.of(layer.weight, X.T @ X)
    column = WaterSIC(rate_bits=3)
    row = compare(singular, column, column.quantize(singular))
    assert math.isnan(row["predicted_distortion"])
    assert math.isnan(row["distortion_ratio"])


def test_pooled_joint_limit_is_a_bound_from_above(layer, monkeypatch):
    exact = rate_distortion(0.01, limit_variances(layer, joint=True)).rate_bits
    monkeypatch.setattr("rdtools.compare._JOINT_COMPONENTS", 8 * 24)
    pooled = rate_distortion(0.01, limit_variances(layer, joint=True)).rate_bits
    assert float(exact) <= float(pooled) <= float(exact) + 0.1


def test_status(rng):
    H = np.eye(4)
    assert layer_status(rd.Layer.of(np.ones((2, 4)), H)) == "ok"
    assert layer_status(rd.Layer.of(np.ones((2, 4)), H, n_tokens=3)) == "undersampled"
    assert layer_status(rd.Layer.of(np.zeros((2, 4)), H)) == "degenerate"
    assert layer_status(rd.Layer.of(np.ones((2, 4)), np.zeros((4, 4)))) == "degenerate"


def test_zero_hessian_is_degenerate_and_not_an_error():
    layer = rd.Layer.of(np.ones((2, 4)), np.zeros((4, 4)))
    for quantizer in (
        RTN(rate_bits=2),
        RTN(rate_bits=2, coding="fixed"),
        GPTQ(rate_bits=2, rotation="auto"),
        WaterSIC(rate_bits=2),
    ):
        row = compare(layer, quantizer, quantizer.quantize(layer))
        assert (row["status"], row["distortion"], row["code_rate_bits"]) == ("degenerate", 0.0, 0.0)
        assert row["limit_rate_bits"] == 0


@pytest.mark.parametrize(
    ("weight", "moment", "error"),
    [
        (np.ones((2, 3)), np.eye(2), ShapeMismatch),
        (np.ones((0, 2)), np.eye(2), ShapeMismatch),
        (np.full((2, 2), np.nan), np.eye(2), NotFiniteInput),
        (np.ones((2, 2)), np.array([[1.0, np.inf], [np.inf, 1.0]]), NotFiniteInput),
        (np.ones((2, 2)), np.array([[1.0, 0.5], [0.0, 1.0]]), NotSymmetric),
    ],
)
def test_bad_layers_are_refused_by_name(weight, moment, error):
    with pytest.raises(error, match=r"^model\.x"):
        rd.Layer.of(weight, moment, name="model.x")


def test_a_file_that_does_not_decode_to_what_was_encoded_is_no_row(layer, monkeypatch):
    q = RTN(rate_bits=3).quantize(layer)
    real = rd.measure.point.decode

    def wrong(data, *, name):
        decoded = real(data, name=name)
        decoded.codes[0, 0] += 1
        return decoded

    monkeypatch.setattr("rdtools.measure.point.decode", wrong)
    with pytest.raises(CorruptFile, match="does not decode to what was encoded"):
        rd.measure(layer, q)
