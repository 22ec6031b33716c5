from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from tolerances import rounding

from rdtools.errors import BadActivations, NotEnoughMemory
from rdtools.model import activations as module
from rdtools.model.activations import Sample, check_dropped, run_activations, sample_activations
from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.inputs import find_layers
from rdtools.model.pretrained import load_model
from rdtools.model.tokens import Tokens


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    checkpoint = open_checkpoint(make_tiny_llama(tmp_path_factory.mktemp("llama")))
    model = load_model(checkpoint)
    ids = np.random.default_rng(0).integers(0, 64, (6, 16))
    return model, find_layers(model, checkpoint, head=True).inputs, Tokens(ids, np.ones_like(ids, dtype=bool), "test")


def gathered(loaded, **settings):
    model, inputs, tokens = loaded
    rows: dict[str, list] = {}

    def begin():
        rows.clear()
        rows.update({item.name: [] for item in inputs})
        return {name: seen.append for name, seen in rows.items()}

    run_activations(model, tokens, begin, inputs, **settings)
    return {name: np.concatenate(seen) for name, seen in rows.items()}


def test_the_activations_are_those_of_which_moments_are_taken(loaded):
    """Σ x xᵀ of what one pass hands over is the captured moment, of every input and the output head's."""
    model, inputs, tokens = loaded
    rows = gathered(loaded)
    for item, hessian in capture(model, inputs, tokens):
        x = rows[item.name].astype(np.float64)
        assert len(x) == hessian.n_tokens
        assert x.T @ x / len(x) == pytest.approx(hessian.matrix, abs=rounding(len(x)) * np.trace(hessian.matrix))


def test_a_pass_begins_anew_with_smaller_batches_where_one_does_not_fit(loaded, monkeypatch):
    expected = gathered(loaded)
    run, sizes = module.run_tokens, []

    def limited(model, ids, *, head=False):
        sizes.append(ids.numel())
        if ids.numel() > 40:
            raise torch.OutOfMemoryError("too much")
        return run(model, ids, head=head)

    monkeypatch.setattr(module, "run_tokens", limited)
    found = gathered(loaded)
    assert max(sizes) > 40 >= sizes[-1]
    assert all(found[name] == pytest.approx(x, rel=1e-4, abs=1e-5) for name, x in expected.items())  # float32, other batches
    monkeypatch.setattr(module, "run_tokens", lambda *given, **settings: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(NotEnoughMemory, match="too little memory for one sequence of 16 tokens"):
        gathered(loaded)


def test_a_sample_is_bounded_seeded_and_the_same_in_any_batches(rng):
    x = rng.standard_normal((100, 4)).astype(np.float32)
    x[7, 1] = np.nan
    samples = []
    for cuts in ([], [30, 31, 90]):
        sample = Sample(4, seed=1, name="a", most_bytes=16 * 10 + 15)
        for part in np.split(x, cuts):
            sample.add(part)
        samples.append(sample.rows)
        assert (sample.seen, sample.dropped) == (100, 1)
    assert samples[0].shape == (10, 4)
    assert np.array_equal(*samples)
    places = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in samples[0]]
    assert places == sorted(set(places))
    other = Sample(4, seed=1, name="b", most_bytes=160)
    other.add(x)
    assert not np.array_equal(other.rows, samples[0])


def test_every_token_is_as_likely_to_be_sampled():
    """Mean place of 400 samples of 5 of 20: standard error 0.13, five of them."""
    x = np.arange(20, dtype=np.float32)[:, None]
    places = []
    for seed in range(400):
        sample = Sample(1, seed=seed, name="x", most_bytes=20)
        sample.add(x)
        places.append(sample.rows.mean())
    assert np.mean(places) == pytest.approx(9.5, abs=5 * np.sqrt(33.25 / 5 * 15 / 19 / 400))


def test_samples_of_a_model_are_of_its_activations(loaded):
    model, inputs, tokens = loaded
    whole = gathered(loaded)
    found = sample_activations(model, tokens, inputs[:2], seed=3, most_bytes=16 * 4 * 8)
    assert {name: sample.rows.shape for name, sample in found.items()} == {item.name: (8, item.columns) for item in inputs[:2]}
    for name, sample in found.items():
        assert all((whole[name] == row).all(axis=1).any() for row in sample.rows)


def test_too_many_tokens_that_are_not_finite_are_refused():
    check_dropped("x", 99, 1)
    with pytest.raises(BadActivations, match="x: 2 of 100 tokens have NaN or infinite inputs, at most 1%"):
        check_dropped("x", 98, 2)
