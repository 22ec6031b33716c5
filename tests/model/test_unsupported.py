from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rdtools.errors import CorruptFile, ModelUnreadable, UsageError
from rdtools.model.checkpoint import find_model, open_checkpoint
from rdtools.model.pretrained import load_model


def _configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _store(folder, **tensors):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {name.replace("__", "."): value for name, value in tensors.items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "mxfp4"])
def test_a_quantized_model_is_told_by_its_configuration(tiny_llama, method):
    _configure(tiny_llama, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(
        ModelUnreadable, match=rf"already quantized \(config\.json: quant_method {method}\).*give the model that it was quantized"
    ):
        open_checkpoint(tiny_llama)


@pytest.mark.parametrize(
    "tensor",
    [
        "mlp.gate_proj.qweight",
        "mlp.gate_proj.g_idx",
        "mlp.gate_proj.weight_packed",
        "mlp.gate_proj.weight_scale",
        "mlp.gate_proj.weight_scale_inv",
        "mlp.gate_proj.weight.absmax",
        "mlp.gate_proj.SCB",
        "mlp.experts.gate_up_proj_blocks",
        "mlp.experts.gate_up_proj_scales",
    ],
)
def test_a_quantized_model_is_told_by_its_tensors(tiny_llama, tensor):
    """Bfloat16 weights beside a scale load without an error, and are wrong by that scale."""
    _store(tiny_llama, **{f"model.layers.0.{tensor}": torch.ones(2)})
    with pytest.raises(ModelUnreadable, match=rf"already quantized, as 1 of its tensors show, first model\.layers\.0\.{tensor}"):
        open_checkpoint(tiny_llama)


@pytest.mark.parametrize("tensor", ["model.layers.0.mlp.gate_proj.scale_of_mine", "model.layers.1.self_attn.k_scale", "model.gain"])
def test_a_tensor_that_nothing_reads_is_refused_where_its_module_is_read(tiny_llama, tensor):
    _store(tiny_llama, **{tensor: torch.ones(2)})
    with pytest.raises(ModelUnreadable, match=rf"{tensor} is stored beside model\..*, and transformers does not use it"):
        load_model(open_checkpoint(tiny_llama))


def test_tensors_of_parts_that_are_not_built_are_said(tiny_llama):
    _store(tiny_llama, mtp__fc__weight=torch.ones(2, 2), vision__patch__weight=torch.ones(2, 2))
    said = []
    load_model(open_checkpoint(tiny_llama), say=said.append)
    assert [sentence.partition(": ")[2] for sentence in said] == [
        "2 tensors of parts that transformers does not build, first mtp.fc.weight, are left out"
    ]


def test_weights_are_those_that_transformers_loads(tiny_llama, tmp_path):
    """A single file wins over an index, a file that the configuration names over both; what is hashed is what is read."""
    from rdtools.runs.run_manifest import describe_model
    from tests.conftest import make_tiny_llama

    name = "model.layers.0.mlp.down_proj.weight"
    shards = make_tiny_llama(tmp_path / "shards", shards=True)
    index = "model.safetensors.index.json"
    assert len(open_checkpoint(shards).shards) > 1
    save_file({"input_ids": torch.zeros(1, 2, dtype=torch.int64)}, shards / "tokens.safetensors")
    assert open_checkpoint(shards).notes == ()
    single = load_file(tiny_llama / "model.safetensors")
    save_file({k: v * 2 for k, v in single.items()}, shards / "model.safetensors", metadata={"format": "pt"})
    save_file({k: v * 3 for k, v in single.items()}, shards / "other.safetensors", metadata={"format": "pt"})
    for named, files in ((None, ["model.safetensors"]), ("other.safetensors", ["other.safetensors"]), (index, None)):
        _configure(shards, transformers_weights=named)
        checkpoint = open_checkpoint(shards)
        weight = load_model(checkpoint).get_submodule(name.removesuffix(".weight")).weight
        assert (checkpoint.read(name) == weight.detach().double().numpy()).all()
        hashed = [file for file in describe_model(checkpoint, source=str(shards)).files if file.endswith(".safetensors")]
        assert hashed == files or (files is None and "model.safetensors" not in hashed)
        assert "as transformers does" in checkpoint.notes[0]
    _configure(shards, transformers_weights="absent.safetensors")
    with pytest.raises(ModelUnreadable, match=r"names 'absent\.safetensors' as transformers_weights"):
        open_checkpoint(shards)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for shard in ("one", "two"):
        save_file({"a": torch.ones(2), shard: torch.ones(2)}, tmp_path / f"{shard}.safetensors")
    weight_map = {"a": "one.safetensors", "one": "one.safetensors", "two": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CorruptFile, match=r"one\.safetensors and two\.safetensors both hold a"):
        open_checkpoint(tmp_path)


def test_files_in_place_of_directories(tiny_llama, tmp_path):
    with pytest.raises(ModelUnreadable, match=rf"model\.safetensors: a file, expected the directory of a model; give {tiny_llama}"):
        find_model(str(tiny_llama / "model.safetensors"))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelUnreadable, match=r"m\.gguf: a GGUF file.*give the model that the file was made from"):
        find_model(str(tmp_path / "m.gguf"))
    with pytest.raises(ModelUnreadable, match=r"no config\.json, only m\.gguf, a GGUF file"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelUnreadable, match=r"no safetensors, only m\.gguf, a GGUF file"):
        find_model(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelUnreadable, match=r"an adapter of another model.*merge_and_unload"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("text", ["[]", "{", "\x00", "[" * 100_000])
def test_a_configuration_that_is_none(tiny_llama, text):
    (tiny_llama / "config.json").write_text(text)
    with pytest.raises(CorruptFile, match=r"config\.json: not a configuration"):
        open_checkpoint(tiny_llama)


def test_kinds_of_models_that_are_not_analysed(tmp_path, tiny_llama):
    from transformers import BartConfig, BertConfig, BertModel, T5Config, ViTConfig, ViTModel

    for config in (BartConfig(), T5Config()):
        config.save_pretrained(tmp_path)
        with pytest.raises(ModelUnreadable, match=rf"an encoder-decoder model \(model_type {config.model_type}\)"):
            open_checkpoint(tmp_path)
    ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelUnreadable, match=r"a model of type vit, which transformers .* has neither as a"):
        load_model(open_checkpoint(tmp_path))
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=16)).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelUnreadable, match="tensors are missing, the first cls"):
        load_model(open_checkpoint(tmp_path))
    _configure(tiny_llama, model_type="never-heard-of")
    with pytest.raises(ModelUnreadable, match=r"check model_type in config.json, or install a transformers that knows it"):
        load_model(open_checkpoint(tiny_llama))
    _configure(tiny_llama, auto_map={"AutoConfig": "own.OwnConfig"})
    (tiny_llama / "own.py").touch()
    with pytest.raises(ModelUnreadable, match="if you trust it, allow that with `trust_remote_code`"):
        load_model(open_checkpoint(tiny_llama))


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tiny_llama):
    _configure(tiny_llama, vocab_size=65)
    with pytest.raises(ModelUnreadable, match=r"the first lm_head\.weight: \(64, 16\) in the files, \(65, 16\) by config\.json"):
        load_model(open_checkpoint(tiny_llama))


def test_a_device_that_is_not_there_is_a_usage_error(tiny_llama):
    for name in ("nonsense", "gpu"):
        with pytest.raises(UsageError, match=rf"`device` {name}: not usable here \(.{{1,60}}\); expected cpu, or cuda"):
            load_model(open_checkpoint(tiny_llama), device=name)


def test_a_folder_of_the_hub_cache_has_the_model_s_name(tiny_llama, tmp_path):
    folder = tmp_path / "models--some--model" / "snapshots" / "0123abcd"
    folder.parent.mkdir(parents=True)
    tiny_llama.rename(folder)
    assert open_checkpoint(folder).name == "some/model"
