from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch

from rdtools.errors import ModelUnreadable, NotByBlocks, NotEnoughMemory, OutputError
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.model import capture as capture_module
from rdtools.model import flights, stages
from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.flights import Passes
from rdtools.model.inputs import find_layers
from rdtools.model.opened import open_model
from rdtools.model.pretrained import load_model
from rdtools.model.stages import Stages
from rdtools.model.tokens import load_tokens


@pytest.fixture
def checkpoint(tiny_llama):
    return open_checkpoint(tiny_llama)


@pytest.fixture
def staged(checkpoint):
    return Stages(checkpoint, kept_bytes=0)


def _moments(staged, checkpoint, tokens, **settings):
    inputs = find_layers(staged.model, checkpoint, stages=staged).inputs
    return {item.name: hessian.matrix for item, hessian in capture(staged.model, inputs, tokens, stages=staged, **settings)}


def _present(staged):
    return {name for name, tensor in staged.model.named_parameters() if not tensor.is_meta}


def test_only_the_block_that_runs_is_in_memory(staged):
    assert _present(staged) == {"model.norm.weight"}
    with staged.block(1):
        assert {name.rpartition("1.")[0] for name in _present(staged) - {"model.norm.weight"}} == {"model.layers."}
        whole = load_model(staged._checkpoint)
        for name, parameter in staged.model.model.layers[1].named_parameters():
            assert torch.equal(parameter, whole.get_parameter(f"model.layers.1.{name}"))
    with staged.tables():
        assert _present(staged) >= {"model.norm.weight", "model.embed_tokens.weight"}
    assert _present(staged) == {"model.norm.weight"}


def test_a_small_model_stays_in_memory(checkpoint):
    assert not [name for name, tensor in Stages(checkpoint).model.named_parameters() if tensor.is_meta]


def test_hidden_states_on_disk_give_the_same(staged, checkpoint, tiny_tokens, tmp_path, monkeypatch):
    tokens, taken = load_tokens(tiny_tokens), []
    monkeypatch.setattr(capture_module, "BATCH_TOKENS", 64)
    expected = _moments(staged, checkpoint, tokens)
    monkeypatch.setattr(flights, "free_memory", lambda: 0)
    take = flights.Shelf.take

    def counted(shelf, tensors):
        taken.append(sum(tensor.nbytes for tensor in tensors))
        take(shelf, tensors)
        assert all(tensor.untyped_storage().nbytes() == 0 for tensor in tensors)

    monkeypatch.setattr(flights.Shelf, "take", counted)
    found = _moments(staged, checkpoint, tokens, folder=tmp_path / "new")
    assert sum(taken) == len(staged.blocks) * flights.hidden_bytes(staged, tokens.ids.size)
    assert not list((tmp_path / "new").iterdir())
    assert all((found[name] == matrix).all() for name, matrix in expected.items())


def test_hidden_states_that_cannot_be_written_say_where(staged, checkpoint, tiny_tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(flights, "free_memory", lambda: 0)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: hidden states cannot be written there"):
        _moments(staged, checkpoint, load_tokens(tiny_tokens), folder=tmp_path / "file")


def test_sums_too_large_for_one_pass_are_taken_in_several(staged, checkpoint, tiny_tokens, monkeypatch):
    tokens, progress = load_tokens(tiny_tokens), []
    expected = _moments(staged, checkpoint, tokens)
    monkeypatch.setattr(capture_module, "ACCUMULATOR_BYTES", 1)
    found = _moments(staged, checkpoint, tokens, progress=lambda done, total: progress.append((done, total)))
    assert found.keys() == expected.keys()
    assert all((found[name] == matrix).all() for name, matrix in expected.items())
    assert progress == sorted(progress)
    assert progress[-1] == (tokens.ids.size, tokens.ids.size)


def test_a_batch_that_is_too_much_is_halved_and_what_is_finished_is_kept(staged, checkpoint, tiny_tokens, monkeypatch):
    tokens = load_tokens(tiny_tokens)
    inputs = find_layers(staged.model, checkpoint, stages=staged).inputs
    real, batches = staged.model.model.layers[1].mlp.forward, []

    def forward(x):
        batches.append(len(x))
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(x)

    monkeypatch.setattr(staged.model.model.layers[1].mlp, "forward", forward)
    found = [(item.name, hessian.n_tokens) for item, hessian in capture(staged.model, inputs, tokens, stages=staged)]
    assert sorted(found) == sorted((item.name, tokens.ids.size) for item in inputs)
    assert batches[-len(tokens.ids) :] == [1] * len(tokens.ids)
    monkeypatch.setattr(staged.model.model.layers[1].mlp, "forward", lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(NotEnoughMemory, match="device cpu has too little memory for one sequence of 16 tokens"):
        list(capture(staged.model, inputs, tokens, stages=staged))


def test_a_capture_that_ends_early_leaves_no_thread_and_no_stub(staged, checkpoint, tiny_tokens):
    def flights():
        return [thread for thread in threading.enumerate() if "(_work)" in thread.name]

    inputs = find_layers(staged.model, checkpoint, stages=staged).inputs
    running = capture(staged.model, inputs, load_tokens(tiny_tokens), stages=staged)
    next(running)
    assert flights()
    running.close()
    assert flights() == []
    assert all("forward" not in block.__dict__ for _, block in staged.blocks)
    assert _present(staged) == {"model.norm.weight"}


def test_logits_are_those_of_the_whole_model(staged, checkpoint, tiny_tokens):
    tokens = load_tokens(tiny_tokens)
    batches = list(tokens.batches(64))
    with Passes(staged, batches, head=True) as passes:
        for number in range(len(staged.blocks)):
            passes.block(number, lambda block, x: None)
        logits = [output.logits for output in passes.outputs(lambda block, x: None)]
    whole = load_model(checkpoint)
    with torch.no_grad():
        for ids, ours in zip(batches, logits, strict=True):
            assert torch.equal(whole(torch.from_numpy(ids)).logits, ours)


def test_a_block_out_of_turn_is_noticed(staged, tiny_tokens):
    with Passes(staged, [load_tokens(tiny_tokens).ids]) as passes, pytest.raises(NotByBlocks, match=r"does not come to model\.layers\.1"):
        passes.block(1, lambda block, x: None)


def _whole(monkeypatch):
    monkeypatch.setattr(stages, "_decoder_blocks", lambda model: (_ for _ in ()).throw(NotByBlocks("its blocks are hidden")))


def test_how_a_model_was_run_is_said_and_kept_in_the_manifest(tiny_llama, tiny_tokens, tmp_path, monkeypatch):
    request, said = CalibrationRequest(tokens=tiny_tokens), []
    by_blocks = collect(str(tiny_llama), request, out=tmp_path / "a", say=said.append)
    assert by_blocks.manifest.calibration.runner == "by blocks"
    assert not any("block by block" in sentence for sentence in said)
    _whole(monkeypatch)
    whole = collect(str(tiny_llama), request, out=tmp_path / "b", say=said.append)
    assert whole.manifest.calibration.runner == "whole: its blocks are hidden"
    assert f"{tiny_llama}: run as a whole and not block by block: its blocks are hidden" in said
    for ours, theirs in zip(by_blocks.hessians, whole.hessians, strict=True):
        assert ours.sha256 == theirs.sha256


def test_a_whole_model_that_does_not_fit_is_refused_with_the_reason(checkpoint, monkeypatch):
    from rdtools import machine

    _whole(monkeypatch)
    monkeypatch.setattr(machine, "free_memory", lambda: 1)
    with pytest.raises(NotEnoughMemory, match=r"in memory as a whole \(its blocks are hidden\): needs .* of memory"):
        open_model(checkpoint)


def test_weights_that_the_numbers_in_names_do_not_find_are_told(staged, monkeypatch):
    monkeypatch.setattr(stages, "block_index", lambda name: -1)
    with pytest.raises(NotByBlocks, match=r"model\.layers\.0 is made of tensors that do not have its number"), staged.block(0):
        pass


def test_an_interrupted_capture_goes_on_at_the_block(tiny_llama, tiny_tokens, tmp_path, monkeypatch):
    """Only Hessians that are missing are computed; blocks before them run again to know what they pass on."""
    monkeypatch.setattr(stages, "KEPT_BYTES", 0)
    request = CalibrationRequest(tokens=tiny_tokens)
    expected = collect(str(tiny_llama), request, out=tmp_path / "whole")
    real = Passes.block

    def block(self, number, see, progress=lambda done: None):
        if number == 1 and len(self._flights) and self._see is None:
            raise OSError("the disk has gone")
        real(self, number, see, progress)

    monkeypatch.setattr(Passes, "block", block)
    with pytest.raises(OSError, match="the disk has gone"):
        collect(str(tiny_llama), request, out=tmp_path / "run")
    monkeypatch.setattr(Passes, "block", real)
    assert len(list((tmp_path / "run" / "hessians").glob("*.safetensors"))) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "hessians").glob("*.safetensors")}
    run = collect(str(tiny_llama), request, out=tmp_path / "run")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert [entry.sha256 for entry in run.hessians] == [entry.sha256 for entry in expected.hessians]


def test_a_missing_shard_or_a_scale_is_refused_as_for_a_whole_model(tiny_llama):
    config = json.loads((tiny_llama / "config.json").read_text())
    (tiny_llama / "config.json").write_text(json.dumps(config | {"intermediate_size": 32}))
    with pytest.raises(ModelUnreadable, match=r"have another shape than config\.json says"):
        Stages(open_checkpoint(tiny_llama))


def test_sharded_and_half_precision_files(tmp_path):
    """bf16 shards run in float32, as the whole model does."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = AutoConfig.for_model("llama", **sizes, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="2KB")
    checkpoint = open_checkpoint(tmp_path)
    assert len(checkpoint.shards) > 3
    model, staged = load_model(checkpoint), Stages(checkpoint, kept_bytes=0)
    ids = np.random.default_rng(0).integers(0, 48, (5, 8))
    with Passes(staged, [ids], head=True) as passes:
        for number in range(3):
            passes.block(number, lambda block, x: None)
        [output] = passes.outputs(lambda block, x: None)
    with torch.no_grad():
        assert torch.equal(output.logits, model(torch.from_numpy(ids)).logits)
    assert output.logits.dtype == torch.float32
