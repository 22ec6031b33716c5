"""A checkpoint with other weights in some layers, as plain transformers loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rdtools.arrays import Float64Array
from rdtools.errors import OutputError
from rdtools.files import write_atomically
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer

_INDEX = "model.safetensors.index.json"
#: Files that a quantized model of rdtools has beside its checkpoint; of one that is quantized once more they are not copied.
_RECORDS = ("quantization.json", "layers.csv", "evaluation.parquet", "evaluation.csv", "job.json")
#: Endings of files with weights, which are not copied.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ckpt", ".h5", ".msgpack", ".onnx")


def save_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    layers: Sequence[CapturedLayer],
    weight: Callable[[str], Float64Array],
    *,
    biases: Mapping[str, torch.Tensor] | None = None,
    settings: Mapping[str, bool] | None = None,
) -> list[Path]:
    """Write the files of a checkpoint again, with other weights in some layers, in bfloat16; the rest as it is stored.

    Tensors keep their names, shards and shapes, so that ties between the embedding and the output head are those of the original.
    Configuration, tokenizer and code are copied; hidden files, and what rdtools wrote beside a quantized model, are not.

    Parameters
    ----------
    checkpoint : the original
    folder : to write to
    layers : with other weights, as they stand in the files
    weight : (m, n) of a layer by its name, numbers of bfloat16
    biases : tensors by name, as of `rdtools.model.biases.checkpoint_biases`; new ones stand in the files of their weights
    settings : of the configuration, in place of its own

    Returns
    -------
    Paths of the weight files and of config.json.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    of: dict[str, list[CapturedLayer]] = {}
    for layer in layers:
        of.setdefault(layer.tensor, []).append(layer)
    beside = biases or {}

    def changed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        tensors = {name: beside.get(name, tensor) if name not in of else _replaced(tensor, of[name], weight)}
        new = f"{name.removesuffix('weight')}bias"
        return tensors | ({new: beside[new]} if new in beside and name in of and new not in checkpoint.shard_of else {})

    written = save_tensors(checkpoint, folder, changed)
    copy_other_files(checkpoint, folder)
    if settings:
        config = json.loads((folder / "config.json").read_text()) | dict(settings)
        write_atomically(folder / "config.json", json.dumps(config, indent=2).encode())
    return [*written, folder / "config.json"]


def save_tensors(
    checkpoint: Checkpoint,
    folder: Path,
    changed: Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]],
) -> list[Path]:
    """Write the weight files of a checkpoint again, and their index.

    Parameters
    ----------
    checkpoint : the original
    folder : to write to
    changed : tensors by name that stand in the place of one, given its name and itself

    Returns
    -------
    Paths of the weight files.

    Raises
    ------
    OutputError
    """
    written, total = [], 0
    shards: dict[str, str] = {}
    try:
        for shard in checkpoint.shards:
            tensors: dict[str, torch.Tensor] = {}
            with safe_open(shard, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 - no mapping
                    tensors |= changed(name, stored.get_tensor(name))
            total += sum(tensor.nbytes for tensor in tensors.values())
            shards |= dict.fromkeys(tensors, shard.name)
            save_file(tensors, folder / shard.name, {"format": "pt"})  # of several keys the order is not the same twice
            written.append(folder / shard.name)
        if (checkpoint.directory / _INDEX).is_file():
            index = json.loads((checkpoint.directory / _INDEX).read_text())
            order = [name for name in index["weight_map"] if name in shards]
            order += sorted(set(shards) - set(order))
            index |= {"metadata": {**index.get("metadata", {}), "total_size": total}, "weight_map": {name: shards[name] for name in order}}
            write_atomically(folder / _INDEX, json.dumps(index, indent=1).encode())
    except (OSError, SafetensorError) as error:  # the latter of a full disk
        raise OutputError(f"{folder}: a checkpoint cannot be written there: {error}; free some space or choose another place") from error
    return written


def copy_other_files(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy what a checkpoint has beside its weights, without hidden files and what rdtools wrote.

    Raises
    ------
    OutputError
    """
    try:
        for path in sorted(checkpoint.directory.iterdir()):
            if path.is_file() and path.suffix not in _WEIGHTS and path.name not in (_INDEX, *_RECORDS) and not path.name.startswith("."):
                shutil.copyfile(path, folder / path.name)
    except OSError as error:
        raise OutputError(f"{folder}: a checkpoint cannot be written there: {error}; free some space or choose another place") from error


def _replaced(tensor: torch.Tensor, layers: Sequence[CapturedLayer], weight: Callable[[str], Float64Array]) -> torch.Tensor:
    """A tensor with the weights of layers that are parts of it; in bfloat16 where there are any."""
    if not layers:
        return tensor
    matrix = tensor.to(torch.bfloat16).reshape(-1, tensor.shape[-1]).clone()
    for layer in layers:
        part = matrix if layer.rows is None else matrix[slice(*layer.rows)]
        part = part.T if layer.transposed else part
        part = part if layer.outputs is None else part[slice(*layer.outputs)]
        part.copy_(torch.from_numpy(np.array(weight(layer.name))))
    return matrix.reshape(tensor.shape)
