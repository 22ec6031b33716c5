"""A budget shared out among the layers of a Llama of two blocks."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from conftest import make_tiny_llama

from rdtools.cli.main import main
from rdtools.errors import CorruptFile, RateUnreachable, UsageError
from rdtools.evaluation.power_law import PowerLaw
from rdtools.jobs.allocate import allocate
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.expected_kl import evaluated_law
from rdtools.jobs.quantize import quantize_model
from rdtools.methods import make_quantizers
from rdtools.runs.allocations import read_allocation, write_allocation
from rdtools.runs.result_files import write_manifest
from rdtools.runs.results import write_results
from rdtools.runs.saved import read_saved
from rdtools.runs.store import open_run
from rdtools.sweep import run_sweep

RATES = [2.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_tiny_llama(folder / "model", blocks=1, hidden=48)
    rng = np.random.default_rng(0)
    for name, count in (("calibration", 16), ("held", 6)):
        np.save(folder / f"{name}.npy", rng.integers(0, 64, (count, 24)))
    run = collect(str(folder / "model"), CalibrationRequest(tokens=folder / "calibration.npy"), out=folder / "run")
    swept = run_sweep(run, make_quantizers(["hptq", "rtn"], RATES))
    write_manifest(run.path, write_results(swept.table, swept.curves, run.path), versions=run.manifest.versions, command="")
    return folder


def _held(data):
    return {"evaluation": EvaluationRequest(tokens=data / "held.npy"), "window": 12, "noise": False}


@pytest.fixture(scope="module")
def plans(data):
    asked = {"methods": "hptq", "tokens": data / "calibration.npy"}
    return {rule: allocate(data / "run", 3.6, rule=rule, **asked) for rule in ("equal", "uniform", "relative", "kl")}


def _loss(plan, rule, table):
    first = table[table["method"] == "hptq"].drop_duplicates("layer").set_index("layer")
    scale = first["distortion"] / first["relative_distortion"] * first["rows"] * first["columns"]
    return sum(entry.relative_distortion * (scale[entry.layer] if rule == "uniform" else 1) for entry in plan.layers)


def test_budgets_are_kept_and_the_loss_of_a_rule_is_least_under_it(data, plans):
    """Files take 99.8 to 100 % of the budget; Σ m n D and Σ D/D₀ are least under their own rule, within 1 % as sizes are interpolated."""
    table = pd.read_parquet(data / "run" / "results.parquet")
    for plan in plans.values():
        assert 0.998 * 3.6 <= plan.total_bpw <= 3.6
        assert plan.checked
        bits = [entry.total_bpw * entry.weights / 8 for entry in plan.layers]
        np.testing.assert_allclose(bits, np.round(bits), atol=1e-6)
    assert len({entry.rate_bits for entry in plans["equal"].layers}) == 1
    for rule in ("uniform", "relative"):
        own = _loss(plans[rule], rule, table)
        assert all(own <= 1.01 * _loss(other, rule, table) for other in plans.values())
        assert own < _loss(plans["equal"], rule, table)


def test_plans_are_evaluated_as_they_say(data, plans):
    """The row of a plan has the rate and Σ D/D₀ that it expects: both are measured on the same files."""
    places = [data / "run" / "allocations" / f"3.6-{rule}-measured.json" for rule in plans]
    rows = evaluate(data / "run", allocations=places, **_held(data))
    for (rule, plan), row in zip(plans.items(), rows.to_dict("records"), strict=True):
        assert (row["method"], row["target_bpw"], row["allocation"]) == ("hptq", 3.6, f"{rule}, measured")
        assert row["total_bpw"] == pytest.approx(plan.total_bpw, rel=1e-12)
        assert row["summed_relative_distortion"] == pytest.approx(plan.summed_relative_distortion, rel=1e-12)
        assert math.isnan(row["expected_kl_nats"])  # nothing was evaluated before the plans were made
    with pytest.raises(UsageError, match="leave `methods` and `rates` out"):
        evaluate(data / "run", allocations=places[0], methods=["hptq"], **_held(data))


def test_kl_is_expected_by_the_rows_that_were_evaluated_and_by_slopes(data, plans):
    slopes = pd.read_csv(data / "run" / "slopes.csv").set_index("layer")
    np.testing.assert_allclose(slopes["slope_nats"], slopes["kl_nats"] / slopes["relative_distortion"], rtol=1e-12)
    expected = sum(slopes["slope_nats"][entry.layer] * entry.relative_distortion for entry in plans["kl"].layers)
    assert plans["kl"].expected_kl_by_slopes_nats == pytest.approx(expected, rel=1e-9)
    assert plans["relative"].expected_kl_by_slopes_nats is None
    assert plans["relative"].expected_kl_nats is None
    rows = evaluate(data / "run", methods=["hptq"], rates=RATES, **_held(data))
    law = evaluated_law(data / "run")
    direct = PowerLaw(rows["summed_relative_distortion"].to_numpy(), rows["kl_nats"].to_numpy(), seed=0)
    assert law.power.value == pytest.approx(direct.power.value, rel=1e-9)
    again = allocate(data / "run", 3.6, methods="hptq", rule="relative", check=False, out=data / "again.json")
    assert again.expected_kl_nats == pytest.approx(direct.at(again.summed_relative_distortion).value, rel=1e-9)
    assert not again.checked
    table = pd.read_parquet(data / "run" / "results.parquet")
    table = table[table["method"] == "hptq"]
    sums = (table["layer"].map(slopes["slope_nats"]) * table["relative_distortion"]).groupby(table["target_bpw"]).sum()
    by_slopes = PowerLaw(sums[RATES].to_numpy(), rows["kl_nats"].to_numpy(), seed=0)
    kl = allocate(data / "run", 3.6, methods="hptq", tokens=data / "calibration.npy")  # the slopes are there
    assert kl.layers == plans["kl"].layers
    assert kl.expected_kl_nats == pytest.approx(by_slopes.at(expected).value, rel=1e-9)
    place = data / "run" / "allocations" / "3.6-kl-measured.json"
    before, row = (evaluate(data / "run", allocations=place, fresh=fresh, **_held(data)).iloc[0] for fresh in (False, True))
    assert before["expected_kl_nats"] == row["expected_kl_nats"] == pytest.approx(kl.expected_kl_nats)  # the plan's of today
    assert before["kl_nats"] == row["kl_nats"]


def test_a_saved_model_has_the_rates_of_its_plan(data, plans):
    place = data / "run" / "allocations" / "3.6-relative-measured.json"
    asked = {"allocation": place, "hessians": "original", "calibration": CalibrationRequest(tokens=data / "calibration.npy")}
    saved = quantize_model(str(data / "model"), None, None, data / "saved", **asked)
    assert saved.allocation == plans["relative"]
    assert saved.total_bpw == pytest.approx(plans["relative"].total_bpw, rel=1e-12)  # the same Hessians, so the same files
    assert [e.relative_distortion for e in saved.layers] == pytest.approx(
        [next(a for a in plans["relative"].layers if a.layer == e.layer.name).relative_distortion for e in saved.layers], rel=1e-9
    )
    assert read_saved(data / "saved").allocation == saved.allocation
    row = evaluate(data / "saved", **_held(data)).iloc[0]
    assert (row["method"], row["target_bpw"], row["allocation"]) == ("hptq", 3.6, "relative, measured")
    other = data / "run" / "allocations" / "3.6-uniform-measured.json"
    with pytest.raises(UsageError, match="holds a quantized model with other method"):
        quantize_model(str(data / "model"), None, None, data / "saved", **(asked | {"allocation": other}))


def test_methods_of_whole_numbers_of_bits_are_combined_exactly(data):
    with pytest.raises(RateUnreachable, match=r"no choices take 99.8% to 100 % of 3.9 bits per weight; the nearest take") as refused:
        allocate(data / "run", 3.9, methods=["rtn"], rule="relative")
    nearest = re.findall(r"\d\.\d{4}", str(refused.value))
    assert len(nearest) == 2
    for bits in map(float, nearest):  # the remedy works
        plan = allocate(data / "run", bits, methods=["rtn"], rule="relative")
        assert {entry.rate_bits for entry in plan.layers} <= {2.0, 3.0, 4.0}
        assert 0.998 * bits <= plan.total_bpw <= bits
    mixed = allocate(data / "run", 3.9, rule="relative")
    assert mixed.methods == ["hptq"]  # which is better at every rate, and coded
    with pytest.raises(RateUnreachable, match=r"rtn at one rate takes .* not 99.8% to 100 % of 3.9; ask for one of these"):
        allocate(data / "run", 3.9, methods=["rtn"], rule="equal")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"bits": 1.0}, RateUnreachable, "a budget of 1 bits per weight: known rates reach from"),
        ({"bits": 9.0}, RateUnreachable, "a budget of 9 bits per weight: known rates reach from"),
        ({"bits": math.nan}, UsageError, "`bits` nan: expected a finite number above 0"),
        ({"methods": ["gptq"]}, UsageError, "no row of gptq on model.layers.0.self_attn.q_proj"),
        ({"methods": ["hptq+bias"], "source": "bound"}, UsageError, r"curves of H alone, and R\(D\) of hptq\+bias is of the covariance"),
        ({"rule": "kl"}, UsageError, "no calibration data; give a file as `text` or `tokens`"),
        ({"rule": "other"}, UsageError, "`rule` 'other': expected one of equal, uniform, relative, kl"),
    ],
)
def test_what_cannot_be_is_refused(data, settings, error, message):
    with pytest.raises(error, match=message):
        allocate(data / "run", **({"bits": 3.0, "rule": "relative"} | settings))


def test_a_place_for_the_plan_that_is_none_is_refused_before_any_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr("rdtools.jobs.allocate._curves", lambda *_: pytest.fail("worked before the place was looked at"))
    with pytest.raises(UsageError, match=r"a directory, expected a file to write; give .*NAME\.json"):
        allocate(data / "run", 3.0, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written, because .*file is a file"):
        allocate(data / "run", 3.0, out=tmp_path / "file" / "plan.json")


def test_a_plan_of_another_model_or_of_none_is_refused(data, plans, tmp_path):
    plan, place = plans["relative"], tmp_path / "plan.json"
    for changed, message in (
        ({"layers": plan.layers[1:]}, r"has no rate for model.layers.0.self_attn.q_proj \(1 such layers\)"),
        ({"files": {"model.safetensors": "0" * 64}}, "made for another model llama: model.safetensors differs"),
    ):
        write_allocation(place, plan.model_copy(update={"model": "llama"} | changed))
        with pytest.raises(UsageError, match=message):
            evaluate(data / "run", allocations=place, **_held(data))
    text = json.loads(plan.model_dump_json())
    for changed in ({"bits": -1.0}, {"layers": []}, {"layers": [text["layers"][0]] * 2}, {"other": 1}):
        place.write_text(json.dumps(text | changed))
        with pytest.raises(CorruptFile, match="no plan of rdtools"):
            read_allocation(place)
    with pytest.raises(UsageError, match="no such file; expected a plan"):
        read_allocation(tmp_path / "none.json")
    by_hand = {"format": "rdtools-allocation", "version": 1, "model": "m", "bits": 3.0}
    place.write_text(
        json.dumps(by_hand | {"layers": [{"layer": name, "method": "rtn", "rate_bits": 3} for name in open_run(data / "run")]})
    )
    assert evaluate(data / "run", allocations=place, **_held(data))["allocation"].tolist() == ["by hand"]


def test_the_command_prints_the_plan(data, capsys, tmp_path):
    argv = ["allocate", str(data / "run"), "--bits", "3.6", "--methods", "hptq", "--rule", "relative", "--out", str(tmp_path / "plan.json")]
    assert main(argv) == 0
    printed = capsys.readouterr()
    assert "7 layers" in printed.out
    assert "rule relative, measured" in printed.out
    assert "q_proj: target" in printed.out
    assert f"{tmp_path / 'plan.json'}: 3." in printed.err
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "relative"
    assert main(["quantize", "--allocation", str(tmp_path / "plan.json"), "--method", "rtn", "--save", str(tmp_path / "x")]) == 2
    assert "--allocation says the method and rate of every layer; leave --method and --bits out" in capsys.readouterr().err
