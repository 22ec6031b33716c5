"""The original's predictions by their most probable tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rdtools.errors import CorruptFile, UsageError
from rdtools.evaluation import stored
from rdtools.evaluation.scores import ROWS, compare_logits
from rdtools.evaluation.stored import compare_top, stored_reference, top_predictions

VOCABULARY = 40
FACTS = {"model": {"model.safetensors": "1" * 64}, "tokens": "2" * 64, "protocol": "windows of 75"}
BUDGET = 64 * np.finfo(float).eps  # sums of at most 40 terms below 1 · ln 1e9


@pytest.fixture
def logits(rng):
    """Of an original and another model over two windows, more than one batch of rows."""
    first = torch.from_numpy(4 * rng.standard_normal((2, 75, VOCABULARY))).float()
    return first, first + torch.from_numpy(0.3 * rng.standard_normal(first.shape)).float(), rng.integers(0, VOCABULARY, (2, 75))


def test_fewer_tokens_tell_less_and_never_more_than_all(logits):
    """Data processing: merging tokens lowers KL and total variation, splitting the merged ones raises them; all of them are the whole."""
    original, other, ids = logits
    whole = compare_logits(original, other, ids)
    assert len(whole.kl) > ROWS
    before = None
    for top in (1, 2, 5, 15, VOCABULARY):
        scores = compare_top(top_predictions(original, ids, top), other, ids)
        assert (scores.kl <= whole.kl + BUDGET).all()
        assert (scores.acceptance >= whole.acceptance - BUDGET).all()
        if before is not None:
            assert (scores.kl >= before.kl - BUDGET).all()
            assert (scores.acceptance <= before.acceptance + BUDGET).all()
        for exact in ("nll", "reference_nll", "agreement"):
            np.testing.assert_allclose(getattr(scores, exact), getattr(whole, exact), rtol=1e-13)
        before = scores
    np.testing.assert_allclose(before.kl, whole.kl, rtol=1e-12, atol=BUDGET)
    assert compare_top(top_predictions(original, ids, 1), other, ids).kl.mean() < 0.9 * whole.kl.mean()


def test_a_file_gives_its_numbers_back_and_takes_what_was_said(logits, tmp_path):
    original, _, ids = logits
    part = top_predictions(original, ids, 3)
    file = stored_reference(tmp_path / "r.safetensors", FACTS, tokens=148, top=3, vocabulary=VOCABULARY)
    file.write([top_predictions(original[:1], ids[:1], 3), top_predictions(original[1:], ids[1:], 3)])
    again = stored_reference(file.path, FACTS, tokens=148, top=None, vocabulary=VOCABULARY)
    assert (again.known, again.top) == (True, 3)
    first, second = again.batches([ids[:1], ids[1:]])
    for name in ("places", "logits", "normalizer", "log_rest", "nll", "best"):
        assert np.array_equal(np.concatenate([getattr(first, name), getattr(second, name)]), getattr(part, name))
    assert sum(vars(part)[name].nbytes for name in vars(part)) == part.bytes_of(148, 3)
    assert file.path.stat().st_size - part.bytes_of(148, 3) < 1500  # its header
    assert "148 predictions of the original by the 3 most probable tokens, 0.0 MB" in again.sentence()
    assert f"{np.exp(part.log_rest).mean():.2g} of the probability on average" in again.sentence()


@pytest.mark.parametrize(
    ("facts", "top", "message"),
    [
        (FACTS | {"tokens": "3" * 64}, None, "whose tokens differs"),
        (FACTS | {"model": {}}, None, "whose model differs"),
        (FACTS, 4, "whose top differs"),
        (FACTS, 0, "`top` 0: expected at least 1 token"),
    ],
)
def test_a_file_of_something_else_is_refused(logits, tmp_path, facts, top, message):
    original, _, ids = logits
    file = stored_reference(tmp_path / "r.safetensors", FACTS, tokens=148, top=3, vocabulary=VOCABULARY)
    file.write([top_predictions(original, ids, 3)])
    with pytest.raises(UsageError, match=message):
        stored_reference(file.path, facts, tokens=148, top=top, vocabulary=VOCABULARY)


def test_damaged_files_and_too_large_ones_are_refused(logits, tmp_path, monkeypatch):
    original, _, ids = logits
    path = tmp_path / "r.safetensors"
    stored_reference(path, FACTS, tokens=148, top=3, vocabulary=VOCABULARY).write([top_predictions(original, ids, 3)])
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptFile, match="not a whole file of predictions"):
        stored_reference(path, FACTS, tokens=148, top=3, vocabulary=VOCABULARY)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    file = stored_reference(path, FACTS, tokens=148, top=3, vocabulary=VOCABULARY)
    with pytest.raises(CorruptFile, match="its numbers are not those that were written"):
        _ = file.predictions
    path.write_bytes(data.replace(rb"\"top\": 3", rb"\"top\": 4"))
    with pytest.raises(CorruptFile, match="its numbers are not those that were written"):
        _ = stored_reference(path, FACTS, tokens=148, top=None, vocabulary=VOCABULARY).predictions
    for damaged in (rb"\"top\"; 3", rb"\"tap\": 3"):
        path.write_bytes(data.replace(rb"\"top\": 3", damaged))
        with pytest.raises(CorruptFile, match="its header does not say what the predictions are of"):
            stored_reference(path, FACTS, tokens=148, top=None, vocabulary=VOCABULARY)
    monkeypatch.setattr(stored, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match=r"148 predictions by 40 tokens each would take 0\.0 GB"):
        stored_reference(tmp_path / "new.safetensors", FACTS, tokens=148, top=10**9, vocabulary=VOCABULARY)
