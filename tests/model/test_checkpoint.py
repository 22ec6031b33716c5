from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rdtools.errors import BadTokens, CorruptFile, ModelUnreadable, NotFiniteInput, ServiceUnavailable, UnsupportedDtype
from rdtools.model.checkpoint import find_model, open_checkpoint
from rdtools.model.tokens import load_tokens, tokenize_text


class _Bomb:
    """A pickle that leaves a trace if it is ever loaded."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (os.mkdir, (self.trace,))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    return tmp_path / "m"


def test_no_directory_no_config_no_weights(tmp_path, folder):
    with pytest.raises(ModelUnreadable, match="no such directory"):
        find_model(str(tmp_path / "nowhere"))
    with pytest.raises(ModelUnreadable, match=r"no config\.json"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelUnreadable, match="no weights"):
        open_checkpoint(folder)


def test_a_pickle_is_named_and_never_loaded(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    with pytest.raises(ModelUnreadable, match=r"pytorch_model\.bin, which is a pickle and could run code"):
        open_checkpoint(folder)
    for name in ("ids.pt", "ids.npy", "ids.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
        with pytest.raises((BadTokens, CorruptFile), match="pickle"):
            load_tokens(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_truncated_weights_are_named(folder, keep):
    save_file({"a": torch.ones(50)}, folder / "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(CorruptFile, match=r"model\.safetensors: not a whole safetensors file"):
        open_checkpoint(folder)


def test_missing_shards_and_tensors_are_listed_before_any_work(folder):
    save_file({"a": torch.ones(2)}, folder / "one.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(ModelUnreadable, match=r"missing two\.safetensors"):
        open_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}))
    with pytest.raises(CorruptFile, match="lists 1 tensors that no shard holds, first b"):
        open_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(CorruptFile, match="expected files of this directory only"):
        open_checkpoint(folder)
    for text in ("[]", '{"weight_map": {}}', '{"weight_map": 3}'):
        index.write_text(text)
        with pytest.raises(CorruptFile, match="not an index"):
            open_checkpoint(folder)
    index.write_text("not json")
    with pytest.raises(CorruptFile, match="not an index"):
        open_checkpoint(folder)


def test_quantized_and_non_finite_tensors_are_refused(folder):
    save_file({"q": torch.ones(2, dtype=torch.int8), "bad": torch.tensor([1.0, float("nan")])}, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    with pytest.raises(UnsupportedDtype, match="q has dtype I8"):
        checkpoint.read("q")
    with pytest.raises(NotFiniteInput, match=r"bad has 1 NaN or infinite entries, the first at \(1,\)"):
        checkpoint.read("bad")
    with pytest.raises(ModelUnreadable, match="no tensor 'absent'"):
        checkpoint.read("absent")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_dtype_is_read_exactly(folder, dtype):
    values = torch.tensor([[1.0, -0.333], [1e-3, 7.0]]).to(dtype)
    save_file({"w": values}, folder / "model.safetensors")
    np.testing.assert_array_equal(open_checkpoint(folder).read("w"), values.double().numpy())


def test_an_unreachable_hub_is_a_service_error(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ServiceUnavailable, match=r"nobody/no-model: neither a directory here nor .* \(no route to host\)"):
        find_model("nobody/no-model")
    with pytest.raises(ServiceUnavailable, match=r"or give a local directory, or 'embedded'$"):
        find_model("embeded")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 2)), "dtype float64"),
        (np.ones(4, dtype=int), r"shape \(4,\)"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_arrays_that_are_no_tokens_are_refused(tmp_path, array, message):
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(BadTokens, match=message):
        load_tokens(tmp_path / "t.npy")


def test_masks_and_padding(tmp_path):
    from safetensors.numpy import save_file as save_numpy

    ids, mask = np.array([[1, 2, 0]], dtype=np.uint16), np.array([[1, 1, 0]])
    save_numpy({"input_ids": ids, "attention_mask": mask}, tmp_path / "t.safetensors")
    assert load_tokens(tmp_path / "t.safetensors").mask.tolist() == [[True, True, False]]
    assert load_tokens(tmp_path / "t.safetensors").padding_from == "attention_mask of the file"
    save_numpy({"input_ids": ids}, tmp_path / "t.safetensors", metadata={"pad_token_id": "2"})
    assert load_tokens(tmp_path / "t.safetensors").mask.tolist() == [[True, False, True]]
    assert load_tokens(tmp_path / "t.safetensors").padding_from == "pad_token_id 2 of the file"
    save_numpy({"input_ids": ids}, tmp_path / "t.safetensors", metadata={"pad_token_id": "two"})
    with pytest.raises(BadTokens, match="pad_token_id 'two' among its metadata, expected one whole number"):
        load_tokens(tmp_path / "t.safetensors")
    np.save(tmp_path / "t.npy", ids)
    assert load_tokens(tmp_path / "t.npy").mask.all()
    save_numpy({"tokens": ids}, tmp_path / "other.safetensors")
    with pytest.raises(BadTokens, match="holds tokens, expected a tensor 'input_ids'"):
        load_tokens(tmp_path / "other.safetensors")


def test_disguised_and_absurd_token_files(tmp_path):
    np.savez(tmp_path / "z.npz", ids=np.ones((2, 2), dtype=int))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    np.save(tmp_path / "huge.npy", np.ones((2, 2), dtype=int))
    data = (tmp_path / "huge.npy").read_bytes().replace(b"(2, 2)", b"(9, 9)")
    (tmp_path / "huge.npy").write_bytes(data)
    save_file({"input_ids": torch.ones(2, 2, dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    for name in ("z.npy", "huge.npy", "b.safetensors"):
        with pytest.raises(CorruptFile, match=name):
            load_tokens(tmp_path / name)


@pytest.mark.parametrize("source", ["~nobody-here/m", "x" * 5000])
def test_names_that_are_no_paths(source):
    with pytest.raises(ModelUnreadable):
        find_model(source)


@pytest.mark.parametrize(("name", "value"), [("num_hidden_layers", 10**7), ("hidden_size", 10**9), ("vocab_size", 2**40)])
def test_a_configuration_beyond_its_files_is_refused_before_it_is_built(name, value, tiny_llama):
    config = tiny_llama / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: value}))
    with pytest.raises(CorruptFile, match=rf"config\.json: {name} {value} for weight files of"):
        open_checkpoint(tiny_llama)


def test_a_fifo_and_a_name_are_no_text(tmp_path):
    """The first would be waited for without end."""
    with pytest.raises(BadTokens, match="wikitext2: no such file; expected a plain text file: there are no texts by name"):
        tokenize_text(tmp_path / "wikitext2", None, sequences=1, length=1)
    os.mkfifo(tmp_path / "text")
    with pytest.raises(BadTokens, match="text: not a regular file"):
        tokenize_text(tmp_path / "text", None, sequences=1, length=1)


@pytest.mark.parametrize(("old", "new", "words"), [
    (b"'<i8'", b"'<i4'", r"256 bytes, expected 192 for int32 numbers of \(4, 4\)"),
    (b"(4, 4)", b"((, 4)", "not a plain NumPy array"),
])  # fmt: skip
def test_a_header_of_tokens_that_is_not_the_one_written_is_refused(old, new, words, tmp_path):
    """The second made a `tokenize.TokenError`."""
    path = tmp_path / "tokens.npy"
    np.save(path, np.ones((4, 4), dtype=np.int64))
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(CorruptFile, match=words):
        load_tokens(path)


def test_a_directory_that_no_file_system_can_have_is_said(tmp_path):
    with pytest.raises(ModelUnreadable, match="not a path"):
        open_checkpoint(tmp_path / ("x" * 300))
