"""Places in a model's files of the weights that it runs with: by name, or by value where transformers renames, splits or merges tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from rdtools.errors import ModelUnreadable
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer, block_index
from rdtools.model.stages import Stages, in_memory

#: Matrices that one stored matrix is split into are looked for up to this many; gate and up are two, q, k and v three.
_MAX_PARTS = 4
_Probe = tuple[float, ...]


def running_weight(model: Any, layer: CapturedLayer) -> torch.Tensor:
    """Weight (m, n) of a layer as it stands in the model, a view of its parameter."""
    parameter: torch.Tensor = model.get_parameter(layer.tensor).detach()
    matrix = parameter.reshape(-1, parameter.shape[-1])
    matrix = matrix if layer.rows is None else matrix[slice(*layer.rows)]
    matrix = matrix.T if layer.transposed else matrix
    return matrix if layer.outputs is None else matrix[slice(*layer.outputs)]


def find_weights(
    model: Any, checkpoint: Checkpoint, layers: Sequence[CapturedLayer], *, stages: Stages | None = None, number: int | None = None
) -> dict[str, CapturedLayer]:
    """Layers as they stand in the files.

    Parameters
    ----------
    layers : as they stand in the model, the name of a parameter in place of that of a tensor
    stages : that the model is the model of; None for a model that is in memory
    number : of the block whose layers these are; None for layers of the whole model or outside the blocks

    Returns
    -------
    dict
        Name of the layer → the layer in the files.

    Raises
    ------
    ModelUnreadable
        If no part of a tensor has the values that the model runs with.
    """
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    shapes = checkpoint.shapes
    weights, lost = {}, []
    for layer in layers:
        shape = tuple(model.get_parameter(layer.tensor).shape)
        names = (layer.tensor, layer.tensor.removeprefix(prefix))
        tensor = next((name for name in names if shapes.get(name) == shape), None)
        if tensor is None:
            lost.append(layer)
        else:
            weights[layer.name] = replace(layer, tensor=tensor)
    if lost:
        taken = {layer.tensor for layer in weights.values()}
        tensors = [name for name, shape in shapes.items() if len(shape) >= 2 and name not in taken]
        if stages is not None:
            tensors = [name for name in tensors if block_index(name) == (-1 if number is None else number)]
        with in_memory(stages, number):
            weights |= _by_value(checkpoint, {layer: running_weight(model, layer) for layer in lost}, tensors)
    missing = next((layer.name for layer in layers if layer.name not in weights), None)
    if missing is not None:
        raise ModelUnreadable(
            f"{checkpoint.directory}: no tensor holds the weight that transformers runs as {missing}; it is computed from the files while "
            "loading: load the model and write it with save_pretrained(NEW_DIRECTORY, save_original_format=False)"
        )
    return weights


def _probe(matrix: torch.Tensor) -> _Probe:
    """A few entries of a matrix, by which to recognize it."""
    m, n = matrix.shape
    entries = [(0, 0), (0, n - 1), (m - 1, 0), (m - 1, n - 1), (m // 2, n // 2), (m // 3, n // 4), (m // 5, n // 2), (m // 2, n // 7)]
    return (m, n, *(float(matrix[entry]) for entry in entries))


def _by_value(checkpoint: Checkpoint, tensor_of: Mapping[CapturedLayer, torch.Tensor], tensors: list[str]) -> dict[str, CapturedLayer]:
    by_probe: dict[_Probe, list[tuple[CapturedLayer, torch.Tensor]]] = {}
    for layer, weight in tensor_of.items():
        by_probe.setdefault(_probe(weight), []).append((layer, weight))
    sizes = {layer.shape for layer in tensor_of}
    by_name: dict[str, CapturedLayer] = {}
    for tensor in tensors:
        for candidate, values in _parts(checkpoint, tensor, sizes):
            same = by_probe.get(_probe(values), [])
            for layer, weight in same:
                if layer.name not in by_name and torch.equal(values.to(torch.float32), weight.cpu()):
                    by_name[layer.name] = replace(candidate, name=layer.name)
    return by_name


def _parts(checkpoint: Checkpoint, tensor: str, sizes: set[tuple[int, int]]) -> Iterator[tuple[CapturedLayer, torch.Tensor]]:
    """Parts of a tensor that have one of these shapes: each matrix of a stack, as it is and transposed, whole and in equal parts."""
    *_, a, b = checkpoint.shapes[tensor]
    count = int(np.prod(checkpoint.shapes[tensor][:-2], dtype=int))
    if not any(n in (a, b) and (a * b) % (m * n) == 0 for m, n in sizes):
        return
    with safe_open(checkpoint.directory / checkpoint.shard_of[tensor], framework="pt") as shard:
        stored = shard.get_tensor(tensor).reshape(count, a, b)
    for number, matrix in enumerate(stored):
        rows = None if count == 1 else (number * a, number * a + a)
        for transposed in (False, True):
            upright = matrix.T if transposed else matrix
            total, n = upright.shape
            for parts in range(1, _MAX_PARTS + 1):
                m = total // parts
                if total % parts or (m, n) not in sizes:
                    continue
                layer = CapturedLayer(tensor, tensor, (m, n), transposed, rows)
                if parts == 1:
                    yield layer, upright
                    continue
                for part in range(parts):
                    for outputs in ((part * m, part * m + m, 1), (part, total, parts)):
                        yield replace(layer, outputs=outputs), upright[slice(*outputs)]
