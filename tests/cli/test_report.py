"""The main job as a user types it, on a tiny model."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import make_tiny_llama, quick_figures

from rdtools.cli.main import main
from rdtools.report.tables import LAYER_HEAD
from rdtools.runs.result_files import RESULTS
from rdtools.runs.results import read_results
from rdtools.runs.seal import UNSEALED, sealed
from rdtools.runs.store import open_run

METHODS = "hrtn,rtn-midrise,hptq+rotation,watersic"


def _report(model, tokens, out, *more, drawn=False):
    with contextlib.nullcontext() if drawn else quick_figures():
        return main(["report", "--model", str(model), "--tokens", str(tokens), "--out", str(out), "--workers", "1", *more])


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def tiny_tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 64, (12, 16)))
    return path


@pytest.fixture(scope="module")
def report_once(tiny_llama, tiny_tokens, tmp_path_factory):
    """One report that all tests share: its directory, exit code and what it printed."""
    out, printed, errors = tmp_path_factory.mktemp("report") / "run", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        code = _report(tiny_llama, tiny_tokens, out, "--methods", METHODS, "--rates", "2,3", drawn=True)
    return out, code, printed.getvalue(), errors.getvalue()


@pytest.fixture
def reported(report_once, tmp_path):
    """A copy of the report that a test may change."""
    return shutil.copytree(report_once[0], tmp_path / "run")


def test_everything_is_written(report_once):
    out, code, printed, errors = report_once
    assert code == 0, errors
    assert {p.name for p in out.iterdir()} == {
        "index.html",
        "results.parquet",
        "results.csv",
        "paired.parquet",
        "paired.csv",
        "curves.parquet",
        "figures",
        "hessians",
        "manifest.json",
        "plan.json",
        "tasks.json",
        "leases",
        "spectra",
        "rows",
        "results.json",
        ".lock",
    }
    names = {"rate_distortion", "gap_to_rd", "gptq_watersic_gap", "predicted_measured", "heldout"}
    assert {p.name for p in (out / "figures").iterdir()} == {f"{n}.{k}" for n in names for k in ("png", "pdf", "svg")}
    assert "watersic" in printed
    assert str(out / "index.html") in printed


def test_the_table_is_tidy_and_both_files_agree(reported):
    table = read_results(reported)
    assert len(table) == 14 * 4 * 2
    assert set(table["status"]) <= {"ok", "infeasible", "undersampled"}
    provenance = {
        "model",
        "layer",
        "layer_type",
        "method",
        "target_bpw",
        "rate_kind",
        "damping",
        "seed",
        "backend",
        "wall_s",
    }
    assert provenance | {"status", "rdtools_version", "numpy_version"} <= set(table.columns)
    ok = table[table["status"] == "ok"]
    np.testing.assert_allclose(ok["total_bpw"] - ok["rd_bound_rate_bpw"], ok["rate_gap_total_bpw"], rtol=0, atol=1e-12)
    csv = pd.read_csv(reported / "results.csv", keep_default_na=True)
    assert list(csv.columns) == list(table.columns)
    for name in table.columns:
        if table[name].dtype.kind == "f":
            np.testing.assert_array_equal(csv[name].to_numpy(), table[name].to_numpy())


def test_the_page_stands_alone(reported):
    page = (reported / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\((?!#)", page)
    drawings = re.findall(
        r'class="scroll drawing"[^>]*style="--width:(\d+)px"><svg role="img" aria-label="[^"]+"[^>]* width="([\d.]+)pt"', page
    )
    assert len(drawings) == page.count("<svg ") == 5
    for least, points in drawings:  # a narrow screen scrolls a figure rather than making its type smaller
        assert int(least) == round(0.92 * round(float(points) * 96 / 72)) > 390
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)), "names of one figure are not those of another"
    assert "Which line is a bound for what" in page
    assert not re.search(r">\s*(nan|NaN|None)\s*<", page)


#: Words of a comparison of rates or distortions, the bounds or references that it can be with, and what says how rates were coded.
_COMPARES = re.compile(r"above|below|gap|ratio|difference|−|%|over D|minus", re.IGNORECASE)
_BOUND = re.compile(r"R\(D\), one variance|R\(D\), row variances|R\(D\) with row variances|no bound", re.IGNORECASE)
_CODER = re.compile(r"coder|entropy model|no coder", re.IGNORECASE)


class _Blocks(HTMLParser):
    """Text of each table's caption and head, with the percentages in its cells, of each figure's caption, and of each point of a list."""

    def __init__(self):
        super().__init__()
        self.blocks, self.tables, self._open = [], 0, []

    def handle_starttag(self, tag, attrs):
        self._open += [tag] if tag in ("caption", "thead", "figcaption", "table", "figure", "li") else []
        self.tables += tag in ("table", "figure")
        if tag in ("table", "figure", "li"):
            self.blocks.append("")

    def handle_endtag(self, tag):
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data):
        if {"caption", "thead", "figcaption", "li"} & set(self._open) or ("table" in self._open and "%" in data):
            self.blocks[-1] += " " + data


def _unnamed(page):
    """Captions, heads and points of lists that compare and do not say with which bound, or under which coder; and the parser."""
    parser = _Blocks()
    parser.feed(page)
    comparing = [block for block in parser.blocks if _COMPARES.search(block) or re.search(r"\d bpw", block)]
    return [block for block in comparing if not (_BOUND.search(block) and _CODER.search(block))], parser


def test_every_comparison_on_the_page_names_its_bound_and_coder_where_it_stands(reported):
    """In the caption or the head of the same table, in the caption of the same figure, or in the same sentence of a list. A page that does
    not say one of them, or a table of percentages without a caption, is found.
    """
    page = (reported / "index.html").read_text()
    unnamed, parser = _unnamed(page)
    assert unnamed == []
    assert parser.tables >= 5 + 3 * 2 + 4
    assert sum(bool(_COMPARES.search(block)) for block in parser.blocks) >= 5 + 3 * 2 + 2
    assert all(block.strip() for block in parser.blocks)
    assert len(_unnamed(page.replace("R(D), one variance", "R(D)"))[0]) >= 2 + 2 + 3
    assert len(_unnamed(page.replace("R(D), row variances", "R(D)"))[0]) >= 2
    assert len(_unnamed(re.sub("coder|entropy model", "way", page))[0]) >= 4 + 2 * 3
    assert len(_unnamed(page + "<table><tbody><tr><td>12 %</td></tr></tbody></table><ul><li>hptq: 0.38 bpw</li></ul>")[0]) == 2


@pytest.mark.parametrize("words", ["Gap in bpw, each method with its own coder", "Total rate above R(D), one variance", "Wins in %"])
def test_a_comparison_that_does_not_say_its_bound_or_coder_is_found(words):
    page = f"<p>R(D), one variance; own coder</p><table><caption>{words}</caption><tr><td>1</td></tr></table>"
    assert len(_unnamed(page)[0]) == 1


def test_paired_differences_of_a_run(reported, capsys):
    out = reported
    assert main(["show", str(out), "--paired", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    pairs = {(row["coder"], row["method"], row["reference"]) for row in rows}
    assert pairs == {("pooled table", "hrtn", "hptq+rotation")}
    assert len(pd.read_parquet(out / "paired.parquet")) == len(rows)
    assert "hrtn − hptq+rotation" in (out / "index.html").read_text()
    assert main(["show", str(out), "--paired"]) == 0
    printed = capsys.readouterr().out
    assert "coder of both: pooled table\nhrtn − hptq+rotation" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_rows_of_older_numbers_are_not_paired_and_said_to_be_old(reported, capsys):
    content = json.loads((reported / RESULTS).read_text())
    old = content | {"numbers": content["numbers"] - 1, "sha256": UNSEALED}
    (reported / RESULTS).write_bytes(sealed(json.dumps(old).encode()))
    assert main(["show", str(reported), "--paired"]) == 0
    printed = capsys.readouterr()
    assert not printed.out
    assert re.search(rf"rows left out: .*numbers of version {old['numbers']}, this rdtools computes version", printed.err)
    assert main(["show", str(reported), "--paired", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["show", str(reported)]) == 0
    printed = capsys.readouterr()
    assert "Total rate of the file above R(D), one variance, each method with its own coder" in " ".join(printed.out.split())
    assert "rows left out" not in printed.err
    assert "numbers of version" in printed.err


def test_a_second_run_uses_the_hessians_and_gives_the_same_numbers(reported, tiny_llama, tiny_tokens):
    out = reported
    first, manifest = read_results(out), (out / "manifest.json").read_text()
    figure = (out / "figures" / "rate_distortion.pdf").read_bytes()
    assert _report(tiny_llama, tiny_tokens, out, "--methods", METHODS, "--rates", "2,3", drawn=True) == 0
    assert (out / "manifest.json").read_text() == manifest
    pd.testing.assert_frame_equal(read_results(out).drop(columns="wall_s"), first.drop(columns="wall_s"))
    assert (out / "figures" / "rate_distortion.pdf").read_bytes() == figure


def test_show_theory_and_verify_read_the_run(reported, capsys, tmp_path, monkeypatch):
    out = reported
    monkeypatch.setenv("COLUMNS", "400")  # a head is one line
    assert main(["show", str(out)]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if _COMPARES.search(line) and not line.startswith("Analysed")]
    assert heads
    assert all(_BOUND.search(head) and _CODER.search(head) for head in heads)
    assert main(["theory", str(out), "--csv", str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out.startswith(LAYER_HEAD[:60])
    assert len(pd.read_csv(tmp_path / "t.csv")) == 14
    assert main(["hessians", "check", str(out)]) == 0
    assert "8 Hessians and 2 files of the model are as written" in capsys.readouterr().out


def test_a_layer_whose_theory_fails_is_one_failed_row(reported, capsys, monkeypatch):
    from rdtools.compare import layer_facts
    from rdtools.errors import NotConverged

    def fails_once(layer, heldout):
        if layer.key.name == "model.layers.1.mlp.down_proj":
            raise NotConverged("no spectrum")
        return layer_facts(layer, heldout)

    monkeypatch.setattr("rdtools.jobs.theory.layer_facts", fails_once)
    assert main(["theory", str(reported)]) == 1
    assert "model.layers.1.mlp.down_proj: failed: no spectrum" in capsys.readouterr().out
    assert main(["theory", str(reported), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["layer"] for row in rows if row["status"] == "failed"] == ["model.layers.1.mlp.down_proj"]
    assert sum(row["critical_rate_bpw"] is not None for row in rows) == 13


def test_hessians_can_be_collected_alone(tiny_llama, tiny_tokens, tmp_path, capsys):
    out = tmp_path / "h"
    assert main(["hessians", "collect", str(out), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]) == 0
    assert "8 Hessians for 14 layers, 192 tokens" in capsys.readouterr().out
    assert len(open_run(out)) == 14


def test_a_run_with_few_tokens_is_marked_and_left_out_of_means(tiny_llama, tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.arange(10).reshape(1, 10))
    out = tmp_path / "run"
    assert _report(tiny_llama, tmp_path / "few.npy", out, "--methods", "hptq", "--rates", "3") == 0
    table = read_results(out)
    done = table[table["status"] == "undersampled"]
    assert len(done) >= 8
    assert (table["rank"] <= 10).all()
    assert (done["damping"] > 0).all()
    # the tiniest matrices, 8 × 16, have no code sequence within 0.01 bit of every rate, and say so
    assert set(table["status"]) <= {"undersampled", "infeasible"}
    assert f"{len(done)} rows undersampled, left out of all means" in capsys.readouterr().out


def test_a_layer_that_cannot_be_quantized_fails_alone(tiny_llama, tiny_tokens, tmp_path, capsys):
    """With one token repeated H has rank one, which damping 0 cannot factor: failed rows, exit 1, and still a page."""
    np.save(tmp_path / "same.npy", np.full((4, 8), 3))
    code = _report(tiny_llama, tmp_path / "same.npy", tmp_path / "run", "--methods", "hptq,hrtn", "--rates", "3", "--damping", "0")
    table = read_results(tmp_path / "run")
    assert code == 1
    gptq = table[table["method"] == "hptq(damping=0.0)"]
    assert set(gptq["status"]) == {"failed"}
    assert gptq["message"].str.contains("singular with damping 0").all()
    assert "failed" not in set(table[table["method"] == "hrtn(damping=0.0)"]["status"])
    assert "rows failed" in capsys.readouterr().out


def test_an_interrupted_report_goes_on_and_ends_as_an_undisturbed_one(reported, tiny_llama, tiny_tokens, tmp_path, monkeypatch, capsys):
    from rdtools.sweep.kinds import KINDS

    out, made, real = tmp_path / "other", [], KINDS["quantize"].perform

    def stopping(task, memory):
        for record in real(task, memory):
            if len(made) == 40:
                raise KeyboardInterrupt
            made.append(record)
            yield record

    options = ["--methods", METHODS, "--rates", "2,3"]
    with monkeypatch.context() as patch:
        patch.setitem(KINDS, "quantize", replace(KINDS["quantize"], perform=stopping))
        assert _report(tiny_llama, tiny_tokens, out, *options) == 130
    assert "every finished row are kept, and the same command goes on from there" in capsys.readouterr().err
    assert not (out / "results.parquet").exists()
    assert _report(tiny_llama, tiny_tokens, out, *options, drawn=True) == 0
    assert f"{sum(r.kind == 'row' for r in made)} of 112 rows are already there" in capsys.readouterr().err
    pd.testing.assert_frame_equal(read_results(out).drop(columns="wall_s"), read_results(reported).drop(columns="wall_s"))
    figure = "figures/rate_distortion.pdf"
    assert (out / figure).read_bytes() == (reported / figure).read_bytes()


def test_another_method_adds_to_the_table_and_fresh_replaces_it(reported, tiny_llama, tiny_tokens, capsys):
    out = reported
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "gptq-midrise", "--rates", "3") == 0
    assert set(read_results(out)["method"]) == {*METHODS.split(","), "gptq-midrise"}
    assert "gptq-midrise" in (out / "index.html").read_text()
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "gptq-midrise", "--rates", "3", "--fresh") == 0
    assert set(read_results(out)["method"]) == {"gptq-midrise"}
    assert main(["show", str(out)]) == 0


def test_fresh_deletes_nothing_where_something_is_refused(reported, tiny_llama, tiny_tokens, capsys):
    out = reported
    (out / "hessians" / "0000.safetensors").write_bytes(b"x")
    before = sorted(path.name for path in (out / "rows").iterdir())
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "gptq-midrise", "--rates", "3", "--fresh") == 65
    assert sorted(path.name for path in (out / "rows").iterdir()) == before


def test_other_settings_of_a_method_are_a_method_beside_it(reported, tiny_llama, tiny_tokens, capsys):
    assert _report(tiny_llama, tiny_tokens, reported, "--methods", "watersic", "--rates", "3", "--damping", "0.1") == 0
    assert set(read_results(reported)["method"]) == {*METHODS.split(","), "watersic(damping=0.1)"}


@pytest.mark.usefixtures("quick_calibration")
def test_what_gptq_means_now_is_said_where_it_could_be_taken_for_what_it_was(tmp_path, capsys):
    """And nothing is where the entropy-coded form is there too; a name of version 0.1 is refused with the new one."""
    options = ["report", "--out", str(tmp_path / "run"), "--rates", "2", "--dry-run", "--methods"]
    assert main([*options, "gptq,hrtn"]) == 0
    assert "what version 0.1 called gptq is hptq" in capsys.readouterr().err
    assert main([*options, "gptq+haar,hptq"]) == 0
    assert "version 0.1" not in capsys.readouterr().err
    assert main([*options, "gptq-int+haar"]) == 2
    assert "called 'gptq-midrise+haar' since version 0.2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.parquet", "results.csv", "curves.parquet", "index.html", "figures/gap_to_rd.png"])
def test_show_names_the_file_that_is_of_another_report(name, reported, tiny_llama, tiny_tokens, capsys):
    out = reported
    data = bytearray((out / name).read_bytes())
    data[len(data) // 2] ^= 1
    (out / name).write_bytes(bytes(data))
    assert main(["show", str(out)]) == 65
    assert f"{name}: not the file that results.json lists" in capsys.readouterr().err
    assert _report(tiny_llama, tiny_tokens, out, "--methods", METHODS, "--rates", "2,3") == 0
    assert main(["show", str(out)]) == 0


def test_some_layers_by_name_and_type(tiny_llama, tiny_tokens, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--methods", "rtn-midrise", "--rates", "3"]
    assert _report(tiny_llama, tiny_tokens, out, *options, "--layers", "*.0.*", "--types", "q_proj,o_proj") == 0
    assert read_results(out)["layer"].tolist() == ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.o_proj"]
    assert "2 weight matrices" in (out / "index.html").read_text()
    capsys.readouterr()
    for wrong, words in (
        (["--layers", "*q_porj"], "matches none of 14 layers; the nearest names are model.layers"),
        (["--types", "q_proj,x"], "--types 'x': expected some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"),
        (["--layers", "*q_proj", "--types", "o_proj"], "no layer matches both"),
    ):
        assert _report(tiny_llama, tiny_tokens, out, *options, *wrong) == 2
        assert words in capsys.readouterr().err
    assert _report(tiny_llama, tiny_tokens, tmp_path / "new", *options, "--layers", "*q_porj") == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("quick_calibration")
def test_a_dry_run_tells_what_there_is_to_do_and_writes_nothing(tiny_llama, tiny_tokens, tmp_path, capsys):
    out, options = tmp_path / "run", ["--methods", "rtn-midrise,hptq", "--rates", "2.5,3"]
    assert _report(tiny_llama, tiny_tokens, out, *options, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert not out.exists()
    assert re.search(r"Hessians: 8, \d+ bytes, to be captured", printed)
    assert re.search(r"Capture: about [\d.]+ [GM]B of memory at its peak", printed)
    assert "Rows: 56 asked for, 0 already there, 56 to do in 16 tasks" in printed
    assert "Infeasible: rtn-midrise: 2.5 bits per weight cannot be reached" in printed
    assert "Note" not in printed
    assert re.search(r"Memory: up to about [\d.]+ [GM]B at its peak, with \d+ process", printed)
    assert re.search(r"Time: about (under )?[\d.]+ minutes with \d+ process", printed)
    assert re.search(r"^  bounds and curves +14 +(under )?[\d.]+  small layers, timed now$", printed, re.MULTILINE)
    assert re.search(r"^  rtn-midrise +14 +(under )?[\d.]+  small layers, timed now$", printed, re.MULTILINE)  # one rate of the two
    assert re.search(r"^  hptq +28 +(under )?[\d.]+  small layers, timed now$", printed, re.MULTILINE)
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "rtn-midrise", "--rates", "3") == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert _report(tiny_llama, tiny_tokens, out, *options, "--dry-run") == 0
    printed = capsys.readouterr().out
    size = sum(path.stat().st_size for path in (out / "hessians").iterdir())
    assert f"Hessians: 8, {size} bytes, captured" in printed
    assert "Rows: 56 asked for, 14 already there, 42 to do in 16 tasks" in printed
    assert "rtn-midrise  " not in printed
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "rtn-midrise", "--rates", "4", "--dry-run", "--json") == 0
    (_, times) = json.loads(capsys.readouterr().out)["times"]
    assert (times["method"], times["rows"], times["source"]) == ("rtn-midrise", 14, "rows")
    assert times["minutes"] > 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.usefixtures("quick_calibration")
def test_a_dry_run_says_of_the_tokens_what_the_report_will(tiny_llama, tmp_path, capsys):
    repeated = tmp_path / "repeated.npy"
    np.save(repeated, np.tile(np.arange(16), (12, 1)))
    options = ["report", "--model", str(tiny_llama), "--out", str(tmp_path / "run"), "--methods", "hptq", "--dry-run"]
    assert main([*options, "--tokens", str(repeated)]) == 0
    printed = capsys.readouterr().out
    assert "Note: repeated.npy: 11 of 12 sequences repeat an earlier one, which adds no information" in printed
    assert re.search(r"Note: repeated.npy: 16 distinct among 192 tokens for inputs of \d+ columns", printed)
    assert main([*options, "--tokens", str(repeated), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 2
    assert main(options) == 2
    assert "no calibration data; give a file as --text or --tokens" in capsys.readouterr().err


def test_errors_of_a_sweep_name_the_keys_of_its_file(tiny_llama, tiny_tokens, tmp_path, capsys):
    """As options to who typed options."""
    config, out = tmp_path / "sweep.toml", tmp_path / "run"
    for lines, words in (
        ('methods = ["gptq"]\nrates = [2.5]', "or go on without it by `skip_infeasible`"),
        ('methods = ["hptq"]\nlayers = ["nothing"]', "`layers` 'nothing': matches none of 14 layers"),
        ("seeds = [-1]", "`seeds` -1: expected a list of whole numbers"),
    ):
        config.write_text(f"model = {str(tiny_llama)!r}\ntokens = {str(tiny_tokens)!r}\nout = {str(out)!r}\n{lines}\n")
        assert main(["sweep", str(config)]) == 2
        printed = capsys.readouterr().err
        assert words in printed
        assert not re.search(r"(?<!-)--[a-z]", printed)
    assert _report(tiny_llama, tiny_tokens, out, "--methods", "gptq", "--rates", "2.5") == 2
    assert "go on without it by --skip-infeasible" in capsys.readouterr().err


def test_a_pair_that_cannot_be_is_refused_before_the_capture_or_skipped(tiny_llama, tiny_tokens, tmp_path, capsys, monkeypatch):
    out, options = tmp_path / "run", ["--methods", "quip-sharp,hptq", "--rates", "2.5"]
    assert _report(tiny_llama, tiny_tokens, out, *options) == 2
    error = capsys.readouterr().err
    assert "quip-sharp: 2.5 bits per weight cannot be reached: its codes have 2, 3 or 4 bits" in error
    assert "--skip-infeasible" in error
    assert not out.exists()
    assert _report(tiny_llama, tiny_tokens, out, *options, "--skip-infeasible", "--types", "down_proj") == 0
    table = read_results(out).set_index("method")
    assert set(table.loc["quip-sharp", "status"]) == {"infeasible"}
    assert set(table.loc["hptq", "status"]) == {"ok"}
    monkeypatch.setattr("rdtools.jobs.settings.DEFAULT_METHODS", ("rtn-midrise", "hptq"))
    assert _report(tiny_llama, tiny_tokens, tmp_path / "default", "--rates", "2.5", "--types", "down_proj") == 0
    assert "infeasible: rtn-midrise: 2.5 bits" in capsys.readouterr().err
    assert set(read_results(tmp_path / "default").set_index("method").loc["rtn-midrise", "status"]) == {"infeasible"}


def test_a_run_without_its_hessians_captures_them_again(reported, tiny_llama, tiny_tokens, capsys):
    """Captured anew the Hessians are the same, and so the rows are still good."""
    first = read_results(reported)
    (reported / "hessians" / "0003.safetensors").unlink()
    assert _report(tiny_llama, tiny_tokens, reported, "--methods", METHODS, "--rates", "2,3") == 0
    said = capsys.readouterr().err
    assert "0003.safetensors: missing, though the manifest lists it; captured again" in said
    assert "112 of 112 rows are already there" in said
    pd.testing.assert_frame_equal(read_results(reported), first)


def test_manifest_is_json_without_nan(reported):
    json.loads((reported / "manifest.json").read_text(), parse_constant=lambda c: pytest.fail(c))
