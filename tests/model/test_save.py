from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rdtools.errors import OutputError
from rdtools.model import save as module
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.model.save import save_checkpoint
from rdtools.records.stored import round_to_stored

#: Two stacked matrices held as (in, out), the outputs of the first interleaved as gate and up; and a matrix of which half is replaced.
LAYERS = [
    CapturedLayer("0.gate", "stack", (3, 4), True, (0, 4), (0, 6, 2)),
    CapturedLayer("0.up", "stack", (3, 4), True, (0, 4), (1, 6, 2)),
    CapturedLayer("1", "stack", (6, 4), True, (4, 8)),
    CapturedLayer("half", "fused", (2, 5), outputs=(2, 4, 1)),
]


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    shards = {"a.safetensors": {"stack": (2, 4, 6), "norm": (4,)}, "b.safetensors": {"fused": (4, 5)}}
    for name, shapes in shards.items():
        save_file({tensor: torch.randn(shape, generator=rng) for tensor, shape in shapes.items()}, folder / name)
    (folder / "config.json").write_text("{}")
    for name in ("pytorch_model.bin", "quantization.json", ".lock"):
        (folder / name).write_bytes(b"not copied")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": {}}))
    return Checkpoint("m", folder, {tensor: name for name, shapes in shards.items() for tensor in shapes})


def test_parts_of_tensors_are_put_where_they_are_read_from(checkpoint, tmp_path, rng):
    weights = {layer.name: round_to_stored(rng.standard_normal(layer.shape), "bfloat16", name="w") for layer in LAYERS}
    (tmp_path / "new").mkdir()
    written = save_checkpoint(checkpoint, tmp_path / "new", LAYERS, weights.__getitem__)
    saved = Checkpoint("n", tmp_path / "new", checkpoint.shard_of)
    for layer in LAYERS:
        np.testing.assert_array_equal(saved.weight(layer), weights[layer.name])
    before, after = (load_file(folder / "b.safetensors")["fused"] for folder in (checkpoint.directory, tmp_path / "new"))
    assert torch.equal(after[:2], before[:2].to(torch.bfloat16))
    assert torch.equal(load_file(tmp_path / "new" / "a.safetensors")["norm"], load_file(checkpoint.directory / "a.safetensors")["norm"])
    assert [path.name for path in written] == ["a.safetensors", "b.safetensors", "config.json"]
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"a.safetensors", "b.safetensors", "config.json", "model.safetensors.index.json"}
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * (48 + 20) + 4 * 4


def test_a_full_disk_is_said(checkpoint, tmp_path, monkeypatch):
    def full(*args):
        raise module.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OutputError, match=r"a checkpoint cannot be written there: I/O error: No space left on device; free some space"):
        save_checkpoint(checkpoint, tmp_path, [], lambda name: np.zeros(0))
