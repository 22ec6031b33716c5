"""What the gallery says of SmolLM2-135M, of the rows that are kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "figures" / "smollm2"
KINDS = ("q", "k", "v", "o", "gate", "up", "down")


@pytest.fixture(scope="module")
def rows():
    kept = pd.read_csv(FOLDER / "results.csv")
    return kept[(kept["status"] == "ok") & (kept["target_bpw"] == 3)]


def test_the_table_is_that_of_the_rows(rows):
    gallery = (FOLDER.parent / "README.md").read_text()
    table = gallery[gallery.index("| SmolLM2-135M, 3 bits |") :]
    means = rows.pivot_table(index="method", columns="layer_type", values="rate_gap_total_bpw")
    lines = re.findall(r"^\| `([a-z+-]+)`[^|]*\|(.*)\|$", table[: table.index("On all 210")], flags=re.MULTILINE)
    assert len(lines) == 7
    for method, cells in lines:
        shown = [float(cell.replace("−", "-")) for cell in cells.split("|")]
        types = [f"{kind}_proj" for kind in KINDS]
        assert shown == pytest.approx(means.loc[method, types].tolist(), abs=5.1e-4)


def test_the_sentences_hold(rows):
    gap = rows.pivot_table(index="layer", columns="method", values="rate_gap_total_bpw")
    assert len(gap) == 210
    gain = gap["watersic-mmse"] - gap["watersic-trellis"]
    assert (round(gain.min(), 2), round(gain.max(), 2)) == (0.18, 0.22)
    assert (gap["watersic-trellis"] < 0).sum() == 79
    assert (gap["hptq+rotation"] < gap["hptq"]).sum() == 207
    rotated = rows[rows["method"] == "hptq+rotation"]["pred_gptq_gap_as_run_bpw"]
    assert (rotated < 0.1).sum() == 183
    assert rotated.max() == pytest.approx(0.69, abs=0.005)
    symbols = rows.pivot_table(index="layer", columns="method", values="rate_gap_symbols_bpw")
    theory = rows[rows["method"] == "hptq-column"].set_index("layer")["pred_gptq_gap_as_run_bpw"]
    beyond = symbols["hptq-column"] - symbols["watersic"] - theory
    assert (beyond.abs() < 0.03).mean() > 0.5
    assert beyond.idxmax() == "0.k"
    assert beyond["0.k"] == pytest.approx(0.81, abs=0.005)


def test_held_out_ratios_are_what_the_gallery_says(rows):
    held = rows[rows["heldout_over_calibration"].notna()].set_index(["method", "layer"])
    ratio = held["heldout_over_calibration"]
    own, hptq = held.loc["watersic"], ratio["hptq"]
    measured, effective = own["heldout_over_calibration"], 1 / (1 - own["active_columns"] / own["effective_tokens"])
    assert len(own) == 42
    assert [round(v, 2) for v in (measured.min(), measured.max(), hptq.min(), hptq.max())] == [1.05, 1.84, 1.04, 1.38]
    far = (measured / effective - 1).abs() >= 0.06
    assert list(far[far].index) == ["18.o"]
    assert (round(effective["18.o"], 1), round(measured["18.o"], 2)) == (6.2, 1.21)
    assert (1 / (1 - own["active_columns"] / own["distinct_tokens"])).max() == pytest.approx(1.067, abs=0.001)
    few = own[own["layer_type"] == "o_proj"]["effective_tokens"]
    assert (round(few.min()), round(few.max()), own["distinct_tokens"].max()) == (687, 3962, 24479)
    assert few.max() < own[own["layer_type"] != "o_proj"]["effective_tokens"].min()
    assert [round(v, 3) for v in (measured.mean(), hptq.mean())] == [1.155, 1.116]
    assert round((np.log2(measured) - np.log2(hptq)).mean() / 2, 3) == 0.021


def test_the_blocks_with_learnt_models_are_those_of_the_rows(rows):
    gallery, kept = (FOLDER.parent / "README.md").read_text(), pd.read_csv(FOLDER / "trellis.csv")
    table = gallery[gallery.index("<!-- smollm2-trellis -->") : gallery.index("<!-- /smollm2-trellis -->")]
    means = kept.pivot_table(index=["method", "target_bpw"], columns="layer_type", values="rate_gap_total_bpw")
    lines = re.findall(r"^\| `([a-z+-]+)` \| (\d) \|(.*)\|$", table, flags=re.MULTILINE)
    assert len(lines) == 11
    for method, rate, cells in lines:
        shown = [float(cell.replace("−", "-")) for cell in cells.split("|")]
        assert shown == pytest.approx(means.loc[(method, float(rate)), [f"{kind}_proj" for kind in KINDS]].tolist(), abs=5.1e-4)
    gaps = kept.pivot(index=["layer", "target_bpw"], columns="method", values="rate_gap_total_bpw")
    gain = gaps["watersic-mmse"] - gaps["watersic-trellis"]
    assert (round(gain.min(), 2), round(gain.max(), 2)) == (0.16, 0.23)
    learnt = (gaps["watersic-trellis"] - gaps["watersic-trellis+adaptive"]).dropna()
    assert learnt.groupby("target_bpw").mean().round(3).tolist() == [0.075, 0.098, 0.105]
    assert round(learnt.max(), 2) == 0.67
    turned = (gaps["watersic-mmse+rotation"] - gaps["watersic-mmse"]).dropna()
    assert (len(turned), round(turned.mean(), 3)) == (28, 0.011)
    all_layers = rows.pivot_table(index="layer", columns="method", values="rate_gap_total_bpw")
    lost = all_layers["watersic+rotation"] - all_layers["watersic"]
    assert round(lost.mean(), 2) == 0.17
    middle = [name for name in lost.index if name.endswith((".gate", ".up")) and 1 <= int(name.split(".")[0]) <= 26]
    assert round(lost[middle].mean(), 1) == 0.5


def test_what_is_kept_is_small():
    assert all(path.stat().st_size < 300_000 for path in FOLDER.glob("*.csv"))


def test_watersic_is_ahead_in_kl_of_the_whole_model():
    """By more than both intervals, at the size of `hptq-column` within 0.01 bit."""
    kept = pd.read_csv(FOLDER / "equal_footing.csv").set_index("method")
    hptq, watersic = kept.loc["hptq-column"], kept.loc["watersic"]
    assert watersic["kl_high"] < hptq["kl_low"]
    assert abs(watersic["total_bpw"] - hptq["total_bpw"]) < 0.01
    assert hptq["kl_nats"] / watersic["kl_nats"] > hptq["summed_relative_distortion"] / watersic["summed_relative_distortion"] > 1.38
