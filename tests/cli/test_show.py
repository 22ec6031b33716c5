"""``rdtools show`` with its options, ``rdtools doctor``, and ``--json`` of every command."""

from __future__ import annotations

import inspect
import json

import pytest
from report.test_summaries import results
from typer.testing import CliRunner

from rdtools.cli.main import app, main
from rdtools.jobs import doctor, show
from rdtools.jobs.show import Shown


@pytest.fixture
def shown(monkeypatch):
    """Every directory is a run with the same results."""
    table = results().assign(distortion=1.0, message="")
    monkeypatch.setattr(show, "show", lambda run: Shown(table, ""))


def test_formats_and_groups(shown, capsys):
    assert main(["show", "run", "-f", "csv", "-r", "3", "-m", "hptq"]) == 0
    assert capsys.readouterr().out.startswith("target_bpw,run,method,q,up,all,by weight\n3.0,run,hptq,0.15")
    assert main(["show", "run", "-f", "latex", "--metric", "sqnr", "-b", "block"]) == 0
    assert capsys.readouterr().out.count("\\begin{table}") == 3
    assert main(["show", "run", "other", "--json", "-r", "2"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["metric"], record["by"], record["target_bpw"], len(record["rows"])) == ("gap", "type", 2.0, 16)
    assert main(["show", "run", "-f", "compressai"]) == 0
    assert [curve["name"] for curve in json.loads(capsys.readouterr().out)] == ["hptq", "watersic"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--metric", "x"], "--metric x: expected one of gap"),
        (["--by", "x"], "--by x: expected one of type"),
        (["--format", "x"], "--format x: expected one of table"),
        (["--rates", "x"], "--rates 'x': 'x' is not a number"),
        (["--paired", "--rates", "3"], "--paired: of one run"),
        (["--format", "compressai", "--by", "block"], "--format compressai: curves of every method"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(shown, capsys, options, sentence):
    assert main(["show", "run", *options]) == 2
    assert capsys.readouterr().err.startswith(f"rdtools: error: {sentence}")


def test_a_pipe_gets_no_colours_and_no_cut_columns(shown):
    text = CliRunner().invoke(app, ["show", "run", "--metric", "gap"]).output
    assert "\x1b" not in text
    assert "…" not in text
    assert max(map(len, text.split("\n"))) <= 80


def test_doctor_finds_this_machine_well(capsys):
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"Python", "rdtools", "packages", "threads", "compiled kernels", "memory", "disk here", "torch", "Triton"} < set(checks)
    assert all(check["status"] in ("ok", "note") for check in checks.values())
    assert checks["a layer"]["found"].startswith("quantized, coded, decoded and measured: 3.2")


def test_doctor_names_what_is_broken_and_a_remedy(monkeypatch, capsys):
    def broken():
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(doctor, "CHECKS", {"devices": broken})
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == "problem  devices: ModuleNotFoundError: No module named 'torch'\n         → pip install rdtools\n"


def test_every_command_has_json():
    commands = [command.callback for command in app.registered_commands]
    commands += [command.callback for group in app.registered_groups for command in group.typer_instance.registered_commands]
    assert len(commands) >= 11
    assert [command.__name__ for command in commands if "as_json" not in inspect.signature(command).parameters] == []


def test_completion_is_offered():
    text = CliRunner().invoke(app, ["--help"]).output
    assert "--install-completion" in text


def test_own_claims_are_checked_from_a_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rdtools import Layer\n"
        "from rdtools.claims import Claim, Source\n"
        "own = Source('mine', '', 'equation 1')\n"
        "CLAIMS = [Claim('mine.trace', 'tr H ≥ λ_max', own, lambda e: e[Layer].spectrum.eigenvalues.sum(),"
        " lambda e: e[Layer].spectrum.eigenvalues[0], '≥', 'trace')]\n"
        "NUMBER = 3\n"
    )
    assert main(["verify", "--claims-from", f"{file}:CLAIMS", "--json"]) == 0
    assert {row["claim"] for row in json.loads(capsys.readouterr().out)} == {"mine.trace"}
    assert main(["verify", "--claims-from", f"{file}:CLAIMS", "-c", "quip.lemma-2", "-s"]) == 0
    out = capsys.readouterr().out
    assert "mine.trace" in out
    assert "quip.lemma-2" in out
    assert "; tightness " in out
    for reference, sentence in (
        (f"{file}:NUMBER", "NUMBER is a int, expected a Claim"),
        (f"{file}:OTHER", "OTHER is missing"),
        (f"{file}", "expected a Python file and a name in it"),
        (f"{tmp_path / 'none.py'}:CLAIMS", "is no file"),
    ):
        assert main(["verify", "--claims-from", reference]) == 2
        assert sentence in capsys.readouterr().err
    file.write_text("1/0")
    assert main(["verify", "--claims-from", f"{file}:CLAIMS"]) == 2
    assert "fails: ZeroDivisionError" in capsys.readouterr().err
