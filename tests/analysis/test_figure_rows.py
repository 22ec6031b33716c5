"""Rows of the figures that `rdtools figures` makes of any run, on layers small enough to know them in closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import calibration, column_rates, incoherence, one_block, proxy_loss, rate_split, spectra
from tolerances import rounding

from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.records import LayerKey

FIGURES = Path(__file__).resolve().parents[2] / "figures"
N = 16


def _layer(moment, block=0, kind="q_proj", rows=128):
    name = f"model.layers.{block}.self_attn.{kind}"
    layer = Layer.of(np.random.default_rng(block).standard_normal((rows, len(moment))), moment, name=name)
    return replace(layer, key=LayerKey("m", name, kind, block))


@pytest.fixture(scope="module")
def layer():
    X = np.random.default_rng(0).standard_normal((4 * N, N)) * np.geomspace(0.5, 2, N)
    return _layer(X.T @ X / (4 * N))


def test_blocks_of_a_run_are_the_middle_one_or_evenly_spaced():
    layers = {f"model.layers.{b}.{k}": _layer(np.eye(2), b, k, 2) for b in range(30) for k in ("q_proj", "o_proj")} | {"lm_head": None}
    assert {kind: layer.key.block for kind, layer in one_block.middle_block(layers).items()} == {"q_proj": 15, "o_proj": 15}
    spaced = one_block.spaced_blocks(layers)
    assert len(spaced) == 16
    assert [int(name.split(".")[2]) for name in spaced[::2]] == [0, 4, 8, 12, 17, 21, 25, 29]
    assert len(one_block.spaced_blocks(dict(list(layers.items())[:4]))) == 4


def test_the_water_level_of_a_white_hessian_is_the_distortion_at_the_rate():
    """Of λ = 1 throughout every direction has D = 2^(−2R), which is the level; ℓ² = λ."""
    rows = spectra.curves(_layer(np.eye(N)), "q").set_index("curve")["value"]
    assert (rows[["lambda", "ell_squared"]] == 1).all()
    for rate in spectra.RATES:
        assert rows[f"water_level_{rate:g}"] == pytest.approx(4.0**-rate, rel=rounding(100))


def test_bits_of_columns_are_those_of_their_steps(layer):
    """Rounding to a step Δ adds log2(e) Δ²/(24 σ²) bit to the entropy of high-rate theory, to second order; WaterSIC's bits rise with
    ½ log2 ℓ², on a grid of eighths of an octave, and GPTQ's are one number."""
    rows = column_rates.measure(layer)
    high = rows[rows["target_bpw"] == 4]
    steps = 2 * np.pi * np.e / 4 ** high["pred_high_rate_bpw"]
    excess = high["pred_rounded_bpw"] - high["pred_high_rate_bpw"]
    assert excess.to_numpy() == pytest.approx(np.log2(np.e) / 24 * steps.to_numpy(), abs=5e-4)
    by = dict(list(high.groupby("method")))
    assert by["hptq"]["pred_high_rate_bpw"].nunique() == 1
    expected = 0.5 * np.log2(by["watersic"]["ell_squared"])
    offset = by["watersic"]["pred_high_rate_bpw"] - expected
    assert offset.max() - offset.min() <= 1 / 8 + 1e-9
    assert list(by["watersic"]["rank"]) == list(range(N))


def test_a_rotation_makes_axes_incoherent_and_stays_below_its_bound():
    """Eigenvectors along axes have μ_H = √n, which every rotation brings below its bound here."""
    rows = pd.DataFrame(incoherence.rows_of([_layer(np.diag(np.linspace(1, 2, N)))])).set_index("rotation")
    assert rows.loc["none", "hessian_incoherence"] == pytest.approx(np.sqrt(N), rel=rounding(N))
    others = rows.drop(index="none")
    assert list(others.index) == ["hadamard", "haar", "kronecker"]
    assert (others["hessian_incoherence"] <= others["hessian_incoherence_bound"] * (1 + rounding(N))).all()
    assert others.loc["hadamard", "hessian_incoherence"] == pytest.approx(1.0, rel=rounding(N)), "entries of a Hadamard matrix are ±1/√n"


def test_ldlq_loses_a_twelfth_and_its_trace_is_below_that_of_rounding(layer):
    """Errors of 2048 weights are uniform at 2 bits: their mean square is 1/12 within five standard errors, √(4/5)/12 each."""
    rows = pd.DataFrame(proxy_loss.rows_of(layer, np.linalg.eigh(layer.hessian.matrix)[1]))
    assert list(rows["basis"]) == ["unrotated", "rotated"]
    assert (rows["trace_ratio"] < 1).all()
    assert (rows["trace_ratio"] <= rows["incoherence_bound_ratio"]).all()
    assert rows["proxy_loss_ratio"].tolist() == pytest.approx([1 / 12] * 2, rel=5 * np.sqrt(4 / 5 / layer.weight.size) * np.sqrt(N))


def test_parts_of_a_file_are_its_size(layer):
    for name in rate_split.METHODS[:8]:
        quantized = parse_method(name, 3).quantize(layer)
        sizes = rate_split.split(quantized.weight)
        assert sum(sizes.values()) == pytest.approx(measure(layer, quantized).total_bpw, rel=rounding(10))
        assert all(size >= 0 for size in sizes.values())


def test_few_tokens_cost_what_theory_says_and_none_nothing(layer, monkeypatch):
    """The exact moment undamped is the reference; twice the tokens cost less."""
    monkeypatch.setattr(calibration, "SIZES", (2.0, 8.0))
    monkeypatch.setattr(calibration, "DAMPINGS", (0.01,))
    rows = pd.DataFrame(calibration.rows_of(layer))
    undamped = rows[(rows["damping"] == 0) & rows["tokens_per_column"].isin([2.0, 8.0])].groupby("tokens_per_column")
    few, many = undamped["penalty_bpw"].mean()
    assert few > many > 0
    assert few == pytest.approx(undamped["pred_calibration_bpw"].first()[2.0], rel=0.5)


def test_what_the_gallery_says_of_calibration():
    rows = pd.read_csv(FIGURES / "calibration.csv")
    mean = rows.groupby(["damping", "tokens_per_column"])[["penalty_bpw", "pred_calibration_bpw"]].mean()
    error = (mean["penalty_bpw"] - mean["pred_calibration_bpw"]).xs(0.0, level="damping").abs()
    assert error[error.index >= 1.5].max() < 0.022
    gain = mean["penalty_bpw"].xs(0.0, level="damping") - mean["penalty_bpw"].xs(0.01, level="damping")
    assert gain[1.25] == pytest.approx(0.33, abs=0.006)
    assert gain[4.0] == pytest.approx(0.02, abs=0.006)
