"""Kill -9 of a report and all of its workers: what was finished is kept, the rest is done, the table is the same."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import quick_figures
from faults.kills import finished, kill_when, start

from rdtools.cli.main import main
from rdtools.runs.journal import read_journals
from rdtools.runs.results import read_results

ROWS = 14 * 4 * 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_report_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tiny_llama, tiny_tokens, tmp_path, capsys):
    """Killed when 1 and 60 records are there, whichever rows they are."""
    common = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--methods", "rtn-midrise,gptq-midrise,hptq,watersic"]
    common += ["--rates", "2,3"]
    expected = tmp_path / "expected"
    with quick_figures():
        assert main([*common, "--out", str(expected), "--workers", "1"]) == 0
    out, before = tmp_path / "run", set()
    argv = [*common, "--out", str(out), "--workers", "2"]
    for count in (1, 60):
        process = start(argv, tmp_path / "go.py")
        assert kill_when(process, lambda count=count: (out / "rows").is_dir() and len(finished(out)) >= count), count
        after = finished(out)
        assert before <= after
        before = after
    with quick_figures():
        assert main([*common, "--out", str(out), "--workers", "1"]) == 0
    error = capsys.readouterr().err
    assert f"of {ROWS} rows are already there" in error
    assert before <= finished(out)
    assert read_journals(out / "rows").replaced == 0
    pd.testing.assert_frame_equal(read_results(out).drop(columns="wall_s"), read_results(expected).drop(columns="wall_s"))


def test_a_second_coordinator_is_refused_while_the_first_works(tiny_llama, tiny_tokens, tmp_path, capsys):
    from rdtools.files import sole_writer

    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--methods", "rtn-midrise", "--rates", "3"]
    argv += ["--out", str(tmp_path / "run"), "--workers", "1"]
    with quick_figures():
        assert main(argv) == 0
    rows = finished(tmp_path / "run")
    with sole_writer(tmp_path / "run"):
        assert main([*argv, "--fresh"]) == 75
    assert "another rdtools is writing there" in capsys.readouterr().err
    assert finished(tmp_path / "run") == rows
