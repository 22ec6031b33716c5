"""Held-out moments in a run: captured after the Hessians, kept when a capture dies, bound to their tokens."""

from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rdtools.errors import CorruptFile, UsageError
from rdtools.files import sha256_of_file
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.runs.finished import FinishedHessians
from rdtools.runs.run_manifest import CAPTURE_VERSION, MANIFEST, HessianEntry, write_manifest
from rdtools.runs.store import open_run
from rdtools.runs.writer import RunWriter
from rdtools.sweep.plan import key_of_layer


class _Killed(BaseException):
    pass


@pytest.fixture
def evaluation(tmp_path):
    np.save(tmp_path / "evaluation.npy", np.random.default_rng(2).integers(0, 64, (6, 16)))
    return EvaluationRequest(tokens=tmp_path / "evaluation.npy")


def _dense(moment):
    n = moment.columns
    whole = np.zeros((n, n))
    whole[np.tril_indices(n)] = moment.read(0, n * (n + 1) // 2)
    return whole + np.tril(whole, -1).T


def test_moments_and_means_are_those_of_a_capture_alone(tiny_llama, tiny_tokens, evaluation, tmp_path):
    run = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run", evaluation=evaluation)
    alone = collect(str(tiny_llama), CalibrationRequest(tokens=evaluation.tokens), out=tmp_path / "alone")
    plain = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "plain")
    for index, entry in enumerate(run.hessians):
        np.testing.assert_array_equal(_dense(run.heldout(index)), alone.hessian(index).matrix)
        assert run.heldout(index).n_tokens == 96
        assert entry == plain.hessians[index]
    assert plain.heldout(0) is None
    assert (run.hessians[0].n_tokens, run.hessians[0].distinct_tokens) == (192, 181)  # first ids of sequences occur elsewhere
    moments = run.input_moments("0.q_proj")
    assert (moments.tokens, moments.distinct_tokens, moments.is_plain) == (192, 181, True)
    assert np.abs(moments.mean).max() > 0
    assert key_of_layer(run, run.layers[0]) != key_of_layer(plain, plain.layers[0])
    added = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "plain", evaluation=evaluation)
    assert added.manifest.heldout == run.manifest.heldout
    run.check()


def test_a_capture_that_dies_among_held_out_moments_keeps_what_it_has(tiny_llama, tiny_tokens, evaluation, tmp_path, monkeypatch):
    request, out, real, written = CalibrationRequest(tokens=tiny_tokens), tmp_path / "run", RunWriter.add, []

    def dying(self, hessian, index):
        if len(written) == 11:  # 8 Hessians, 3 held out
            raise _Killed
        written.append(index)
        real(self, hessian, index)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "add", dying)
        with pytest.raises(_Killed):
            collect(str(tiny_llama), request, out=out, evaluation=evaluation)
    assert open_run(out).manifest.heldout is None
    again = []
    monkeypatch.setattr(RunWriter, "add", lambda self, hessian, index: (again.append(index), real(self, hessian, index)))
    run = collect(str(tiny_llama), request, out=out, evaluation=evaluation)
    assert again == [3, 4, 5, 6, 7]
    assert not (out / "heldout" / "finished.jsonl").exists()
    whole = collect(str(tiny_llama), request, out=tmp_path / "whole", evaluation=evaluation)
    assert run.manifest.heldout == whole.manifest.heldout


def test_other_or_no_held_out_tokens_are_refused(tiny_llama, tiny_tokens, evaluation, tmp_path):
    request, said = CalibrationRequest(tokens=tiny_tokens), []
    with pytest.raises(UsageError, match="all 12 evaluation sequences are among the calibration sequences"):
        collect(str(tiny_llama), request, out=tmp_path / "run", evaluation=EvaluationRequest(tokens=tiny_tokens))
    assert not (tmp_path / "run").exists()
    collect(str(tiny_llama), request, out=tmp_path / "run", evaluation=evaluation)
    mixed = np.concatenate([np.load(evaluation.tokens), np.load(tiny_tokens)[:2]])
    np.save(tmp_path / "mixed.npy", mixed)
    other = EvaluationRequest(tokens=tmp_path / "mixed.npy")
    with pytest.raises(UsageError, match=r"of other evaluation tokens in .*heldout; a report with `fresh` replaces them"):
        collect(str(tiny_llama), request, out=tmp_path / "run", evaluation=other, say=said.append)
    assert "2 of 8 evaluation sequences are calibration sequences too" in said[0]
    with pytest.raises(UsageError, match="got both, expected one source of held-out data"):
        EvaluationRequest(text=tiny_tokens, tokens=tiny_tokens)
    run = collect(str(tiny_llama), request, out=tmp_path / "run")
    before = run.manifest.heldout
    run = collect(str(tiny_llama), request, out=tmp_path / "run", evaluation=other, fresh=True)
    assert run.manifest.heldout.tokens.token_sha256 != before.tokens.token_sha256
    assert {entry.n_tokens for entry in run.manifest.heldout.hessians} == {mixed.size}
    run.check()
    alone = collect(str(tiny_llama), request, out=tmp_path / "alone", evaluation=other)
    assert run.manifest.heldout == alone.manifest.heldout


def test_altered_held_out_moments_are_noticed(tiny_llama, tiny_tokens, evaluation, tmp_path):
    run = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run", evaluation=evaluation)
    path = run.path / run.manifest.heldout.hessians[2].file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"heldout/0002\.safetensors"):
        run.heldout(2)
    with pytest.raises(CorruptFile, match=r"heldout/0002\.safetensors"):
        run.check()
    content = json.loads((run.path / MANIFEST).read_text()) | {"version": 1, "sha256": None}
    content["heldout"]["hessians"].reverse()
    (run.path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CorruptFile, match="the held-out moments are not of the inputs of the Hessians"):
        open_run(run.path)


def test_a_run_without_means_and_counts_still_opens(tiny_llama, tiny_tokens, tmp_path):
    """As version 0.1 wrote it."""
    run = collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")
    expected = run.hessian(0).matrix
    content = json.loads((run.path / MANIFEST).read_text()) | {"version": 1}
    del content["heldout"], content["sha256"]
    for entry in content["hessians"]:
        path = run.path / entry["file"]
        save_file({"packed": load_file(path)["packed"]}, path)
        del entry["distinct_tokens"]
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    (run.path / MANIFEST).write_text(json.dumps(content))
    old = open_run(run.path)
    np.testing.assert_array_equal(old.hessian(0).matrix, expected)
    assert old.input_moments("0.q_proj").mean is None
    assert old.hessian(0).distinct_tokens is None


def test_too_little_text_is_said_before_the_capture(tiny_llama, tmp_path, monkeypatch):
    """One sentence of 14 tokens again and again, for inputs of 16 and 24 columns: said before the first Hessian, and in the status."""
    np.save(tmp_path / "one.npy", np.tile(np.arange(14), 80).reshape(-1, 16))
    events, real = [], RunWriter.add
    monkeypatch.setattr(RunWriter, "add", lambda self, hessian, index: (events.append(index), real(self, hessian, index)))
    run = collect(str(tiny_llama), CalibrationRequest(tokens=tmp_path / "one.npy"), out=tmp_path / "run", say=events.append)
    assert "63 of 70 sequences repeat an earlier one" in events[0]
    assert "14 distinct among 1120 tokens for inputs of 16, 24 columns" in events[1]
    assert events[2] == 0
    assert {entry.distinct_tokens for entry in run.hessians} == {14}


def test_a_run_of_other_rules_of_capture_is_read_but_not_used_again(tiny_llama, tiny_tokens, evaluation, tmp_path):
    request, out = CalibrationRequest(tokens=tiny_tokens), tmp_path / "run"
    run = collect(str(tiny_llama), request, out=out)
    assert run.manifest.capture == CAPTURE_VERSION
    write_manifest(out, run.manifest.model_copy(update={"capture": None}))
    before = (out / MANIFEST).read_bytes()
    for heldout in (None, evaluation):
        with pytest.raises(UsageError, match=r"other rules of capture; .* another directory, such as \S*run-new"):
            collect(str(tiny_llama), request, out=out, evaluation=heldout)
    assert (out / MANIFEST).read_bytes() == before
    assert len(open_run(out)) == len(run)


def test_a_list_left_beside_finished_held_out_moments_is_removed(tiny_llama, tiny_tokens, evaluation, tmp_path):
    request, out = CalibrationRequest(tokens=tiny_tokens), tmp_path / "run"
    collect(str(tiny_llama), request, out=out, evaluation=evaluation)
    (out / "heldout" / "finished.jsonl").write_text("{}")
    collect(str(tiny_llama), request, out=out, evaluation=evaluation)
    assert not (out / "heldout" / "finished.jsonl").exists()


def test_unfinished_held_out_moments_of_other_tokens_are_replaced(tmp_path):
    entry = HessianEntry(
        name="a", file="heldout/0000.safetensors", columns=1, n_tokens=1, dropped_tokens=0, bytes=0, sha256=sha256(b"").hexdigest()
    )
    (tmp_path / "heldout").mkdir()
    (tmp_path / entry.file).write_bytes(b"")
    first = FinishedHessians(tmp_path, {"evaluation tokens": "1"}, folder="heldout")
    first.begin()
    first.add(entry)
    assert FinishedHessians(tmp_path, {"evaluation tokens": "1"}, folder="heldout").entries == {"a": entry}
    assert FinishedHessians(tmp_path, {"evaluation tokens": "2"}, folder="heldout").entries == {}
