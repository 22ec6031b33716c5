from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rdtools.model import repetition
from rdtools.model.repetition import CONTEXT, distinct_contexts, repeated_sequences, sampling_notes
from rdtools.model.tokens import Tokens


def _tokens(ids, mask=None):
    ids = np.asarray(ids)
    return Tokens(ids, np.ones(ids.shape, bool) if mask is None else mask, "text.txt")


def _by_definition(tokens):
    """A token is new unless its last ids, as many as there are up to CONTEXT, are the last ids of an earlier token, or of any with more."""
    contexts = [tuple(ids[mask][: t + 1]) for ids, mask in zip(tokens.ids, tokens.mask, strict=True) for t in range(mask.sum())]
    new = {c[-CONTEXT:] for c in contexts if len(c) >= CONTEXT}
    for length in range(1, CONTEXT):
        longer = {c[-length:] for c in contexts if len(c) > length}
        new |= {c for c in contexts if len(c) == length} - longer
    return len(new)


def test_contexts_as_defined(rng):
    ids = rng.integers(0, 2, (12, 24))
    ids[4:8] = ids[:4]
    ids[9, 3:] = ids[10, :21]
    mask = rng.random(ids.shape) < 0.9
    for tokens in (_tokens(ids), _tokens(ids, mask), _tokens(ids[:, :5]), _tokens(ids[:1, :1]), _tokens(ids[:2, :3])):
        assert distinct_contexts(tokens) == _by_definition(tokens)


def test_natural_text_has_about_as_many_contexts_as_tokens():
    ids = np.random.default_rng(3).integers(0, 500, (20, 64))
    assert distinct_contexts(_tokens(ids)) > 0.98 * ids.size


def test_one_sentence_again_and_again_has_its_own_length():
    text = np.tile(np.arange(14), 600)
    assert distinct_contexts(_tokens(text[: 16 * 64].reshape(16, 64))) == 14


def test_repeated_sequences_are_counted(rng):
    ids = rng.integers(0, 99, (3, 8))
    assert repeated_sequences(_tokens(np.concatenate([ids, ids[:2]]))) == 2
    assert repeated_sequences(_tokens(ids[:2]), _tokens(ids[1:])) == 1


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (
            np.tile(np.arange(14), 600).reshape(-1, 8),
            ["1043 of 1050 sequences repeat", "14 distinct among 8400 tokens for inputs of 64, 172"],
        ),
        (np.random.default_rng(0).integers(0, 500, (1, 129)), ["129 tokens for inputs of 172 columns"]),
        (np.tile(np.arange(400), (2, 1)), ["1 of 2 sequences repeat", "400 distinct among 800 tokens"][:1]),
        (np.tile(np.arange(400), (3, 1)), ["2 of 3 sequences repeat", "400 distinct among 1200 tokens (those"]),
        (np.random.default_rng(0).integers(0, 500, (4, 129)), []),
    ],
)
def test_too_little_text_is_said_with_its_numbers(ids, told):
    notes = sampling_notes(_tokens(ids), [64, 64, 172])
    assert len(notes) == len(told)
    for note, part in zip(notes, told, strict=True):
        assert part in note


def test_contexts_are_counted_once_for_the_same_tokens(monkeypatch):
    """By the sentences before a capture, and for its Hessians."""
    counted = []
    real = repetition._count_contexts
    monkeypatch.setattr(repetition, "_count_contexts", lambda tokens: counted.append(tokens) or real(tokens))
    tokens = _tokens(np.arange(64).reshape(4, 16))
    sampling_notes(tokens, [8])
    assert distinct_contexts(tokens) == 64
    assert counted == [tokens]
    assert distinct_contexts(dataclasses.replace(tokens, ids=np.zeros((4, 16), dtype=np.int64))) == 1
