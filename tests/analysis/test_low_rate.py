from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import low_rate
from rdtools.analysis.make_all import write_figure
from scipy.optimize import brentq
from tolerances import EPS, STANDARD_ERRORS, rounding

from rdtools.measure import measure
from rdtools.moments.layer import Layer
from rdtools.planning.watersic_mmse import MmseWaterSIC
from rdtools.quantizers import HPTQ, WaterSIC
from rdtools.rounded import rounded_gaussian

FIGURES = Path(__file__).resolve().parents[2] / "figures"
METHODS = ["hptq+act-order", "watersic", "watersic-lmmse", "watersic-mmse", "watersic-trellis"]
N = 24


def _layer(moment, rows=96):
    return Layer.of(np.random.default_rng(1).standard_normal((rows, len(moment))), moment, name="a")


@pytest.fixture(scope="module")
def layer():
    X = np.random.default_rng(0).standard_normal((256, N)) * np.linspace(0.5, 2, N)
    return _layer(X.T @ X / 256)


def test_one_histogram_of_equal_columns_is_the_entropy_of_one():
    """Beyond 12 deviations a normal variable has 4e-33 of its probability."""
    for std in (0.2, 1.0, 7.3):
        assert low_rate.pooled_bits(np.full(3, std)) == pytest.approx(rounded_gaussian(1 / std).entropy_bits, rel=1e-12)


def test_one_histogram_costs_unequal_columns():
    """Entropy is concave: that of the mixture is above the mean, by log2(2) at most for two halves."""
    stds = np.array([0.3, 3.0])
    mean = np.mean([rounded_gaussian(1 / std).entropy_bits for std in stds])
    assert mean + 0.1 < low_rate.pooled_bits(stds) < mean + 1


@pytest.mark.parametrize("rate", [1.0, 2.5])
def test_a_white_hessian_leaves_the_scalar_quantizer(rate):
    """Every method without gains is the uniform quantizer at the step of this entropy, found here in its own way; the limit is
    ½ log2(1/D). Steps are found to 1e-4 octave, at which the gap, flat along the rate, is off by less than half of it."""
    step = brentq(lambda s: rounded_gaussian(s).entropy_bits - rate, 0.05, 3.0, xtol=1e-10)
    scalar = rounded_gaussian(step)
    white = _layer(np.eye(4))
    for quantizer in (HPTQ(rate_bits=rate, order="act-order"), WaterSIC(rate_bits=rate)):
        assert low_rate.predicted_gap_bits(white, quantizer) == pytest.approx(rate + 0.5 * math.log2(scalar.distortion), abs=5e-5)
    shrunk = low_rate.predicted_gap_bits(white, WaterSIC(rate_bits=rate, lmmse=True))
    assert shrunk == pytest.approx(rate + 0.5 * math.log2(scalar.lmmse_distortion), abs=5e-5)


def test_prediction_is_the_plans_where_there_is_one(layer):
    quantizer = MmseWaterSIC(rate_bits=1.5)
    assert low_rate.predicted_gap_bits(layer, quantizer) == quantizer.plan(layer).gap_bits


def test_dead_columns_cost_nothing_and_singular_hessians_have_no_prediction():
    """A dead column takes no bits, so that the gap per weight shrinks by the share that lives."""
    H = np.diag([1.0, 2.0, 3.0])
    quantizer = WaterSIC(rate_bits=1.5)
    padded = np.zeros((4, 4))
    padded[:3, :3] = H
    expected = 0.75 * low_rate.predicted_gap_bits(_layer(H), quantizer)
    assert low_rate.predicted_gap_bits(_layer(padded), quantizer) == pytest.approx(expected, rel=rounding(100))
    assert math.isnan(low_rate.predicted_gap_bits(_layer(np.ones((3, 3))), quantizer))


def test_standard_error_is_that_of_the_limit():
    """Under a white Hessian the limit is ½ log2(σ²/D), so that ±e of D are ¼ log2((D + e)/(D − e)) to either side on average."""
    white = _layer(np.eye(8))
    quantizer = WaterSIC(rate_bits=2.0)
    (row,) = low_rate.measure(white, "real", {quantizer: 0.5})
    point = measure(white, quantizer.quantize(white))
    D, error = point.distortion, point.distortion_stderr
    assert row["rate_gap_stderr_bpw"] == pytest.approx(0.25 * math.log2((D + error) / (D - error)), rel=1e-9)
    assert (row["pred_rate_gap_bpw"], row["condition"]) == (0.5, 1.0)


def test_rows_and_figure_of_a_run(tmp_path, monkeypatch, layer):
    """Layers that share a Hessian share the rows of normal weights and the predictions. Measured on normal weights, predictions hold as
    `sic_at_finite_rate` says, 1 % in D and 0.01 bit in rate, up to the standard error."""
    monkeypatch.setattr(low_rate, "ROWS", 2048)
    monkeypatch.setattr(low_rate, "RATES", (1.5, 3.0))
    other = replace(layer, key=replace(layer.key, name="b"), weight=layer.weight[:64])
    monkeypatch.setattr(low_rate, "open_run", lambda folder: {"a": layer, "b": other})
    write_figure("low_rate", [Path("anywhere")], tmp_path)
    rows = pd.read_csv(tmp_path / "low_rate.csv")
    assert rows.groupby(["weights", "layer"]).size().to_dict() == {("normal", "a"): 10, ("real", "a"): 10, ("real", "b"): 10}
    assert (rows["status"] == "ok").all()
    assert (rows.groupby(["method", "target_bpw"])["pred_rate_gap_bpw"].nunique() == 1).all()
    normal = rows[rows["weights"] == "normal"]
    assert sorted(set(normal["method"])) == METHODS
    budget = 0.01 + 0.5 * math.log2(1.01) + STANDARD_ERRORS * normal["rate_gap_stderr_bpw"]
    assert ((normal["rate_gap_symbols_bpw"] - normal["pred_rate_gap_bpw"]).abs() <= budget).all()
    assert (tmp_path / "low_rate.pdf").is_file()


@pytest.fixture(scope="module")
def kept():
    rows = pd.read_csv(FIGURES / "low_rate.csv")
    assert (rows["status"] == "ok").all()
    return rows


def _wide(rows, weights, value):
    own = rows[rows["weights"] == weights]
    return own.pivot(index=["layer", "layer_type", "target_bpw"], columns="method", values=value)


def test_the_committed_rows_draw(kept):
    """Two panels, in each marks measured and a line predicted for every method; the theory of both is drawn from normal weights."""
    left, right = low_rate.draw(kept).axes
    assert "24 Hessians" in left.get_title()
    assert "42 matrices" in right.get_title()
    for axis, weights, value in ((left, "normal", "rate_gap_symbols_bpw"), (right, "real", "rate_gap_total_bpw")):
        measured = {bars.get_label(): bars.lines[0].get_ydata() for bars in axis.containers}
        mean = _wide(kept, weights, value).groupby("target_bpw").mean()
        assert list(measured) == METHODS
        for method in METHODS:
            assert measured[method] == pytest.approx(mean[method].to_numpy(), rel=10 * EPS)


def test_mmse_watersic_is_within_0_32_bit_of_the_limit_at_every_rate(kept):
    """On every Hessian, the target at a condition below 1e5, with the band of the standard error on the far side."""
    assert set(kept["target_bpw"]) == set(low_rate.RATES)
    gap, error = (_wide(kept, "normal", name)["watersic-mmse"] for name in ("rate_gap_symbols_bpw", "rate_gap_stderr_bpw"))
    assert len(gap) == 24 * 7
    assert kept["condition"].max() < 1e5
    assert (gap + STANDARD_ERRORS * error).max() <= 0.32
    assert gap.max() < 0.291


def test_mmse_watersic_is_no_worse_than_watersic_on_normal_weights(kept):
    """Than the better of plain and LMMSE, by 0.005 bit at most, with the band of the standard error of the difference on the far side."""
    gap, error = _wide(kept, "normal", "rate_gap_symbols_bpw"), _wide(kept, "normal", "rate_gap_stderr_bpw")
    best = gap[["watersic", "watersic-lmmse"]].idxmin(axis=1)
    at_best = np.array([error.at[index, method] for index, method in best.items()])
    worse = gap["watersic-mmse"] - gap[["watersic", "watersic-lmmse"]].min(axis=1)
    assert (worse + STANDARD_ERRORS * np.hypot(error["watersic-mmse"], at_best)).max() <= 0.005
    assert worse.max() < 1e-4


def test_gains_save_on_independent_weights_and_less_on_trained_ones(kept):
    """As the gallery says. On normal weights under every Hessian at every rate; on a trained matrix at most 0.0073 bit is lost."""
    saved = {kind: _wide(kept, kind, "rate_gap_symbols_bpw") for kind in ("normal", "real")}
    change = {kind: gap["watersic-lmmse"] - gap["watersic"] for kind, gap in saved.items()}
    assert change["normal"].max() < -0.003
    assert change["real"].max() < 0.0073
    means = {kind: values.groupby("target_bpw").mean().loc[[2.0, 3.0, 4.0]].tolist() for kind, values in change.items()}
    assert means["normal"] == pytest.approx([-0.089, -0.021, -0.005], abs=6e-4)
    assert means["real"] == pytest.approx([-0.036, -0.007, -0.001], abs=6e-4)


def test_what_the_gallery_says_of_a_trellis_on_normal_weights(kept):
    gap = _wide(kept, "normal", "rate_gap_symbols_bpw")["watersic-trellis"].groupby("target_bpw")
    rates = [1.0, 2.0, 3.0, 4.0]
    assert gap.mean().loc[rates].tolist() == pytest.approx([0.068, 0.043, 0.036, 0.035], abs=6e-4)
    assert gap.max().loc[rates].tolist() == pytest.approx([0.089, 0.062, 0.045, 0.036], abs=6e-4)


def test_what_the_gallery_says_of_real_weights(kept):
    """In coded bits MMSE-WaterSIC is ahead of WaterSIC-LMMSE below 3 bits everywhere, and loses on some matrices from there on."""
    coded = _wide(kept, "real", "rate_gap_total_bpw")
    worse = (coded["watersic-mmse"] - coded["watersic-lmmse"]).droplevel("layer_type").unstack()
    assert worse.shape == (42, 7)
    below = [rate for rate in low_rate.RATES if rate < 3]
    assert (worse[below] < 0).all(axis=None)
    assert (worse > 0).sum().loc[[3.0, 4.0]].tolist() == [4, 17]
    assert worse[3.0].max() < 0.005
    assert worse[4.0].idxmax() == "model.layers.0.self_attn.k_proj"
    assert 0.010 < worse[4.0].max() < 0.011
    means = coded.groupby("target_bpw").mean().round(3)
    assert means.loc[[1.0, 2.0], "watersic-lmmse"].tolist() == [0.507, 0.366]
    assert means.loc[[1.0, 2.0], "watersic-mmse"].tolist() == [0.423, 0.330]
    assert (coded["watersic-trellis"] - coded["watersic-mmse"]).max() < -0.11


def test_what_the_gallery_says_of_predictions(kept):
    """For normal weights."""
    error = (_wide(kept, "normal", "rate_gap_symbols_bpw") - _wide(kept, "normal", "pred_rate_gap_bpw")).abs()
    assert error["watersic-mmse"].max() < 0.004
    assert error["hptq+act-order"].max() < 0.0125
    assert error["watersic-lmmse"].max() < 0.033
    assert error["watersic-trellis"].max() < 0.0051
    assert 0.06 < error["watersic"].max() < 0.07
    assert error["watersic"].idxmax()[0] == "model.layers.0.self_attn.o_proj"
