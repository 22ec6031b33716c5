"""``rdtools verify`` as a user types it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from conftest import make_tiny_llama

import rdtools
from rdtools import claims as registry
from rdtools.claims.evidence.case import budget
from rdtools.cli.main import main
from rdtools.runs.store import open_run

QUICK = "quip.lemma-*,babai.order-*"
QUICKER = "quip.lemma-2,babai.order-*"


@pytest.fixture
def collected(tiny_llama, tiny_tokens, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["hessians", "collect", str(out), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]) == 0
    capsys.readouterr()
    return out


@pytest.fixture
def false_claim(monkeypatch):
    """A claim that no layer meets."""
    wrong = replace(
        next(c for c in registry.CLAIMS if c.name == "quip.lemma-2"), name="quip.wrong", statement="tr D ≤ 0", right=lambda e: 0.0
    )
    monkeypatch.setattr(registry, "CLAIMS", (*registry.CLAIMS, wrong))


def test_one_line_a_claim_and_family(capsys):
    assert main(["verify", "--claims", QUICK]) == 0
    printed = capsys.readouterr().out
    chosen = re.findall(r"^  (holds|violated|not applicable) +(\S+)", printed, re.M)
    assert len(chosen) > 50
    assert {name for _, name in chosen} >= {"quip.lemma-2", "babai.order-product"}
    line = next(line for line in printed.splitlines() if "quip.lemma-2 " in line)
    assert re.search(r"holds .*quip\.lemma-2 +\S+ ≤ \S+ +margin \S+ trace$", line)
    assert re.search(r"\d+ hold, 0 violated, \d+ not applicable", printed)
    assert max(len(line) for line in printed.splitlines() if line.startswith("  holds")) <= 110


def test_lines_are_longer_where_more_is_asked_for(capsys):
    assert main(["verify", "--claims", QUICKER, "--verbose"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "babai.order-most" in line)
    assert line.endswith("(Chen et al. 2507.18553 section on order; H is positive definite)")


def test_a_failure_is_shown_and_is_the_exit_code(monkeypatch, tmp_path, capsys):
    lemma = next(c for c in registry.CLAIMS if c.name == "quip.lemma-2")
    broken = replace(lemma, name="quip.broken", right=lambda e: 1 / 0)
    monkeypatch.setattr(registry, "CLAIMS", (*registry.CLAIMS, broken))
    path = tmp_path / "rows.parquet"
    assert main(["verify", "--claims", "quip.broken,quip.lemma-2", "--out", str(path)]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"white: failed +quip\.broken +ZeroDivisionError: ", printed)
    assert "10 hold, 0 violated, 10 failed, 0 not applicable" in printed
    assert list(pd.read_parquet(path)["status"].unique()) == ["holds", "failed"]


def test_summary_has_a_line_for_each_claim(capsys):
    assert main(["verify", "--claims", QUICKER, "--summary"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("quip.", "babai."))]
    assert len(lines) == len({line.split()[0] for line in lines})
    assert all("holds" in line for line in lines)


def test_json_is_a_list_of_records(capsys):
    assert main(["verify", "--claims", "quip.lemma-2,lrc.optimal", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {"claim", "status", "lhs", "rhs", "margin", "source"} <= set(records[0])
    held = [r for r in records if r["status"] == "holds"]
    assert held
    assert all(isinstance(r["margin"], float) for r in held)
    absent = [r for r in records if r["status"] == "not applicable"]
    assert absent
    assert all(r["lhs"] is None and r["assumption"] for r in absent)


def test_a_run_gets_rows_in_parquet_that_agree_with_what_is_printed(collected, capsys):
    assert main(["verify", str(collected), "--workers", "1", "--claims", "quip.lemma-2,babai.order-most"]) == 0
    table = pd.read_parquet(collected / "verification.parquet")
    assert len(table) == 14 * 2
    assert set(table["status"]) == {"holds"}
    assert table["subject"].nunique() == 14
    printed = capsys.readouterr().out
    assert all(subject in printed for subject in table["subject"])
    assert "28 hold, 0 violated" in printed


def test_a_run_is_not_verified_twice(collected, capsys):
    """What is finished is there again, in the same order; another claim adds to it."""
    arguments = ["verify", str(collected), "--workers", "1", "--claims"]
    assert main([*arguments, "quip.lemma-2"]) == 0
    first = capsys.readouterr().out
    assert main([*arguments, "quip.lemma-2"]) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert "14 of 14 verdicts are already there; --fresh checks them again" in again.err
    assert main([*arguments, "quip.lemma-2,babai.order-most"]) == 0
    assert "14 of 28 verdicts are already there" in capsys.readouterr().err
    assert main([*arguments, "quip.lemma-2", "--fresh"]) == 0
    assert capsys.readouterr().out == first
    assert main([*arguments, "quip.lemma-2", "--seed", "1"]) == 0
    assert "already there" not in capsys.readouterr().err


def test_processes_find_what_one_finds(collected, capsys):
    alone = rdtools.verify(collected, claims=["quip.lemma-2", "babai.order-most"], workers=1)
    together = rdtools.verify(collected, claims=["quip.lemma-2", "babai.order-most"], workers=2, fresh=True)
    pd.testing.assert_frame_equal(together, alone)


def test_a_hessian_that_cannot_be_read_fails_its_verdicts_and_no_others(collected, capsys):
    broken = collected / open_run(collected).hessians[0].file
    broken.write_bytes(broken.read_bytes()[:-8])
    assert main(["verify", str(collected), "--workers", "1", "--claims", "quip.lemma-2"]) == 1
    assert "11 hold, 0 violated, 3 failed" in capsys.readouterr().out
    assert main(["verify", str(collected), "--workers", "1", "--claims", "quip.lemma-2"]) == 1
    assert "11 of 14 verdicts are already there" in capsys.readouterr().err


def test_everything_on_a_run_of_random_weights(tiny_tokens, tmp_path, monkeypatch, capsys):
    """With fewer draws than the families of `rdtools verify` have."""
    monkeypatch.setitem(budget.__kwdefaults__, "most", 4096)
    model, out = make_tiny_llama(tmp_path / "block", blocks=1), str(tmp_path / "run")
    assert main(["hessians", "collect", out, "--model", str(model), "--tokens", str(tiny_tokens)]) == 0
    assert main(["verify", out, "--workers", "1"]) == 0
    assert "0 violated" in capsys.readouterr().out


def test_rows_go_where_they_are_asked_to(tmp_path, capsys):
    for suffix, read in ((".parquet", pd.read_parquet), (".csv", pd.read_csv)):
        path = tmp_path / f"rows{suffix}"
        assert main(["verify", "--claims", "quip.lemma-2", "--out", str(path)]) == 0
        assert list(read(path)["claim"].unique()) == ["quip.lemma-2"]


def _screen(output: str) -> list[str]:
    """Lines of a terminal of endless height after this output: carriage returns, erased lines and the cursor moved up."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output):
        if token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", token):
            row -= int(token[2:-1] or 1)
        elif not token.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            column += len(token)
    return lines


def test_no_bar_is_left_among_the_lines_on_a_terminal():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "rdtools", "verify", "--claims", "quip.lemma-2,quip.feedback-helps"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment, close_fds=True) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                piece = os.read(ours, 2**16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            output += piece
    os.close(ours)
    assert process.returncode == 0
    lines = _screen(output.decode())
    assert sum(line.startswith("  holds") for line in lines) == 20
    assert sum("Verify" in line for line in lines) <= 1
    assert not any("Verify" in line and "holds" in line for line in lines)


def test_a_violation_is_shown_and_is_the_exit_code(false_claim, tmp_path, capsys):
    path = tmp_path / "rows.parquet"
    assert main(["verify", "--claims", "quip.wrong", "--out", str(path)]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"white: violated +quip\.wrong", printed)
    assert "tr D ≤ 0" in printed
    assert (pd.read_parquet(path)["margin"] < 0).all()


def test_a_run_that_cannot_be_written_to_is_refused_before_the_work(collected, capsys):
    (collected / "verification.parquet").mkdir()
    assert main(["verify", str(collected), "--workers", "1", "--claims", "quip.lemma-2"]) == 74
    printed = capsys.readouterr()
    assert "verification.parquet" in printed.err
    assert printed.out == ""


def test_what_was_found_before_an_interrupt_is_on_the_screen(monkeypatch, capsys):
    from rdtools.claims import run

    original, calls = run.shared_evidence, []

    def interrupted(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **settings)

    monkeypatch.setattr(run, "shared_evidence", interrupted)
    assert main(["verify", "--claims", "quip.lemma-2"]) == 130
    assert capsys.readouterr().out.count("quip.lemma-2 ") == 2


def test_claims_can_be_listed(capsys):
    assert main(["verify", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(claim.name in printed and claim.statement in printed for claim in registry.CLAIMS)
    assert main(["verify", "--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(registry.CLAIMS)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--claims", "nonsense"], 2, "no claim of this name"),
        (["--claims", ""], 2, "expected a value"),
        (["--out", "rows.txt", "--claims", "quip.lemma-2"], 2, "ends in .parquet or .csv"),
        (["/no/such/run", "--claims", "quip.lemma-2"], 2, "/no/such/run"),
        (["--seed", "-1"], 2, "seed"),
        (["--out", "no/such/folder/rows.csv", "--claims", "quip.lemma-2"], 74, "no/such/folder/rows.csv"),
    ],
)
def test_nonsense_is_refused_in_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *arguments]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.strip().count("\n") <= 1
    assert list(tmp_path.iterdir()) == []
