"""Biases of quantized layers: added while a model runs, and as the files and the configuration of its checkpoint hold them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer

#: Settings of configurations, of Llama's and of others' made after it, that give linear layers of a block a bias.
FLAGS = ("attention_bias", "mlp_bias")


def bias_name(layer: CapturedLayer) -> str:
    """Name of the bias beside the weight of a layer.

    Raises
    ------
    UsageError
        For a layer without a module of its own, such as an expert in a stack.
    """
    stem, _, last = layer.tensor.rpartition(".")
    if last != "weight" or layer.rows is not None:
        raise UsageError(
            f"{layer.name}: a part of the stack {layer.tensor}, beside which no bias has a place; choose a method without +bias"
        )
    return f"{stem}.bias"


def joined_bias(parts: Sequence[tuple[CapturedLayer, Float64Array]], rows: int) -> Float64Array:
    """One vector of the outputs of a module from the biases of the layers that are parts of it, zeros elsewhere.

    Examples
    --------
    >>> part = CapturedLayer("up_proj", "mlp.gate_up_proj.weight", (2, 8), outputs=(2, 4, 1))
    >>> joined_bias([(part, np.array([1.0, 2.0]))], 4).tolist()
    [0.0, 0.0, 1.0, 2.0]
    """
    joined = np.zeros(rows)
    for layer, bias in parts:
        joined[slice(None) if layer.outputs is None else slice(*layer.outputs)] = bias
    return joined


def _joined(
    biases: Sequence[tuple[CapturedLayer, Float64Array]], shape_of: Callable[[str], Sequence[int]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Names of the modules' biases, and `joined_bias` of the layers that are parts of each; `shape_of` a weight by its name."""
    of: dict[str, list[tuple[CapturedLayer, Float64Array]]] = {}
    for layer, bias in biases:
        of.setdefault(bias_name(layer), []).append((layer, bias))
    for name, parts in of.items():
        first = parts[0][0]
        yield name, torch.from_numpy(joined_bias(parts, shape_of(first.tensor)[-1 if first.transposed else 0]))


@contextmanager
def added_biases(model: Any, biases: Sequence[tuple[CapturedLayer, Float64Array]]) -> Iterator[None]:
    """Inside, these numbers are added to the outputs of layers that are in memory, in the precision in which the model runs.

    Parameters
    ----------
    model : whose modules the layers are
    biases : (m,) of layers as they stand in the model

    Raises
    ------
    UsageError
        For a layer without a module of its own.
    """
    handles = []
    try:
        for name, joined in _joined(biases, lambda tensor: model.get_parameter(tensor).shape):

            def add(module: Any, inputs: Any, output: torch.Tensor, vector: torch.Tensor = joined) -> torch.Tensor:
                return output + vector.to(output)

            handles.append(model.get_submodule(name.rpartition(".")[0]).register_forward_hook(add))
        yield
    finally:
        for handle in handles:
            handle.remove()


def bias_settings(model: Any, layers: Sequence[CapturedLayer], needed: Collection[str]) -> dict[str, bool]:
    """Settings that a model's configuration needs for some layers to have a bias; empty where they have one.

    Parameters
    ----------
    model : of transformers
    layers : all that are quantized, as they stand in the model; the settings may give any of them a bias
    needed : names of those that must have one

    Raises
    ------
    UsageError
        If its class has no place for one of them; the message names it.
    """
    missing = {name: layer for layer in layers if layer.name in needed and _has_none(model, name := bias_name(layer))}
    if not missing:
        return {}
    config = copy.deepcopy(model.config)
    flags = dict.fromkeys((flag for flag in FLAGS if getattr(config, flag, None) is False), True)
    for flag in flags:
        setattr(config, flag, True)
    with torch.device("meta"):
        grown = {name for name, _ in type(model)(config).named_parameters()} if flags else set()
    added = grown - {name for name, _ in model.named_parameters()}
    lacking = next((layer.name for name, layer in missing.items() if name not in added), None)
    other = next(iter(sorted(added - {bias_name(layer) for layer in layers if layer.rows is None})), None)
    if lacking is not None or other is not None:
        fault = (
            f"{lacking}: a bias beside it has no place"
            if lacking is not None
            else f"{other}: no layer that is quantized, would have a bias"
        )
        raise UsageError(
            f"{fault} in a checkpoint of {type(model).__name__}; choose a method without +bias, or evaluate it from a run: rdtools eval RUN"
        )
    return flags


def _has_none(model: Any, name: str) -> bool:
    return getattr(model.get_submodule(name.rpartition(".")[0]), "bias", None) is None


def stored_bias(checkpoint: Checkpoint, layer: CapturedLayer, bias: Float64Array) -> Float64Array:
    """Numbers that a checkpoint with a quantized layer adds to its outputs beyond the original's own bias: (m,) float64.

    Without an own bias these are the numbers of the coded file, which are bfloat16; else the sum is rounded to the dtype of the original's.

    Parameters
    ----------
    checkpoint : the original
    layer : as it stands in its files
    bias : (m,) of the coded file
    """
    name = bias_name(layer)
    if name not in checkpoint.shard_of:
        return bias
    stored = _tensor(checkpoint, name)
    part = stored.double().numpy()[slice(None) if layer.outputs is None else slice(*layer.outputs)]
    return np.asarray(torch.from_numpy(part + bias).to(stored.dtype).double().numpy() - part)


def _tensor(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(checkpoint.directory / checkpoint.shard_of[name], framework="pt") as stored:
        tensor: torch.Tensor = stored.get_tensor(name)
    return tensor


def checkpoint_biases(
    checkpoint: Checkpoint, biases: Mapping[str, Float64Array], layers: Sequence[CapturedLayer]
) -> dict[str, torch.Tensor]:
    """Tensors of biases by their names in the files: new ones in bfloat16, an own one with the sum in its place.

    Parameters
    ----------
    checkpoint : the original
    biases : (m,) of the coded files, by name of the layer
    layers : as they stand in the files
    """
    tensors = {}
    pairs = [(layer, biases[layer.name]) for layer in layers if layer.name in biases]
    for name, joined in _joined(pairs, checkpoint.shapes.__getitem__):
        stored = _tensor(checkpoint, name) if name in checkpoint.shard_of else None
        tensors[name] = joined.to(torch.bfloat16) if stored is None else (stored.double() + joined).to(stored.dtype)
    return tensors
