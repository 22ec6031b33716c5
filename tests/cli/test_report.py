"""The main job as a user types it, on a tiny model."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from rdtools.cli.main import main
from rdtools.hessians.store import open_run
from rdtools.sweep import read_results

METHODS = "rtn,rtn-int,gptq+rotation,watersic"


def _report(model, tokens, out, *more):
    return main(["report", "--model", str(model), "--tokens", str(tokens), "--out", str(out), "--workers", "1", *more])


@pytest.fixture
def reported(tiny_llama, tiny_tokens, tmp_path, capsys):
    out = tmp_path / "run"
    code = _report(tiny_llama, tiny_tokens, out, "--methods", METHODS, "--rates", "2,3")
    return out, code, capsys.readouterr()


def test_everything_is_written(reported):
    out, code, printed = reported
    assert code == 0, printed.err
    assert {p.name for p in out.iterdir()} == {
        "index.html",
        "results.parquet",
        "results.csv",
        "curves.parquet",
        "figures",
        "hessians",
        "manifest.json",
        ".lock",
    }
    names = {"rate_distortion", "gap_to_limit", "gptq_watersic_gap", "predicted_measured"}
    assert {p.name for p in (out / "figures").iterdir()} == {f"{n}.{k}" for n in names for k in ("png", "pdf")}
    assert "watersic" in printed.out
    assert str(out / "index.html") in printed.out


def test_the_table_is_tidy_and_both_files_agree(reported):
    table = read_results(reported[0])
    assert len(table) == 14 * 4 * 2
    assert set(table["status"]) <= {"ok", "unreachable", "undersampled"}
    provenance = {
        "model",
        "layer",
        "layer_type",
        "method",
        "target_rate_bits",
        "rate_kind",
        "damping",
        "seed",
        "backend",
        "seconds",
    }
    assert provenance | {"status", "rdtools_version", "numpy_version"} <= set(table.columns)
    ok = table[table["status"] == "ok"]
    np.testing.assert_allclose(ok["coded_bits"] - ok["limit_rate_bits"], ok["coded_gap_bits"], rtol=0, atol=1e-12)
    csv = pd.read_csv(reported[0] / "results.csv", keep_default_na=True)
    assert list(csv.columns) == list(table.columns)
    for name in table.columns:
        if table[name].dtype.kind == "f":
            np.testing.assert_array_equal(csv[name].to_numpy(), table[name].to_numpy())


def test_the_page_stands_alone(reported):
    page = (reported[0] / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert page.count("data:image/png;base64,") == 4
    assert "Which line is the limit of what" in page
    assert not re.search(r">\s*(nan|NaN|None)\s*<", page)


def test_a_second_run_uses_the_hessians_and_gives_the_same_numbers(reported, tiny_llama, tiny_tokens):
    out = reported[0]
    first, manifest = read_results(out), (out / "manifest.json").read_text()
    figure = (out / "figures" / "rate_distortion.pdf").read_bytes()
    assert _report(tiny_llama, tiny_tokens, out, "--methods", METHODS, "--rates", "2,3") == 0
    assert (out / "manifest.json").read_text() == manifest
    pd.testing.assert_frame_equal(read_results(out).drop(columns="seconds"), first.drop(columns="seconds"))
    assert (out / "figures" / "rate_distortion.pdf").read_bytes() == figure


def test_compare_theory_and_verify_read_the_run(reported, capsys, tmp_path):
    out = reported[0]
    assert main(["compare", str(out)]) == 0
    assert "Coded bits above the limit" in capsys.readouterr().out
    assert main(["theory", str(out), "--csv", str(tmp_path / "t.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "t.csv")) == 14
    assert main(["hessians", "verify", str(out)]) == 0
    assert "are as written" in capsys.readouterr().out


def test_hessians_can_be_collected_alone(tiny_llama, tiny_tokens, tmp_path, capsys):
    out = tmp_path / "h"
    assert main(["hessians", "collect", str(out), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]) == 0
    assert "8 Hessians for 14 layers, 192 tokens" in capsys.readouterr().out
    assert len(open_run(out)) == 14


def test_a_run_with_few_tokens_is_marked_and_left_out_of_means(tiny_llama, tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.arange(10).reshape(1, 10))
    out = tmp_path / "run"
    assert _report(tiny_llama, tmp_path / "few.npy", out, "--methods", "gptq", "--rates", "3") == 0
    table = read_results(out)
    done = table[table["status"] == "undersampled"]
    assert len(done) >= 8
    assert (table["rank"] <= 10).all()
    assert (done["damping"] > 0).all()
    # the tiniest matrices, 8 × 16, have no code sequence within 0.01 bit of every rate, and say so
    assert set(table["status"]) <= {"undersampled", "unreachable"}
    assert f"{len(done)} rows undersampled, left out of all means" in capsys.readouterr().out


def test_a_layer_that_cannot_be_quantized_fails_alone(tiny_llama, tiny_tokens, tmp_path, capsys):
    """With one token repeated H has rank one, which damping 0 cannot factor: failed rows, exit 1, and still a page."""
    np.save(tmp_path / "same.npy", np.full((4, 8), 3))
    code = _report(tiny_llama, tmp_path / "same.npy", tmp_path / "run", "--methods", "gptq,rtn", "--rates", "3", "--damping", "0")
    table = read_results(tmp_path / "run")
    assert code == 1
    gptq = table[table["method"] == "gptq"]
    assert set(gptq["status"]) == {"failed"}
    assert gptq["message"].str.contains("singular with damping 0").all()
    assert "failed" not in set(table[table["method"] == "rtn"]["status"])
    assert "rows failed" in capsys.readouterr().out


def test_worker_processes_give_the_rows_of_one_process(reported, tiny_llama, tiny_tokens, tmp_path):
    from rdtools.cli.methods import make_quantizers
    from rdtools.sweep import plan, run_tasks, to_table

    tasks = plan(open_run(reported[0]), make_quantizers(["gptq", "watersic"], [2.0]), seed=0)
    alone, together = (to_table(run_tasks(tasks, workers=w).results).drop(columns="seconds") for w in (1, 2))
    pd.testing.assert_frame_equal(alone, together)


def test_manifest_is_json_without_nan(reported):
    json.loads((reported[0] / "manifest.json").read_text(), parse_constant=lambda c: pytest.fail(c))
