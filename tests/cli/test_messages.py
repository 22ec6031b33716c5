"""Messages of the library on the command line."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from inspect import get_annotations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rdtools
from rdtools.cli import hessians
from rdtools.cli.main import app, main
from rdtools.cli.printing import counted, in_options, print_tables
from rdtools.jobs.settings import ReportSettings
from rdtools.report import problem_lines


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("use `tokens` instead of `text`", "use --tokens instead of --text"),
        ("other `trust_remote_code`; choose", "other --trust-remote-code; choose"),
        ("`Layer` and `no_option` and text stay", "`Layer` and `no_option` and text stay"),
        ("`calibration`: only for `hessians` sequential", "--text and --tokens: only for --hessians sequential"),
    ],
)
def test_arguments_become_options(message, shown):
    assert in_options(message) == shown


def test_every_setting_of_a_report_becomes_its_option():
    names = [field.name for field in fields(ReportSettings)]
    assert in_options(" ".join(f"`{name}`" for name in names)) == " ".join("--" + name.replace("_", "-") for name in names)


def test_every_command_that_takes_a_model_runs_its_code_where_it_is_trusted():
    """One definition of the two options for all of them."""
    functions = [command.callback for typer_app in (app, hessians.app) for command in typer_app.registered_commands]
    taking = [get_annotations(f) for f in functions if "model" in get_annotations(f)]
    assert len(taking) >= 5
    for options in taking:
        assert (options["model"], options["trust_remote_code"]) == ("Model", "RemoteCode")


#: Words between backquotes that are no arguments of a command: corrections, and what a caller in Python gives.
_NO_OPTIONS = {"attention", "mixing", "dead", "rescale", "residual"} | {"name", "activations", "prepare", "hessian", "smoothed_variances"}


def test_every_argument_that_an_error_names_is_an_option():
    """Else the command line would speak of what it does not have."""
    root = Path(rdtools.__file__).parent
    raised = (node for path in root.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise))
    texts = (part.value for node in raised for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str))
    named = {word for text in texts for word in re.findall("`([a-z_]+)`", text)}
    assert {"rates", "heads", "allocations"} <= named
    assert {word for word in named - _NO_OPTIONS if in_options(f"`{word}`").startswith("`")} == set()


def test_one_is_not_many():
    assert [counted(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


def test_text_for_evaluation_that_is_no_text_is_sent_to_the_option_that_takes_ids(tiny_llama, tiny_tokens, tmp_path, capsys, monkeypatch):
    from rdtools.model import pretrained

    monkeypatch.setattr(pretrained, "load_tokenizer", lambda *args, **settings: None)
    argv = ["hessians", "collect", str(tmp_path / "run"), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]
    np.save(tmp_path / "ev.npy", np.full((2, 8), 200))
    assert main([*argv, "--evaluation-text", str(tmp_path / "ev.npy")]) == 65
    assert "not UTF-8 text (byte 0); expected plain text; use --evaluation-tokens for ids" in capsys.readouterr().err
    assert main([*argv, "--evaluation-tokens", str(tmp_path / "none.npy")]) == 65
    assert "or use --evaluation-text" in capsys.readouterr().err
    assert main([*argv, "--evaluation-tokens", str(tiny_tokens)]) == 2
    assert "give another file as --evaluation-text or --evaluation-tokens" in capsys.readouterr().err


def test_reasons_of_rows_name_options_and_one_row_is_one(capsys, monkeypatch):
    import rdtools.report

    for name in ("terminal_note", "terminal_tables"):
        monkeypatch.setattr(rdtools.report, name, lambda *args, **settings: "")
    row = {"layer": "q", "method": "rtn", "status": "undersampled", "message": "`evaluation_text` tells which"}
    print_tables(pd.DataFrame([row | {"distortion": 0.1, "target_bpw": 2.0, "rate_gap_total_bpw": 0.1}]))
    printed = capsys.readouterr().out
    assert "1 row undersampled, left out of all means" in printed
    assert "  rtn at 2 on q: --evaluation-text tells which" in printed


def test_a_reason_that_layers_or_methods_share_is_one_line():
    rows = [
        {"layer": f"{block}.q", "method": method, "target_bpw": rate, "status": status, "message": f"{block}.q: {reason} {block}"}
        for method, rate, status, reason in (
            ("qtip", 9.0, "infeasible", "no such rate"),
            *((method, 2.0, "undersampled", "few tokens") for method in ("rtn", "gptq", "hptq", "qtip")),
        )
        for block in range(42)
    ]
    assert problem_lines(pd.DataFrame(rows)) == {
        "infeasible": ["qtip at 9 on 42 layers, such as 0.q: no such rate 0"],
        "undersampled": ["4 methods and rates, such as rtn at 2, on 42 layers, such as 0.q: few tokens 0"],
    }


def test_hessians_of_other_libraries_are_used_again_and_the_user_is_told(tiny_llama, tiny_tokens, tmp_path, capsys, monkeypatch):
    from rdtools.model import versions

    installed = versions.version
    argv = ["hessians", "collect", str(tmp_path / "run"), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]
    assert main(argv) == 0
    assert "used again" not in capsys.readouterr().out
    monkeypatch.setattr(versions, "version", lambda name: "99.0" if name == "torch" else installed(name))
    assert main(argv) == 0
    note, result, coverage = capsys.readouterr().out.splitlines()
    assert note.endswith("are used again; a capture now would use torch 99.0")
    assert "8 Hessians for 14 layers" in result
    assert coverage == "Analysed: 78.9% of 4,864 parameters in linear maps; without the output head lm_head (21.1%; --head adds it)"


_NO_DATA_SETS = "there are no data sets by name: give a file, by --text FILE or, of token ids, by --tokens FILE"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["report", "--seed", "3"], "no option --seed; did you mean --seeds, such as --seeds 0?"),
        (["report", "--method", "gptq"], "no option --method; did you mean --methods?"),
        (["report", "--bits", "4"], "no option --bits; did you mean --rates, such as --rates 3?"),
        (["report", "--dataset", "c4"], f"no option --dataset; {_NO_DATA_SETS}"),
        (["eval", "x", "--dataset=wikitext2"], f"no option --dataset; {_NO_DATA_SETS}"),
        (["hessians", "collect", "--out", "x"], "no option --out; give its value alone: rdtools hessians collect OUT"),
        (["theory", "--run", "x"], "no option --run; give its value alone: rdtools theory RUN"),
        (["report", "--workers", "x"], "--workers 'x': expected a whole number, such as 2"),
        (["report", "--workers=x"], "--workers 'x': expected a whole number, such as 2"),
        (["report", "--damping", "1%"], "--damping '1%': expected a number, such as 3 or 0.01"),
        (["report", "embedded"], "'embedded': one argument too many; did you mean --model embedded?"),
        (["hessians", "collect", "x", "y"], "'y': one argument too many; did you mean --model y?"),
        (["eval", "x", "--bits", "3"], "no option --bits; did you mean --rates, such as --rates 3?"),
        (["measure", "x", "-o", "y"], "No such option: -o; see rdtools measure --help"),
        (["verify", "run", "--seed", "-1"], "--seed '-1': expected a number of at least 0"),
        (["rotate", "--save", "r", "--rotation", "x"], "--rotation 'x': expected one of auto, hadamard, haar, kronecker, none"),
        (["figures", "nope"], "'nope': one argument too many; did you mean --run nope?"),
        (["theory", "run", "more"], "'more': one argument too many; see rdtools theory --help"),
        (["foo"], "No such command 'foo'; see rdtools --help"),
        (["reprt"], "No such command 'reprt'. Did you mean 'report'?"),
    ],
)
def test_what_the_parser_refuses_is_said_with_the_nearest_that_there_is(argv, said, capsys):
    assert main(argv) == 2
    assert capsys.readouterr().err == f"rdtools: error: {said}\n"
