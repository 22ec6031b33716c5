"""A quantized Llama packed for compressed-tensors, against the library's own decompression."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama
from safetensors.torch import load_file

from rdtools.errors import UsageError
from rdtools.foreign.formats import open_foreign
from rdtools.foreign.packing_export import packed_layer
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.export import check_export, export_saved
from rdtools.jobs.quantize import quantize_model
from rdtools.jobs.recipes import weight_recipe
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.runs.saved import decoded_weight


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    make_tiny_llama(folder / "model", shards=True)
    np.save(folder / "calibration.npy", np.random.default_rng(0).integers(0, 64, (8, 24)))
    return folder


#: Rows, groups (of 8, which divides 16 and 24), zero points, and levels that are no power of two.
CASES = {"gptq": 4.0, "gptq(group_size=8)": 3.0, "rtn-asym": 5.0, "rtn-asym(group_size=8)": 2.0, "gptq-mse": 8.0}


@pytest.mark.parametrize("method", CASES)
def test_decompressed_weights_are_those_of_the_dense_checkpoint(data, method):
    """By the library where it is installed, and by the reader of files of others, which is checked against the library by itself."""
    save, said = data / method, []
    pytest.importorskip("compressed_tensors", reason="the extra [export] is not installed")
    saved = quantize_model(
        str(data / "model"), method, CASES[method], save, calibration=CalibrationRequest(tokens=data / "calibration.npy")
    )
    place = export_saved(save, say=said.append)
    tensors, size = {}, 0
    for path in sorted(place.glob("*.safetensors")):
        tensors |= load_file(path)
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig

    config = json.loads((place / "config.json").read_text())["quantization_config"]
    assert sorted(QuantizationConfig.model_validate(config).config_groups) == sorted(config["config_groups"])
    foreign = open_foreign(place)
    for entry in saved.layers:
        name = entry.layer.name
        (group,) = [one for one in QuantizationConfig.model_validate(config).config_groups.values() if name in one.targets]
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        decompressed = PackedQuantizationCompressor.decompress(own, group)["weight"]
        expected = decoded_weight(save, entry)
        assert decompressed.dtype == torch.bfloat16
        assert np.array_equal(decompressed.double().numpy(), expected)
        assert np.array_equal(next(iter(foreign.find(name).readings.values()))(), expected)
        size += sum(value.nbytes for value in own.values())
    assert f"{8 * size / saved.weights:.4f} bits per quantized weight" in said[0]
    if method == "gptq":
        from transformers import AutoModelForCausalLM

        ids = torch.from_numpy(np.random.default_rng(1).integers(0, 64, (2, 12)))
        models = [AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16, local_files_only=True) for where in (save, place)]
        with torch.no_grad():
            one, other = (model(ids).logits for model in models)
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("method", "bits", "message"),
    [
        ("hptq", 3.0, "integers without end, entropy-coded, which compressed-tensors' pack-quantized cannot hold"),
        ("gptq+haar", 3.0, "a rotation, which"),
        ("gptq-midrise", 3.0, "a grid without a level at zero, which"),
        ("quip-sharp", 2.0, "LatticeWords in place of integers, which"),
        ("gptq(group_size=12)", 3.0, "groups of 12 columns of which the last has 4, which"),
    ],
)
def test_what_the_layout_cannot_hold_is_refused_by_name(method, bits, message):
    layer = Layer.of(np.random.default_rng(0).standard_normal((16, 256)), np.eye(256))
    with pytest.raises(UsageError, match=f"0.q_proj: {message}"):
        packed_layer(parse_method(method, bits).quantize(layer).weight, name="0.q_proj")


def test_scales_that_bfloat16_would_round_are_refused():
    layer = Layer.of(np.random.default_rng(0).standard_normal((16, 32)), np.eye(32))
    weight = parse_method("gptq", 3).quantize(layer).weight

    def packed(step):
        symbols = replace(weight.symbols, grid=replace(weight.symbols.grid, rows=None, step=step))
        return packed_layer(replace(weight, symbols=symbols), name="x")

    assert (packed(0.125).scales == 0.125).all()
    with pytest.raises(UsageError, match="x: scales that are no bfloat16 numbers, which"):
        packed(float(np.float32(0.1)))


def test_dead_columns_are_decoded_as_zero():
    """With one zero point per row they have it as their integer; groups of the columns that are left have no place."""
    H = np.diag([0.0, *np.ones(15)])
    layer = Layer.of(np.random.default_rng(0).standard_normal((4, 16)) + 1, H)
    found = packed_layer(parse_method("rtn-asym", 3).quantize(layer).weight, name="x")
    assert (found.integers[:, 0] == found.zero_points[:, 0]).all()
    with pytest.raises(UsageError, match="groups of 8 columns of the 15 that are not always zero"):
        packed_layer(parse_method("gptq(group_size=8)", 3).quantize(layer).weight, name="x")


def test_another_format_is_refused():
    with pytest.raises(UsageError, match="`export` 'gguf': expected compressed-tensors"):
        check_export("gguf", weight_recipe("gptq", 3, None, None))
