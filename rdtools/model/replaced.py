"""Layers of a model put in place of others for a while: their weights, or all that they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from rdtools.arrays import Float64Array
from rdtools.errors import ModelUnreadable, NotByBlocks
from rdtools.model.biases import added_biases
from rdtools.model.inputs import SharedInput
from rdtools.model.layer_names import CapturedLayer
from rdtools.model.products import Block, ParameterPlaces, Product, product_of
from rdtools.model.weights import running_weight
from rdtools.records import EffectiveLayer

#: Output (k, m) of a matrix for inputs (k, n).
Compute = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def replaced_weights(model: Any, weights: Sequence[tuple[CapturedLayer, Float64Array]]) -> Iterator[None]:
    """Inside, layers that are in memory have these weights (m, n), rounded to the float32 that the model runs with.

    Raises
    ------
    ModelUnreadable
        If the weight of a layer is no view of its parameter, so that it cannot be changed in place.
    """
    before: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        for layer, weight in weights:
            tensor = running_weight(model, layer)
            if tensor.untyped_storage().data_ptr() != model.get_parameter(layer.tensor).untyped_storage().data_ptr():
                raise ModelUnreadable(
                    f"{layer.name}: its parameter {layer.tensor} is not contiguous in memory, so no weight can be put there"
                )
            before.append((tensor, tensor.clone()))
            tensor.copy_(torch.tensor(weight))
        yield
    finally:
        for tensor, value in reversed(before):
            tensor.copy_(value)


class ComputedProducts(TorchFunctionMode):
    """Inside this context, products by these matrices are computed by functions, whatever the parameters hold.

    Parameters
    ----------
    places : of the model's parameters
    functions : by matrix

    Attributes
    ----------
    called : matrices whose function was called
    """

    def __init__(self, places: ParameterPlaces, functions: Mapping[Block, Compute]) -> None:
        super().__init__()
        self._places, self._functions = places, functions
        self.called: set[Block] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, or what stands in its place."""
        kwargs = kwargs or {}
        product = product_of(self._places, func, args, kwargs)
        if product is None or not any(block in self._functions for block, _ in product.parts):
            return func(*args, **kwargs)
        return self._computed(product)

    def _computed(self, product: Product) -> torch.Tensor:
        block, vectors = product.parts[0]
        if len(product.parts) > 1 or product.output is None:
            raise NotByBlocks(
                f"{block.parameter} is multiplied by {product.name} together with others or from the left; only a matrix that multiplies "
                "its inputs alone can run with quantized activations: evaluate methods that leave activations alone"
            )
        self.called.add(block)
        y = self._functions[block](vectors).reshape(*product.output, -1)
        return y if product.bias is None else y + product.bias


def _function_of(block: Block, layers: Sequence[tuple[CapturedLayer, EffectiveLayer]], rows: int) -> Compute:
    """The outputs of all layers of a matrix, in its order; computed in float64 and rounded to float32."""

    def compute(x: torch.Tensor) -> torch.Tensor:
        y = np.empty((len(x), rows), dtype=np.float32)
        inputs = x.detach().cpu().numpy().astype(np.float64)
        for layer, effective in layers:
            y[:, slice(None) if layer.outputs is None else slice(*layer.outputs)] = effective.apply(inputs)
        return torch.from_numpy(y).to(x.device)

    if sum(layer.shape[0] for layer, _ in layers) != rows:
        raise NotByBlocks(f"{block.parameter}: {len(layers)} of its layers quantize activations, expected all that are parts of one matrix")
    return compute


@contextmanager
def replaced_layers(
    model: Any, places: ParameterPlaces, inputs: Sequence[SharedInput], layers: Mapping[str, EffectiveLayer]
) -> Iterator[None]:
    """Inside, layers that are in memory are effective ones: by their weights, or by all that they compute if they quantize activations.

    Parameters
    ----------
    model, places : in memory are at least the layers to be replaced
    inputs : those of the model; layers without an effective one stay as they are
    layers : effective ones by name

    Raises
    ------
    NotByBlocks
        If layers with quantized activations are multiplied in a way that cannot be replaced, or were not multiplied at all.
    ModelUnreadable, UsageError
    """
    weights: list[tuple[CapturedLayer, Float64Array]] = []
    biases: list[tuple[CapturedLayer, Float64Array]] = []
    functions: dict[Block, Compute] = {}
    for item in inputs:
        for block in item.blocks:
            of_block = [running for running in item.running if running.name in layers and _is_in(running, block)]
            computed = [(running, layers[running.name]) for running in of_block if layers[running.name].activation is not None]
            alone = [(running, layers[running.name]) for running in of_block if layers[running.name].activation is None]
            weights += [(running, layer.matrix) for running, layer in alone]
            biases += [(running, layer.bias.values) for running, layer in alone if layer.bias is not None]
            if computed:
                parameter = model.get_parameter(block.parameter)
                rows = parameter.shape[-1] if block.transposed else block.rows[1] - block.rows[0]
                functions[block] = _function_of(block, computed, rows)
    with ExitStack() as stack:
        stack.enter_context(replaced_weights(model, weights))
        stack.enter_context(added_biases(model, biases))
        if not functions:
            yield
            return
        mode = stack.enter_context(ComputedProducts(places, functions))
        yield
        missed = [block.parameter for block in functions if block not in mode.called and "experts" not in block.parameter.split(".")]
        if missed:
            raise NotByBlocks(f"{missed[0]}: its product was not seen while the model ran, so that it ran with the original weights")


def _is_in(running: CapturedLayer, block: Block) -> bool:
    return running.tensor == block.parameter and (running.rows is None or running.rows == block.rows)
