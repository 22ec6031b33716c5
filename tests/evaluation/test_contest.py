from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama

from rdtools.errors import BadActivations, BadTokens
from rdtools.evaluation.contest import Contender, contest
from rdtools.evaluation.windows import cut
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.opened import open_model
from rdtools.model.pretrained import load_model
from rdtools.model.tokens import Tokens
from rdtools.records import EffectiveLayer, InputMap


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """A Llama whose output head is its embedding."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("model") / "m"
    config = AutoConfig.from_pretrained(make_tiny_llama(folder))
    config.tie_word_embeddings = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def windows(rng):
    return cut(Tokens(rng.integers(0, 64, (4, 10)), np.ones((4, 10), bool), "x"), 5)


def test_a_quantized_head_leaves_the_embedding_that_it_is_tied_to(tied, windows, rng):
    """One matrix, read first as embedding and last as head: only the latter is replaced, and both are back afterwards."""
    opened = open_model(open_checkpoint(tied), head=True)
    head = opened.layers.inputs[-1].layers[0]
    other = EffectiveLayer(rng.standard_normal(head.shape), InputMap(columns=head.shape[1]))
    before = opened.model.get_input_embeddings().weight.clone()
    assert opened.model.get_output_embeddings().weight is opened.model.get_input_embeddings().weight
    contender = Contender(opened.stages, opened.layers.inputs, lambda number: {head.name: other} if number is None else {})
    (scores,) = contest(opened.stages, [contender], windows)
    assert contender.failure is None
    assert torch.equal(opened.model.get_input_embeddings().weight, before)
    model = load_model(open_checkpoint(tied))
    ids = torch.from_numpy(windows.ids)
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state
        logits = hidden @ torch.tensor(other.matrix, dtype=torch.float32).T
    nll = -torch.log_softmax(logits[:, :-1].double(), -1).gather(2, ids[:, 1:, None]).numpy().ravel()
    np.testing.assert_allclose(scores.nll, nll, rtol=1e-5)


def test_one_that_fails_leaves_the_others(tied, windows):
    opened = open_model(open_checkpoint(tied))

    def failing(number):
        if number == 1:
            raise ValueError("no such layer")
        return {}

    contenders = [Contender(opened.stages, opened.layers.inputs, failing), Contender(opened.stages, opened.layers.inputs)]
    failed, same = contest(opened.stages, contenders, windows)
    assert failed is None
    assert str(contenders[0].failure) == "no such layer"
    assert same is not None
    assert same.kl.max() == 0
    assert np.array_equal(same.nll, same.reference_nll)
    assert len(same.nll) == windows.scored


def test_a_damaged_original_is_an_error_of_all(tied, windows):
    opened = open_model(open_checkpoint(tied))
    opened.model.model.norm.weight[0] = torch.inf
    with pytest.raises(BadActivations, match="the original model: 8 of"):
        contest(opened.stages, [Contender(opened.stages, opened.layers.inputs)], cut_first(windows, 2))


def cut_first(windows, count):
    from dataclasses import replace

    return replace(windows, ids=windows.ids[:count, :4], clusters=windows.clusters[:count])


def test_ids_that_are_no_tokens_are_refused(tied):
    opened = open_model(open_checkpoint(tied))
    windows = cut(Tokens(np.full((2, 5), 70), np.ones((2, 5), bool), "x.npy"), 5)
    with pytest.raises(BadTokens, match="token id 70 outside the model's vocabulary of 64"):
        contest(opened.stages, [], windows)
