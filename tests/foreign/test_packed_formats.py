from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from foreign.writers import awq_tensors, end_to_end, gptq_tensors, integers, plain, write_folder

from rdtools.errors import RdtoolsError
from rdtools.foreign.formats import open_foreign
from rdtools.foreign.matching import decoded
from rdtools.model.layer_names import CapturedLayer

NAME = "model.layers.0.mlp.up_proj"
LAYER = CapturedLayer(NAME, f"{NAME}.weight", (32, 64))


@pytest.fixture
def weight(rng):
    return rng.standard_normal((32, 64))


def _bits(folder) -> int:
    """8 × bytes of the tensors in a file without its header."""
    size = (folder / "model.safetensors").stat().st_size
    header = int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
    return 8 * (size - 8 - header)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
def test_gptq_with_groups_in_any_order_is_decoded(bits, version, weight, rng, tmp_path):
    group = rng.permutation(np.repeat(np.arange(4), 16))  # act-order
    q, z, s = integers(weight, bits, group)
    config = {"quant_method": "gptq", "bits": bits, "group_size": 16, "checkpoint_format": {1: "gptq", 2: "gptq_v2"}[version]}
    folder = write_folder(tmp_path / "x", {NAME: gptq_tensors(q, z, s, group, bits, version=version)}, config)
    stored = open_foreign(folder).find(NAME)
    values, reading = decoded(stored, LAYER, weight)
    assert np.array_equal(values, plain(q, z, s, group))
    assert ("less one" in reading) == (version == 1)
    assert stored.bits.total == _bits(folder)
    assert (stored.bits.codes, stored.bits.other, stored.type) == (32 * 64 * bits, 64 * 32, f"int{bits} g16")


def test_gptq_whose_zero_points_are_not_those_of_its_version_is_refused(weight, tmp_path):
    group = np.repeat(np.arange(4), 16)
    q, z, s = integers(weight, 4, group)
    config = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    folder = write_folder(tmp_path / "x", {NAME: gptq_tensors(q, z, s, group, 4, version=2)}, config)
    with pytest.raises(RdtoolsError, match=r"nearer to the original with zero points as stored.*correct its checkpoint_format"):
        decoded(open_foreign(folder).find(NAME), LAYER, weight)


def test_awq_is_decoded(weight, tmp_path):
    group = np.repeat(np.arange(2), 32)
    q, z, s = integers(weight, 4, group)
    folder = write_folder(tmp_path / "x", {NAME: awq_tensors(q, z, s)}, {"quant_method": "awq", "bits": 4, "version": "gemm"})
    stored = open_foreign(folder).find(NAME)
    assert np.array_equal(decoded(stored, LAYER, weight)[0], plain(q, z, s, group))
    assert stored.bits.total == _bits(folder) == 4 * 32 * 64 + 2 * 32 * (16 + 4)


def packed_tensors(q, z, s, bits, *, group=None):
    """As compressed-tensors 0.20 writes them; checked against its own compressor when this reader was written."""
    parts = {
        "weight_packed": torch.from_numpy(end_to_end(q, bits)),
        "weight_scale": torch.from_numpy(s),
        "weight_shape": torch.tensor(q.shape),
    }
    if z is not None:
        parts["weight_zero_point"] = torch.from_numpy(np.ascontiguousarray(end_to_end(z.T, bits).T))
    if group is not None:
        parts["weight_g_idx"] = torch.from_numpy(group.astype(np.int32))
    return parts


def ct_config(*bits: int) -> dict:
    groups = {f"group_{b}": {"weights": {"num_bits": b, "type": "int"}, "format": "pack-quantized"} for b in bits}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}


@pytest.mark.parametrize(("bits", "asymmetric", "ordered"), [(3, True, False), (4, False, False), (4, True, True), (8, True, False)])
def test_compressed_tensors_are_decoded(bits, asymmetric, ordered, weight, rng, tmp_path):
    group = np.repeat(np.arange(4), 16)
    group = rng.permutation(group) if ordered else group
    q, z, s = integers(weight, bits, group)
    if not asymmetric:
        z = np.full_like(z, 2 ** (bits - 1))
    parts = packed_tensors(q, z if asymmetric else None, s, bits, group=group if ordered else None)
    folder = write_folder(tmp_path / "x", {NAME: parts}, ct_config(bits, 6))
    stored = open_foreign(folder).find(NAME)
    assert np.array_equal(stored.readings["as stored"](), plain(q, z, s, group))
    assert stored.bits.total == _bits(folder)


def test_a_dense_checkpoint_costs_what_its_numbers_do_and_is_found_under_a_prefix(weight, tmp_path):
    dense = {f"model.language_{NAME}.weight": torch.from_numpy(weight).to(torch.bfloat16)}
    stored = open_foreign(write_folder(tmp_path / "x", {}, None, dense)).find(NAME)
    assert (stored.type, stored.bits.total) == ("BF16", 16 * weight.size)
    assert np.abs(decoded(stored, LAYER, weight)[0] - weight).max() < 2**-7
    single = open_foreign(tmp_path / "x" / "model.safetensors")
    assert single.find(NAME).shape == (32, 64)


def _gptq(weight, tmp_path, change, config=None):
    group = np.repeat(np.arange(4), 16)
    parts = gptq_tensors(*integers(weight, 4, group), group, 4)
    change(parts)
    return write_folder(tmp_path / "x", {NAME: parts}, config or {"quant_method": "gptq", "bits": 4, "group_size": 16})


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (lambda p: p.pop("scales"), None, r"no tensor model.layers.0.mlp.up_proj.scales, which this format needs.*copy it again"),
        (lambda p: p.update(qzeros=p["qzeros"][:2]), None, r"qzeros has shape \(2, 4\), expected \(4, 4\)"),
        (lambda p: p.update(g_idx=p["g_idx"] + 1), None, r"g_idx: groups 1 to 4, expected 0 to 3"),
        (lambda p: p.update(qweight=p["qweight"].float()), None, "qweight has dtype F32, expected I32"),
        (lambda p: None, {"quant_method": "gptq", "bits": 4, "group_size": 32}, "4 groups for 64 inputs, group_size 32 has 2"),
        (lambda p: None, {"quant_method": "gptq", "bits": 5}, "GPTQ of 5 bits, expected one of 2, 3, 4, 8"),
        (lambda p: None, {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format 'marlin'"),
        (lambda p: None, {"quant_method": "hqq"}, "quantized by 'hqq', expected one of gptq, awq, compressed-tensors or GGUF"),
        (lambda p: None, {"quant_method": "awq", "bits": 4, "version": "gemv"}, "AWQ of 4 bits in layout 'gemv'"),
        (lambda p: None, {"quant_method": "compressed-tensors", "format": "float-quantized"}, "of format float-quantized"),
        (lambda p: None, [1], "quantization_config is .1., expected an object"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(change, config, message, weight, tmp_path):
    folder = _gptq(weight, tmp_path, change, config)
    with pytest.raises(RdtoolsError, match=message):
        decoded(open_foreign(folder).find(NAME), LAYER, weight)


def test_quantized_tensors_without_a_configuration_are_refused(weight, tmp_path):
    folder = _gptq(weight, tmp_path, lambda parts: None)
    (folder / "config.json").unlink()
    with pytest.raises(RdtoolsError, match=r"belongs to a quantized weight, and no quantization_config says.*copy config.json"):
        open_foreign(folder)


def test_words_that_no_width_of_the_configuration_fits_are_refused(weight, tmp_path):
    q, z, s = integers(weight, 4, np.zeros(64, dtype=int))
    folder = write_folder(tmp_path / "x", {NAME: packed_tensors(q, z, s, 4)}, ct_config(3))
    with pytest.raises(RdtoolsError, match=r"8 words for 64 integers of 3 bits; config.json is of another file"):
        open_foreign(folder)


def test_a_truncated_file_and_none_at_all_are_refused(weight, tmp_path):
    folder = _gptq(weight, tmp_path, lambda parts: None)
    place = folder / "model.safetensors"
    place.write_bytes(place.read_bytes()[:-5])
    with pytest.raises(RdtoolsError, match="not a whole safetensors file"):
        open_foreign(folder)
    with pytest.raises(RdtoolsError, match="no such file or directory"):
        open_foreign(tmp_path / "none")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(RdtoolsError, match=r"neither .gguf nor .safetensors"):
        open_foreign(tmp_path / "x.bin")


def test_a_gguf_file_without_the_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(RdtoolsError, match=r'needs the package gguf, which is not installed: pip install "rdtools\[import\]"'):
        open_foreign(tmp_path / "x.gguf")
