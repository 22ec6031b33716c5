"""Inputs of a model's linear layers: which layers read the same one, and which weights no layer stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rdtools.errors import ModelUnreadable
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.model.pretrained import TransposedLinear


@dataclass(frozen=True)
class SharedInput:
    """One input, and the layers that read it."""

    layers: tuple[CapturedLayer, ...]

    @property
    def name(self) -> str:
        """Name of the first layer that reads it."""
        return self.layers[0].name

    @property
    def columns(self) -> int:
        """Length n of the input vector."""
        return self.layers[0].shape[1]


def _linear_layers(model: Any, checkpoint: Checkpoint) -> dict[str, CapturedLayer]:
    """Linear layers inside the blocks; the output head is not one of them."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    head = model.get_output_embeddings()
    layers = {}
    for name, module in model.named_modules():
        if module is head or not isinstance(module, nn.Linear | TransposedLinear):
            continue
        tensor = f"{name}.weight"
        if tensor not in checkpoint.shard_of:
            tensor = tensor.removeprefix(prefix)
        if tensor not in checkpoint.shard_of:
            raise ModelUnreadable(
                f"{checkpoint.directory}: no tensor for layer {name}; its weights are stored fused or under another name, which "
                "rdtools does not read: save the loaded model with save_pretrained first"
            )
        rows, columns = module.weight.shape
        transposed = isinstance(module, TransposedLinear)
        shape = (columns, rows) if transposed else (rows, columns)
        layers[name] = CapturedLayer(name, tensor, shape, transposed)
    if not layers:
        raise ModelUnreadable(f"{checkpoint.directory}: the model has no linear layers to analyse")
    return layers


@contextlib.contextmanager
def hooks(model: nn.Module, names: list[str], see: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Call `see(name, input)` before each named module runs."""
    handles = []
    try:
        for name in names:

            def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
                see(name, next(x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)))

            handles.append(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_shared_inputs(model: Any, checkpoint: Checkpoint) -> list[SharedInput]:
    """Group layers by the tensor that they are given: q, k and v share one, gate and up share one.

    A layer that is not given one vector for each token, such as the expert of a mixture, is left out; see `uncovered`.
    """
    layers = _linear_layers(model, checkpoint)
    seen: dict[str, torch.Tensor] = {}  # holding the tensors keeps their identities apart
    with torch.no_grad(), hooks(model, list(layers), seen.__setitem__):
        model.base_model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False)
    groups: dict[int, list[CapturedLayer]] = {}
    for name, tensor in seen.items():
        if tensor.shape == (1, 2, layers[name].shape[1]):
            groups.setdefault(id(tensor), []).append(layers[name])
    if not groups:
        raise ModelUnreadable(f"{checkpoint.directory}: no linear layer of the model is given one vector a token; nothing to analyse")
    return [SharedInput(tuple(group)) for group in groups.values()]


def uncovered(model: Any, inputs: list[SharedInput]) -> list[str]:
    """Weight matrices of the model that no captured layer stands for, embeddings and output head apart."""
    covered = {layer.name for item in inputs for layer in item.layers}
    head = model.get_output_embeddings()
    names = []
    for name, module in model.named_modules():
        if name in covered or module is head or isinstance(module, nn.Embedding):
            continue
        names += [f"{name}.{key}" for key, value in module.named_parameters(recurse=False) if value.ndim >= 2]
    return names


def check_weights(model: Any, checkpoint: Checkpoint, layer: CapturedLayer) -> None:
    """Make sure that the tensor read from the files is the one that the model ran with.

    Raises
    ------
    ModelUnreadable
    """
    weight = model.get_submodule(layer.name).weight.detach().cpu().double().numpy()
    if not np.array_equal(weight, checkpoint.read(layer.tensor).astype(np.float32)):
        raise ModelUnreadable(
            f"{checkpoint.directory}: {layer.tensor} differs from the weight that transformers runs; the checkpoint is converted while "
            "loading (quantized or permuted): save the loaded model with save_pretrained first"
        )
