"""Nonsense in: one line that names the file or setting and the remedy, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import quick_figures

from rdtools.cli.main import main


def _fails(argv, capsys, code, *words):
    assert main(argv) == code
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("rdtools: error:")]
    assert len(lines) == 1, error
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rates", "0"], ["rate 0.0", "above 0"]),
        (["--rates", "-1"], ["rate -1.0"]),
        (["--rates", "nan"], ["rate nan"]),
        (["--rates", "64"], ["rate 64.0", "at most 12"]),
        (["--rates", "two"], ["'two' is not a number"]),
        (["--methods", "hptq,magic"], ["unknown method 'magic'", "`rdtools methods`"]),
        (["--methods", "hptq+twist"], ["method 'hptq+twist'", "+twist is no rotation", "+haar"]),
        (["--damping", "-1"], ["damping -1.0"]),
        (["--seeds", "-1"], ["--seeds -1"]),
        (["--seeds", f"0,{2**63}"], ["--seeds 0, 9223372036854775808", "from 0 to 9223372036854775807"]),
        (["--seeds", "0,x"], ["'x' is not a whole number"]),
        (["--workers", "-1"], ["--workers -1: expected a whole number from 0 on, such as 2"]),
        (["--no-such-option"], ["no-such-option"]),
    ],
)
def test_bad_settings(options, words, tmp_path, capsys):
    _fails(["report", "--out", str(tmp_path / "run"), *options], capsys, 2, *words)
    assert not (tmp_path / "run").exists()


def test_bad_models(tiny_llama, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    (tmp_path / "empty").mkdir()
    _fails(["report", "--model", str(tmp_path / "empty"), *out], capsys, 65, "no config.json", "empty")
    _fails(["report", "--model", str(tmp_path / "none"), *out], capsys, 65, "no such directory")
    shard = tiny_llama / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    _fails(["report", "--model", str(tiny_llama), *out], capsys, 65, "model.safetensors", "copy it again")
    shard.rename(tiny_llama / "pytorch_model.bin")
    _fails(["report", "--model", str(tiny_llama), *out], capsys, 65, "pickle", "save_pretrained")
    assert not (tmp_path / "run").exists()


def test_a_model_of_a_kind_unknown_to_transformers(tmp_path, capsys, tiny_llama, tiny_tokens):
    (tiny_llama / "config.json").write_text('{"model_type": "nonsense"}')
    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(tmp_path / "run")]
    _fails(argv, capsys, 65, "check model_type in config.json")


def test_bad_calibration(tiny_llama, tmp_path, capsys):
    model = ["report", "--model", str(tiny_llama), "--out", str(tmp_path / "run")]
    _fails(model, capsys, 2, "no calibration data", "--text")
    _fails([*model, "--tokens", str(tmp_path / "none.npy")], capsys, 65, "no such file")
    (tmp_path / "evil.npy").write_bytes(pickle.dumps({"a": 1}))
    _fails([*model, "--tokens", str(tmp_path / "evil.npy")], capsys, 65, "evil.npy", "pickles are never loaded")
    np.save(tmp_path / "big.npy", np.full((2, 4), 1000))
    _fails([*model, "--tokens", str(tmp_path / "big.npy")], capsys, 65, "token id 1000", "another tokenizer")
    (tmp_path / "t.txt").write_text("hello")
    _fails([*model, "--text", str(tmp_path / "t.txt")], capsys, 65, "no usable tokenizer", "--tokens")
    _fails([*model, "--text", "a", "--tokens", "b"], capsys, 2, "--text and --tokens: got both")
    _fails([*model, "--text", "a", "--sequences", "0"], capsys, 2, "--sequences 0")
    _fails([*model, "--tokens", "a", "--length", "3"], capsys, 2, "--sequences and --length cut a text")
    np.save(tmp_path / "long.npy", np.zeros((2, 33), dtype=int))
    _fails([*model, "--tokens", str(tmp_path / "long.npy")], capsys, 65, "sequences of 33 tokens, the model takes 32")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [["show"], ["theory"], ["hessians", "check"]])
def test_verbs_without_a_run(verb, tmp_path, capsys):
    _fails([*verb, str(tmp_path)], capsys, 2, "so" if verb != ["show"] else "no such file")


def test_a_read_only_place_is_an_output_error(tiny_llama, tiny_tokens, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(tmp_path / "file" / "run")]
    _fails(argv, capsys, 74, "cannot be written", "choose another place")


def test_two_writers_do_not_meet(tiny_llama, tiny_tokens, tmp_path, capsys):
    from rdtools.files import sole_writer

    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(tmp_path / "run")]
    with sole_writer(tmp_path / "run"):
        _fails(argv, capsys, 75, "another rdtools is writing there")
    assert not (tmp_path / "run").exists()


def test_litter_of_a_killed_writer_is_swept_and_other_files_are_not(tmp_path):
    from rdtools.files import sole_writer

    for name in (".index.html.x1.rdtools-part", "thesis.tex"):
        (tmp_path / name).write_text("x")
    with sole_writer(tmp_path):
        assert {p.name for p in tmp_path.iterdir()} == {"thesis.tex", ".lock"}
    assert {p.name for p in tmp_path.iterdir()} == {"thesis.tex"}


def test_a_file_in_the_place_of_the_run(tiny_llama, tiny_tokens, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(tmp_path / "file")]
    _fails(argv, capsys, 2, "not a run of rdtools")


def test_odd_names_give_one_line(tmp_path, capsys):
    _fails(["show", str(tmp_path / "a\nb[/x]")], capsys, 2, "a\\nb[/x]")


def test_a_fault_of_the_program_is_one_line_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rdtools.jobs.show.read_results", lambda path: 1 / 0)
    assert main(["show", str(tmp_path)]) == 70
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


def test_another_table_is_not_a_table_of_results(tmp_path, capsys):
    import pandas as pd

    from rdtools.runs.result_files import write_manifest

    path = tmp_path / "results.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    _fails(["show", str(tmp_path)], capsys, 65, "results.json: missing", "run the same rdtools report command again")
    write_manifest(tmp_path, [path], versions={}, command="")
    _fails(["show", str(tmp_path)], capsys, 65, "no column 'schema_version'")
    path.write_bytes(b"PAR1")
    write_manifest(tmp_path, [path], versions={}, command="")
    _fails(["show", str(tmp_path)], capsys, 65, "not a whole Parquet file")


def test_a_closed_pipe_is_not_a_failure(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -c 'from rdtools.cli.main import run; run()' report --help | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 141)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("argv", "words"), [([], ["report", "verify"]), (["hessians"], ["collect"])])
def test_without_a_command_the_help_is_printed_in_lines(argv, words, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("Usage: ")
    assert "\\n" not in error
    assert "..." not in error.replace("[ARGS]...", ""), "help of a command is cut off"
    assert all(any(line.strip().startswith(word) for line in error.splitlines()) for word in words)


def test_another_thread_may_run_a_command(tmp_path):
    """Signals belong to the main thread; elsewhere the command does without."""
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["show", str(tmp_path)])))
    thread.start()
    thread.join()
    assert codes == [2]


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rdtools 0")
    assert main(["--help"]) == 0
    assert "report" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_leaves_no_manifest_and_no_litter_and_can_go_on(name, code, tiny_llama, tiny_tokens, tmp_path):
    """Interrupted while Hessians are captured: only whole files, and no run until it is finished."""
    np.save(tmp_path / "many.npy", np.random.default_rng(0).integers(0, 64, (100_000, 32)))
    out = tmp_path / "run"
    argv = [
        "report",
        "--model",
        str(tiny_llama),
        "--out",
        str(out),
        "--methods",
        "hrtn",
        "--rates",
        "3",
        "--workers",
        "1",
    ]
    source = f"from rdtools.cli.main import run; import sys; sys.argv[1:] = {[*argv, '--tokens', str(tmp_path / 'many.npy')]}; run()"
    process = subprocess.Popen([sys.executable, "-c", source], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Hessians" in process.stderr.readline()
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert "every finished row are kept, and the same command goes on from there" in error
    assert not (out / "manifest.json").exists()
    assert not [p for p in out.rglob("*") if p.suffix == ".rdtools-part"] if out.exists() else True
    with quick_figures():
        assert main([*argv, "--tokens", str(tiny_tokens)]) == 0
    assert os.path.exists(out / "index.html")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_to_end_is_one_line_and_its_exit_code(name, code, monkeypatch, capsys):
    """SIGHUP, which a closed terminal sends, was the end without a word."""
    number = getattr(signal, name)
    before = signal.getsignal(number)
    monkeypatch.setattr("rdtools.cli.main.app", lambda **_: signal.raise_signal(number))
    assert main(["report"]) == code
    error = capsys.readouterr().err
    assert error.startswith("rdtools: terminated; a finished capture")
    assert error.count("\n") == 1
    assert signal.getsignal(number) is before


def test_a_hangup_that_is_ignored_stays_ignored(monkeypatch, capsys):
    """Under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr("rdtools.cli.main.app", lambda **_: signal.raise_signal(signal.SIGHUP))
        assert main(["report"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("argv", [["theory", ""], ["report", "--out="], ["quantize", "--save", "q", "--method", ""]])
def test_nothing_where_a_value_is_expected_is_said(argv, capsys):
    """An empty path would be the current directory."""
    _fails(argv, capsys, 2, "got nothing, expected a value", argv[-2].split("=")[0] if argv[-1] == "" else "--out")


@pytest.mark.parametrize(
    ("argv", "package", "words"),
    [
        (
            ["quantize", "--save", "q", "--method", "rtn", "--bits", "3", "--export", "compressed-tensors"],
            "compressed_tensors",
            ["--export compressed-tensors: needs", 'pip install "rdtools[export]"'],
        ),
        (
            ["report", "--scheduler", "tcp://host:1"],
            "distributed",
            ["--scheduler: a cluster of Dask needs", 'pip install "rdtools[cluster]"'],
        ),
        (["verify", "embedded", "--scheduler", "tcp://host:1"], "distributed", ['pip install "rdtools[cluster]"']),
    ],
)
def test_an_option_whose_package_is_missing_says_so_before_any_work(argv, package, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    _fails(argv, capsys, 2, f"the package {package.replace('_', '-')}, which is not installed", *words)
    assert not list(tmp_path.iterdir())


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.gguf")
    for argv in (["measure", str(tmp_path / "pipe.gguf"), "--run", "run"], ["report", f"--out={tmp_path / 'pipe.gguf'}"]):
        _fails(argv, capsys, 2, "a pipe or a device, expected a file or a directory")
    _fails(["measure", str(tmp_path), "--run", str(tmp_path)], capsys, 2, "no manifest.json")
