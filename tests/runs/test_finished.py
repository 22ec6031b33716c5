from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

from rdtools.errors import CorruptFile, UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.model import capture as capture_module
from rdtools.model.versions import versions
from rdtools.moments.accumulate import MomentAccumulator
from rdtools.runs.finished import FINISHED
from rdtools.runs.run_manifest import MANIFEST, read_manifest, reuse_notes
from rdtools.runs.store import open_run
from rdtools.runs.writer import RunWriter


class _Killed(BaseException):
    """As from a signal: nothing but a finally clause sees it."""


def _contents(run):
    """Bytes of every file, the manifest without its date, and the checksum that depends on it."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    manifest = json.loads(files[MANIFEST])
    del manifest["created"], manifest["sha256"]
    files[MANIFEST] = json.dumps(manifest).encode()
    return files


@pytest.fixture
def request_(tiny_tokens):
    return CalibrationRequest(tokens=tiny_tokens)


@pytest.fixture
def undisturbed(tiny_llama, request_, tmp_path):
    collect(str(tiny_llama), request_, out=tmp_path / "undisturbed")
    return _contents(tmp_path / "undisturbed")


@pytest.fixture
def finish(monkeypatch):
    """Names of the Hessians whose sums were finished, and so computed."""
    computed = []
    real = capture_module.Sums.finish

    def counting(sums, item, *args):
        computed.append(item.name)
        return real(sums, item, *args)

    monkeypatch.setattr(capture_module.Sums, "finish", counting)
    return computed


def _killed_after(count, source, request, out, *, write=RunWriter.add):
    """Run a capture that dies when it is about to write Hessian number `count`."""
    seen = iter(range(99))

    def dying(self, hessian, index):
        if next(seen) == count:
            raise _Killed
        write(self, hessian, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "add", dying)
        with pytest.raises(_Killed):
            collect(source, request, out=out)
    assert not (out / MANIFEST).exists()


@pytest.mark.parametrize("count", range(8))
def test_a_killed_capture_goes_on_and_ends_as_if_undisturbed(count, tiny_llama, request_, tmp_path, undisturbed, finish):
    out = tmp_path / "run"
    _killed_after(count, str(tiny_llama), request_, out)
    finish.clear()
    collect(str(tiny_llama), request_, out=out)
    assert len(finish) == 8 - count
    assert _contents(out) == undisturbed


def test_a_second_kill_and_a_pass_per_hessian(tiny_llama, request_, tmp_path, undisturbed, finish, monkeypatch):
    monkeypatch.setattr(capture_module, "ACCUMULATOR_BYTES", 1)
    out = tmp_path / "run"
    _killed_after(3, str(tiny_llama), request_, out)
    _killed_after(2, str(tiny_llama), request_, out)
    finish.clear()
    run = collect(str(tiny_llama), request_, out=out)
    assert len(finish) == 3
    assert len(run) == 14
    assert _contents(out) == undisturbed


def test_a_pass_that_is_interrupted_keeps_the_passes_before_it(tiny_llama, request_, tmp_path, undisturbed, finish, monkeypatch):
    """Interrupted in the middle of the third pass, between two writes."""
    monkeypatch.setattr(capture_module, "ACCUMULATOR_BYTES", 1)
    out = tmp_path / "run"
    real, started = MomentAccumulator.add, []

    def interrupted(self, rows):
        if self not in started:
            started.append(self)
        if len(started) == 3:
            raise KeyboardInterrupt
        real(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MomentAccumulator, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect(str(tiny_llama), request_, out=out)
    assert len(list((out / "hessians").glob("*.safetensors"))) == 2
    finish.clear()
    collect(str(tiny_llama), request_, out=out)
    assert len(finish) == 6
    assert _contents(out) == undisturbed


def test_killed_between_the_last_hessian_and_the_manifest(tiny_llama, request_, tmp_path, undisturbed, finish, monkeypatch):
    out = tmp_path / "run"

    def dying(*_args, **_kwargs):
        raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "finish", dying)
        with pytest.raises(_Killed):
            collect(str(tiny_llama), request_, out=out)
    finish.clear()
    collect(str(tiny_llama), request_, out=out)
    assert finish == []
    assert _contents(out) == undisturbed


def test_killed_just_after_the_manifest(tiny_llama, request_, tmp_path, undisturbed):
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rdtools.runs.finished.FinishedHessians.remove", lambda self: None)
        collect(str(tiny_llama), request_, out=out)
    assert (out / FINISHED).exists()
    collect(str(tiny_llama), request_, out=out)
    assert _contents(out) == undisturbed


def _torn_note(out):
    place = out / FINISHED
    place.write_bytes(place.read_bytes()[:-20])


def _altered_note(out):
    """A count of tokens that is still a number."""
    place = out / FINISHED
    lines = place.read_bytes().splitlines(keepends=True)
    assert b'"n_tokens": 192' in lines[-1]
    place.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"n_tokens": 192', b'"n_tokens": 193')]))


def _altered_hessian(out):
    place = out / "hessians" / "0004.safetensors"
    data = place.read_bytes()
    place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _truncated_hessian(out):
    place = out / "hessians" / "0004.safetensors"
    place.write_bytes(place.read_bytes()[:-8])


def _missing_hessian(out):
    (out / "hessians" / "0004.safetensors").unlink()


def _renumbered_hessian(out):
    """A note that is whole, yet names the file of another Hessian."""
    from rdtools.runs.finished import checked_entries, checked_line

    place = out / FINISHED
    head, *rest = checked_entries(place.read_bytes())
    rest[4] |= {key: rest[3][key] for key in ("file", "bytes", "sha256", "columns")}
    place.write_bytes(b"".join(map(checked_line, [head, *rest])))


@pytest.mark.parametrize("damage", [_torn_note, _altered_note, _altered_hessian, _truncated_hessian, _missing_hessian, _renumbered_hessian])
def test_what_is_damaged_is_captured_again(damage, tiny_llama, request_, tmp_path, undisturbed, finish):
    out = tmp_path / "run"
    _killed_after(5, str(tiny_llama), request_, out)
    damage(out)
    finish.clear()
    collect(str(tiny_llama), request_, out=out)
    assert len(finish) == 4
    assert _contents(out) == undisturbed


def test_a_list_that_is_no_list_is_begun_again(tiny_llama, request_, tmp_path, undisturbed):
    out = tmp_path / "run"
    _killed_after(5, str(tiny_llama), request_, out)
    for text in (b"", b"\xff\n", b"[]\n", b'{"crc32": 0, "entry": 5}\n'):
        (out / FINISHED).write_bytes(text)
        collect(str(tiny_llama), request_, out=out)
        assert _contents(out) == undisturbed
        (out / MANIFEST).unlink()


def test_the_beginning_of_another_capture_is_refused_and_kept(tiny_llama, request_, tmp_path, undisturbed, monkeypatch):
    out = tmp_path / "run"
    _killed_after(5, str(tiny_llama), request_, out)
    np.save(tmp_path / "other.npy", np.ones((2, 8), dtype=int))
    with pytest.raises(UsageError, match=r"holds 5 Hessians of an unfinished capture with other calibration tokens; choose another dir"):
        collect(str(tiny_llama), CalibrationRequest(tokens=tmp_path / "other.npy"), out=out)
    with pytest.raises(UsageError, match=r"unfinished capture with other `trust_remote_code`;"):
        collect(str(tiny_llama), request_, out=out, trust_remote_code=True)
    with pytest.raises(UsageError, match=r"unfinished capture with other device;"):
        collect(str(tiny_llama), request_, out=out, device="meta")
    with monkeypatch.context() as patch:
        patch.setattr("rdtools.model.versions.version", lambda name: "0.1" if name == "torch" else version(name))
        with pytest.raises(UsageError, match=r"unfinished capture with other version of torch;"):
            collect(str(tiny_llama), request_, out=out)
    config = tiny_llama / "config.json"
    before = config.read_text()
    config.write_text(before.replace("silu", "relu"))
    with pytest.raises(UsageError, match=r"unfinished capture with other model files;"):
        collect(str(tiny_llama), request_, out=out)
    config.write_text(before)
    collect(str(tiny_llama), request_, out=out)
    assert _contents(out) == undisturbed


def test_nothing_finished_is_nothing_to_protect(tiny_llama, request_, tmp_path, undisturbed):
    """Killed while the first Hessian is on its way to the disk: whatever comes next may have the directory."""
    out = tmp_path / "run"

    def dying(*_args):
        raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rdtools.runs.finished.FinishedHessians.add", dying)
        with pytest.raises(_Killed):
            collect(str(tiny_llama), request_, out=out)
    np.save(tmp_path / "other.npy", np.ones((2, 8), dtype=int))
    collect(str(tiny_llama), CalibrationRequest(tokens=tmp_path / "other.npy"), out=out)
    assert open_run(out).manifest.calibration.length == 8


def test_a_note_is_synced_after_its_hessian(tiny_llama, request_, tmp_path, monkeypatch):
    """Order on disk: list begun, Hessian, its note; each synced."""
    synced = []
    real = RunWriter.add

    def watch(self, hessian, index):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", lambda handle: synced.append(handle))
            real(self, hessian, index)
        assert len(synced) >= 3  # the Hessian, its folder, the note
        synced.clear()

    monkeypatch.setattr(RunWriter, "add", watch)
    collect(str(tiny_llama), request_, out=tmp_path / "run")


def test_device_and_versions_are_in_the_manifest_and_a_difference_is_told(tiny_llama, request_, tmp_path, monkeypatch):
    run = collect(str(tiny_llama), request_, out=tmp_path / "run")
    assert run.manifest.calibration.device == "cpu"
    assert run.notes == collect(str(tiny_llama), request_, out=run.path).notes == ()
    now = versions()
    assert reuse_notes(run.manifest, device="cpu", versions=now) == []
    assert reuse_notes(run.manifest, device="cuda", versions=now) == [
        "Hessians captured on cpu are used again, though cuda is asked for; they may differ by rounding"
    ]
    monkeypatch.setattr("rdtools.model.versions.versions", lambda: now | {"transformers": "99.0"})
    (note,) = collect(str(tiny_llama), request_, out=run.path).notes
    assert note == (f"Hessians captured with transformers {now['transformers']} are used again; a capture now would use transformers 99.0")


def test_a_manifest_without_a_device_still_opens(tiny_llama, request_, tmp_path):
    run = collect(str(tiny_llama), request_, out=tmp_path / "run")
    manifest = json.loads((run.path / MANIFEST).read_text())
    del manifest["calibration"]["device"], manifest["sha256"]
    manifest["version"] = 1
    (run.path / MANIFEST).write_text(json.dumps(manifest))
    assert read_manifest(run.path).calibration.device is None
    (note,) = collect(str(tiny_llama), request_, out=run.path).notes
    assert "does not say on which device" in note


def test_a_process_killed_with_signal_9_loses_only_its_pass(tiny_llama, tiny_tokens, request_, tmp_path, undisturbed, finish):
    out = tmp_path / "run"
    source = f"""
import os, signal
from pathlib import Path
import torch
from rdtools.model import capture
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect

torch.set_num_threads(1)
capture.ACCUMULATOR_BYTES = 1

def kill(done, total):
    if done == 5 * total // 8:
        os.kill(os.getpid(), signal.SIGKILL)

collect({str(tiny_llama)!r}, CalibrationRequest(tokens=Path({str(tiny_tokens)!r})), out=Path({str(out)!r}), progress=kill)
"""
    done = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    finish.clear()
    collect(str(tiny_llama), request_, out=out)
    assert len(finish) == 4
    assert _contents(out) == undisturbed


def test_missing_hessians_of_a_finished_run_are_captured_again(tiny_llama, tiny_tokens, tmp_path, finish, monkeypatch):
    request, held = CalibrationRequest(tokens=tiny_tokens), EvaluationRequest(tokens=tmp_path / "held.npy")
    np.save(held.tokens, np.roll(np.load(tiny_tokens), 1, axis=1))
    out, said = tmp_path / "run", []

    def again():
        return collect(str(tiny_llama), request, out=out, evaluation=held, say=said.append)

    again()
    before = _contents(out)
    (out / "hessians" / "0002.safetensors").unlink()
    (out / "heldout" / "0004.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("rdtools.model.versions.version", lambda name: "0.1" if name == "torch" else version(name))
        with pytest.raises(UsageError, match=r"0002.safetensors: missing.* torch 0.1: copy the file again, or choose another directory"):
            again()
    with pytest.raises(CorruptFile, match=r"0002.safetensors: missing, .*; copy it again, or delete it and give the command"):
        open_run(out).check()
    finish.clear()
    again()
    assert len(finish) == 2
    assert [line for line in said if "missing" in line] == [
        f"{out}/{name}: missing, though the manifest lists it; captured again"
        for name in ("hessians/0002.safetensors", "heldout/0004.safetensors")
    ]
    assert _contents(out) == before
