"""The first look at a GPU machine, on one that has none."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from rdtools.analysis import gpu
from rdtools.analysis.gpu import DONE, FAILED, MARK, NO_GPU, STEPS, Rows, Step, main, run_step, table, unpack_wheels, usable_wheel
from rdtools.analysis.gpu_steps import home

ROOT = Path(__file__).resolve().parents[2]
TRITON = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def _rows(out):
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so_and_has_its_own_exit_code(tmp_path):
    """From a bare checkout, by its path, without an installed rdtools on the way."""
    command = [sys.executable, str(ROOT / "analysis" / "gpu.py"), "--out", str(tmp_path / "look")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == NO_GPU, done.stdout + done.stderr
    assert "no GPU" in done.stderr
    rows = _rows(tmp_path / "look")
    assert {row["step"] for row in rows} == {"versions"}
    by_name = {row["name"]: row for row in rows}
    assert by_name["python"]["home"] == str(ROOT / "rdtools")
    assert by_name["packages"]["torch"] == torch.__version__
    assert (by_name["card"]["status"], by_name["card"]["gpu"]) == ("failed", "")
    assert by_name["card"]["message"] in (tmp_path / "look" / "table.txt").read_text()


@TRITON
def test_tiny_shapes_go_through_under_the_interpreter(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--interpret", "--only", "equal_hadamard"]) == DONE, (tmp_path / "log.txt").read_text()
    rows = [row for row in _rows(tmp_path) if row["step"] == "equal_hadamard"]
    assert [(row["n"], row["core"], row["status"]) for row in rows[:-1]] == [(64, 1, "ok")] * 2 + [(96, 12, "ok")] * 2
    assert "hadamard float32" in capsys.readouterr().out


@TRITON
def test_a_tiny_layer_goes_through_the_whole_job_under_the_interpreter(tmp_path):
    assert main(["--out", str(tmp_path), "--interpret", "--only", "job_equal"]) == DONE, (tmp_path / "log.txt").read_text()
    rows = {row["name"]: row for row in _rows(tmp_path) if row["step"] == "job_equal"}
    assert (rows["gptq, 6 × 16"]["agree"], rows["gptq, 6 × 16"]["backend"]) == (1.0, "triton")
    assert rows["gptq, 6 × 16"]["distortion_ratio"] == pytest.approx(1.0, rel=1e-12)


def test_every_step_has_a_function_and_needs_steps_before_it():
    """With its modules as they are imported without a GPU; two steps have no name in common."""
    names = [step.name for step in STEPS]
    for index, step in enumerate(STEPS):
        assert callable(getattr(import_module(f"rdtools.analysis.{home(step.name)}"), step.name))
        assert set(step.needs) <= set(names[:index])
    assert len(set(names)) == len(names)


def _run(tmp_path, monkeypatch, code, *, limit_s=60.0):
    """A step whose process runs this code."""
    rows = Rows(tmp_path)
    real = subprocess.Popen
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda command, **settings: real([*command[:2], code], **settings))
    with (tmp_path / "log.txt").open("a") as log:
        good = run_step(Step("planted", limit_s), rows, log, environment=dict(os.environ), limit_s=limit_s)
    rows.close()
    return good, _rows(tmp_path), (tmp_path / "log.txt").read_text()


ROW = f'print({MARK!r} + \'{{"name": "a", "ms": 1.5}}\', flush=True)'


def test_rows_are_kept_whatever_becomes_of_their_process(tmp_path, monkeypatch):
    good, rows, log = _run(tmp_path, monkeypatch, f"{ROW}; print('noise', flush=True); import os; os.kill(os.getpid(), 9)")
    assert not good
    assert rows[0] == {"step": "planted", "status": "ok", "name": "a", "ms": 1.5}
    assert "killed by SIGKILL" in rows[1]["message"]
    assert "noise" in log


def test_a_step_that_hangs_is_stopped_with_all_of_its_processes(tmp_path, monkeypatch):
    place = tmp_path / "pid"
    sleeper = f"import os, time; open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = f"{ROW}; import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}])"
    good, rows, _ = _run(tmp_path, monkeypatch, code, limit_s=8.0)
    assert not good
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert "stopped after its 8 s" in rows[1]["message"]
    pid, deadline = place.read_text(), time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("code", "words"), [("raise SystemExit(3)", "ended with 3"), (f"{ROW.replace('1.5', '1')}; 1 / 0", "ended with 1")]
)
def test_a_step_that_fails_says_how(code, words, tmp_path, monkeypatch):
    good, rows, _ = _run(tmp_path, monkeypatch, code)
    assert not good
    assert words in rows[-1]["message"]


def test_a_failed_row_fails_its_step_and_what_needs_it_is_skipped(tmp_path, monkeypatch, capsys):
    def run_step(step, rows, log, *, environment, limit_s):
        card = {"name": "card", "gpu": "a card"} if step.name == "versions" else {"name": "planted"}
        rows.add(step.name, card | ({"status": "failed"} if step.name == "smoke_sweep" else {}))
        return step.name != "smoke_sweep"

    monkeypatch.setattr(gpu, "run_step", run_step)
    assert main(["--out", str(tmp_path)]) == FAILED
    status = {row["step"]: row["status"] for row in _rows(tmp_path)}
    need = {step.name for step in STEPS if "smoke_sweep" in step.needs}
    assert {name for name, found in status.items() if found == "skipped"} == need
    assert capsys.readouterr().out.startswith("failed")


def test_no_step_begins_after_the_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "run_step", lambda *arguments, **settings: pytest.fail("begun"))
    assert main(["--out", str(tmp_path), "--seconds", "0"]) == FAILED
    assert {row["message"] for row in _rows(tmp_path)} == {"no time is left of 0 s"}


def test_without_torch_nothing_else_is_tried(tmp_path, monkeypatch, capsys):
    def run_step(step, rows, log, *, environment, limit_s):
        rows.add(step.name, {"name": "card", "status": "failed", "message": "ImportError: planted"})
        return False

    monkeypatch.setattr(gpu, "run_step", run_step)
    assert main(["--out", str(tmp_path)]) == FAILED
    assert len(_rows(tmp_path)) == 1
    assert "torch cannot be used here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a-1.0-py3-none-any.whl", True),
        ("a-1.0-py2.py3-none-any.whl", True),
        (f"a-1.0-cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-manylinux_2_28_{os.uname().machine}.whl", sys.platform == "linux"),
        (f"a-1.0-cp38-abi3-manylinux2014_{os.uname().machine}.whl", sys.platform == "linux"),
        (f"a-1.0-cp38-cp38-manylinux2014_{os.uname().machine}.whl", False),
        ("a-1.0-cp38-abi3-win_amd64.whl", False),
        ("a-1.0-cp399-abi3-manylinux2014_x86_64.whl", False),
        ("a-1.0.tar.gz", False),
        ("nonsense.whl", False),
    ],
)
def test_wheels_of_other_machines_are_left_alone(name, fits):
    assert usable_wheel(name) is fits


def test_wheels_of_missing_packages_are_unpacked_and_bad_ones_named(tmp_path):
    folder, site = tmp_path / "wheels", tmp_path / "site"
    folder.mkdir()
    for name, module in (("rdtools_planted-1-py3-none-any.whl", "planted.py"), ("numpy-0-py3-none-any.whl", "numpy.py")):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(module, "x = 1")
    (folder / "rdtools_damaged-1-py3-none-any.whl").write_bytes(b"no archive")
    assert unpack_wheels(folder, site) == ["rdtools_damaged-1-py3-none-any.whl"]
    assert [path.name for path in site.iterdir()] == ["planted.py"]  # what is installed is not replaced


def test_the_table_has_what_failed_first_and_no_more_than_a_hundred_lines():
    rows = [{"step": "s", "status": "ok", "name": str(k), "ms": 0.123456789} for k in range(120)]
    lines = table([*rows, {"step": "s", "status": "failed", "name": "z", "message": "m"}]).splitlines()
    assert len(lines) == 100
    assert lines[0].split() == ["failed", "s", "z", "message=m"]
    assert "ms=0.12346" in lines[1]
    assert "22 more" in lines[-1]


def test_a_row_that_is_cut_off_goes_to_the_log(tmp_path):
    rows, log = Rows(tmp_path), io.StringIO()
    gpu._listen(io.StringIO(f'{MARK}{{"name": '), "s", rows, log)  # type: ignore[arg-type]
    rows.close()
    assert _rows(tmp_path) == []
    assert MARK in log.getvalue()
