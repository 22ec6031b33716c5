"""Normalizations of a model: which matrices read what each gives, and their gains taken into these matrices."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from rdtools.errors import ModelUnreadable
from rdtools.model.flights import run_tokens
from rdtools.model.products import Block, ParameterPlaces, Products

#: Rows of a matrix that are changed together in float64, so that an embedding needs no more memory than another matrix.
ROWS = 4096
_ELSE = "quantize the model as it is, whose maps are then all applied online"


def matrix_of(model: Any, block: Block) -> torch.Tensor:
    """(m, n), a view of a parameter."""
    parameter: torch.Tensor = model.get_parameter(block.parameter).detach()
    rows = parameter.view(-1, parameter.shape[-1])[slice(*block.rows)]
    return rows.T if block.transposed else rows


def bias_of(model: Any, block: Block) -> torch.Tensor | None:
    """(m,), what the module of a whole parameter adds to its product; None where it adds nothing."""
    module = model.get_submodule(block.parameter.rpartition(".")[0])
    bias = getattr(module, "bias", None)
    return None if bias is None else bias.detach()[slice(*block.rows) if not block.transposed else slice(None)]


@dataclass(eq=False)
class Norm:
    """A normalization of the residual stream.

    Attributes
    ----------
    name, module : where it is
    neutral : value of its weight that is no gain; 0 where the gain is 1 + weight
    readers : matrices that multiply what it gives
    """

    name: str
    module: nn.Module
    neutral: float
    readers: list[Block] = field(default_factory=list)

    def fold(self, model: Any) -> None:
        """Take the gain into the matrices that read it: ``W diag(g)`` in place of W, and no gain."""
        weight = self.module.get_parameter("weight").detach()
        gain = weight.double() + (1.0 - self.neutral)
        for block in self.readers:
            matrix = matrix_of(model, block)
            for first in range(0, len(matrix), ROWS):
                rows = matrix[first : first + ROWS]
                rows.copy_(rows.double() * gain)
        weight.fill_(self.neutral)


@dataclass(frozen=True, eq=False)
class Stream:
    """The residual stream of a model: what reads it behind normalizations, and what adds to it.

    Attributes
    ----------
    norms : in the order in which they are called
    writers : matrices of the decoder blocks that read no normalization, whose outputs are added to the stream
    """

    norms: list[Norm]
    writers: list[Block]


def _neutral(name: str, module: nn.Module) -> float:
    """The weight without gain of a root-mean-square normalization.

    Raises
    ------
    ModelUnreadable
        For one that subtracts the mean, or adds something.
    """
    parameters = dict(module.named_parameters())
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, parameters["weight"].numel()))).to(parameters["weight"])
    saved = parameters["weight"].detach().clone()
    with torch.no_grad():
        plain, shifted = module(x), module(x + 1)
        parameters["weight"].zero_()
        silent = module(x)
        parameters["weight"].copy_(saved)
    if set(parameters) != {"weight"} or torch.allclose(plain, shifted, atol=1e-3):
        raise ModelUnreadable(
            f"{name}: {type(module).__name__}, a normalization that subtracts the mean or adds a bias, which a rotation of the residual "
            f"stream does not commute with; expected root-mean-square normalizations alone: {_ELSE}"
        )
    return 0.0 if silent.any() else 1.0


def find_stream(model: Any, ids: torch.Tensor) -> Stream:
    """Normalizations of the residual stream with their readers, and what adds to it, from a run of some tokens.

    Parameters
    ----------
    model : in memory, its output head no part of the embedding
    ids : (b, t) tokens

    Raises
    ------
    ModelUnreadable
        For a model whose normalizations cannot be folded: they subtract the mean, nothing multiplies what they give, or experts are routed.
    """
    width = model.get_input_embeddings().weight.shape[1]
    norms: dict[nn.Module, Norm] = {}
    outputs: list[tuple[nn.Module, torch.Tensor]] = []
    read: dict[Block, nn.Module] = {}
    rest: dict[Block, None] = {}

    def see(block: Block, x: torch.Tensor) -> None:
        source = next((norm for norm, y in reversed(outputs) if y.data_ptr() == x.data_ptr() and y.numel() == x.numel()), None)
        if source is None:
            rest[block] = None
        else:
            read[block] = source

    with ExitStack() as stack:
        for name, module in model.named_modules():
            sizes = [tuple(parameter.shape) for parameter in module.parameters()]
            if sizes and set(sizes) == {(width,)} and not list(module.children()):
                norms[module] = Norm(name, module, _neutral(name, module))
                hook = module.register_forward_hook(lambda module, args, output: outputs.append((module, output)))
                stack.callback(hook.remove)
        with torch.no_grad(), Products(ParameterPlaces(model), see):
            run_tokens(model, ids, head=True)
    expert = next((name for name, _ in model.named_parameters() if "experts" in name.split(".")), None)
    if expert is not None:
        raise ModelUnreadable(f"{expert}: experts, whose tokens are picked behind the normalization; {_ELSE}")
    for block, module in read.items():
        norms[module].readers.append(block)
    idle = next((norm.name for norm in norms.values() if not norm.readers), None)
    if idle is not None or not norms:
        fault = "no normalization of the residual stream" if idle is None else f"{idle}: no matrix multiplies what this normalization gives"
        raise ModelUnreadable(f"{fault}, expected gains that the matrices behind can take: {_ELSE}")
    both = next((block.parameter for block in rest if block in read), None)
    if both is not None:
        raise ModelUnreadable(f"{both}: multiplies what a normalization gives and other vectors, too; {_ELSE}")
    return Stream(list(norms.values()), list(rest))
