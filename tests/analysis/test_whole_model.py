from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_tiny_llama
from rdtools.analysis import whole_model

from rdtools.jobs.calibration import EvaluationRequest
from rdtools.model.tokens import Tokens
from rdtools.records.evaluation_row import EVALUATION_COLUMNS

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def everything():
    return pd.read_csv(FIGURES / "whole_model.csv")


@pytest.fixture(scope="module")
def rows(everything):
    """Of the embedded model as it is, each layer quantized beside inputs of the original."""
    return everything[everything["fused"].isna() & (everything["hessians"] != "sequential")].set_index("method")


def test_rows_are_those_of_an_evaluation_and_drawn(everything, rows):
    assert ["method", *rows] == ["method", *(name for name in whole_model.COLUMNS if name != "method")]
    assert set(whole_model.COLUMNS) <= {column.name for column in EVALUATION_COLUMNS}
    assert list(rows.index) == ["bf16-noise", *whole_model.ACTIVATIONS, *(name for name, _ in whole_model.CODEBOOKS)]
    assert len(whole_model.draw(everything).axes) == 2
    quantized = rows.loc[list(whole_model.ACTIVATIONS)]
    assert (quantized["activation_bits"] == 4).all()
    assert quantized["activation_scope"].str.contains("KV cache").all()


def test_corrections_order_the_model_as_they_order_the_layers(rows):
    """KL: round to nearest, reassembly, rotation, low-rank terms by rank; each below the one before, and so is Σ D/D₀."""
    order = ["rtn-w4a4", "qllm-w4a4", "gptq-w4a4+rotation", *(f"lrc-w4a4-r{share}" for share in ("0.05", "0.1", "0.2", "0.3"))]
    for column in ("kl_nats", "summed_relative_distortion"):
        assert rows.loc[order, column].is_monotonic_decreasing
    assert (rows.loc[order, "kl_low"] > 100 * rows.loc["bf16-noise", "kl_high"]).all()
    # the first three differ by more than what their intervals hold
    assert (rows.loc[order[1:4], "kl_high"].to_numpy() < rows.loc[order[:3], "kl_low"].to_numpy()).all()
    weights_alone, joint = rows.loc["qera-w4a4-r0.1"], rows.loc["lrc-w4a4-r0.1"]
    assert joint["kl_nats"] < weights_alone["kl_nats"]
    assert joint["total_bpw"] == weights_alone["total_bpw"]
    assert joint["total_bpw"] - rows.loc["gptq-w4a4+rotation", "total_bpw"] == pytest.approx(2.37, abs=0.01)


def test_critical_channels_lower_the_divergence_and_cost_more_than_their_codes(rows):
    """0.07 bit of codes, and 0.31 in all: three more codebooks for every matrix of 33 to 197 thousand weights."""
    aqlm, crvq = (rows.loc[name] for name, _ in whole_model.CODEBOOKS)
    assert crvq["kl_nats"] < aqlm["kl_nats"]
    assert crvq["summed_relative_distortion"] < aqlm["summed_relative_distortion"]
    assert crvq["total_bpw"] - aqlm["total_bpw"] == pytest.approx(0.314, abs=0.01)


def test_a_small_model_has_its_rows(tmp_path):
    """All that makes the rows, on a Llama of one block."""
    ids = np.random.default_rng(0).integers(0, 64, (10, 12))
    tokens, held = (Tokens(part, np.ones_like(part, dtype=bool), name) for part, name in ((ids[:8], "some"), (ids[8:], "others")))
    made = whole_model.run(
        source=str(make_tiny_llama(tmp_path / "model", blocks=1)), tokens=tokens, evaluation=EvaluationRequest(tokens=held),
        activations=("rtn-w4a4",), codebooks=(("aqlm-1x8(bits=2,epochs=1)", 0.25),), sequential=("rtn-w4a4",),
        drift=("rtn-w4a4",), rotated=("gptq-w4a4+inner-rotation",), windows=2,
    )  # fmt: skip
    assert made["method"].tolist() == [
        "bf16-noise", "rtn-w4a4", "aqlm-1x8(bits=2,epochs=1)", "rtn-w4a4", "rtn-w4a4", "gptq-w4a4+inner-rotation",
    ]  # fmt: skip
    assert made["hessians"].tolist() == ["none", "original", "original", "sequential", "sequential", "original"]
    assert made["corrections"].tolist() == ["none"] * 4 + ["drift", "none"]
    assert list(made) == list(whole_model.COLUMNS)
    np.testing.assert_allclose(made["perplexity_original"], made["perplexity_original"][0], rtol=1e-5)  # of the rotated model, too
    assert made["activation_bits"].isna().tolist() == [True, False, True, False, False, False]
    assert made["online_maps"].dropna().tolist() == [*["none: 4 inputs"] * 3, "none: 2 inputs; Rotate: 2 inputs"]
    assert made["fused"].dropna().tolist() == ["gains of 3 norms; residual stream: hadamard of 16; values of each head: hadamard of 8"]
    for name in ("kl_nats", "total_bpw"):  # rounding to nearest looks at no moments
        assert made[name][3] == pytest.approx(made[name][1], rel=1e-9)


def test_the_gallery_prints_the_rows(rows):
    gallery = (FIGURES / "README.md").read_text()
    table = gallery[gallery.index("| weights and activations of 4 bits") : gallery.index("The original's perplexity")]
    printed = re.findall(r"^\| `(\S+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", table, flags=re.MULTILINE)
    assert len(printed) == 9
    for name, *cells in printed:
        row = rows.loc[name, ["total_bpw", "summed_relative_distortion", "kl_nats", "perplexity"]]
        assert [f"{value:.{digits}f}" for value, digits in zip(row, (3, 3, 4, 2), strict=True)] == cells


def test_one_after_the_other_keeps_the_order_and_gains_nothing(everything, rows):
    """KL of both, as the gallery prints it; rounding to nearest looks at no moments, and has the same to the last digit."""
    gallery = (FIGURES / "README.md").read_text()
    own = everything[(everything["hessians"] == "sequential") & (everything["corrections"] == "none")].set_index("method")
    printed = re.findall(r"^\| `(\S+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", gallery, flags=re.MULTILINE)
    assert [name for name, *_ in printed] == list(own.index) == list(whole_model.SEQUENTIAL)
    for name, *cells in printed:
        values = rows.loc[name, "kl_nats"], *own.loc[name, ["kl_nats", "kl_low", "kl_high"]]
        assert [f"{value:.4f}" for value in values] == cells
        assert rows.loc[name, "kl_low"] < own.loc[name, "kl_high"]
        assert own.loc[name, "kl_low"] < rows.loc[name, "kl_high"]
    assert own.loc[["rtn-w4a4", "qllm-w4a4", "gptq-w4a4+rotation", "lrc-w4a4-r0.1"], "kl_nats"].is_monotonic_decreasing
    assert own.loc["rtn-w4a4", "kl_nats"] == rows.loc["rtn-w4a4", "kl_nats"]


def test_nothing_is_gained_by_asking_for_the_originals_outputs(everything):
    """KL with the correction for drift and without, as the gallery has it: their intervals overlap."""
    gallery = " ".join((FIGURES / "README.md").read_text().split())
    own = everything[everything["hessians"] == "sequential"].set_index(["corrections", "method"])
    assert list(own.loc["drift"].index) == list(whole_model.DRIFT)
    for name in whole_model.DRIFT:
        with_drift, without = own.loc["drift", name], own.loc["none", name]
        assert f"{with_drift['kl_nats']:.4f} ({with_drift['kl_low']:.4f} to {with_drift['kl_high']:.4f})" in gallery
        assert with_drift["kl_low"] < without["kl_high"]
        assert without["kl_low"] < with_drift["kl_high"]


def test_half_of_the_rotations_are_fused_for_nothing(everything, rows):
    gallery, own = (FIGURES / "README.md").read_text(), everything[everything["fused"].notna()].set_index("method")
    table = gallery[gallery.index("On the model of `rdtools rotate`") :]
    printed = re.findall(r"^\| `(\S+)` \| [a-z0-9 ]+ \| ([\d.]+) \|$", table[: table.index("Half of the online")], flags=re.MULTILINE)
    assert printed == [(name, f"{own.loc[name, 'kl_nats']:.4f}") for name in whole_model.ROTATED]
    assert own.loc["gptq-w4a4+inner-rotation", "online_maps"] == "none: 12 inputs; Rotate: 12 inputs"
    assert own.loc["gptq-w4a4+rotation", "online_maps"] == "Rotate: 24 inputs"
    assert own.loc["gptq-w4a4+inner-rotation", "kl_low"] < rows.loc["gptq-w4a4+rotation", "kl_high"]  # intervals overlap
    np.testing.assert_allclose(own["perplexity_original"], rows["perplexity_original"].iloc[0], rtol=1e-5)
