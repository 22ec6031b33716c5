"""The attention that tokens receive in a model, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rdtools.errors import NotByBlocks
from rdtools.model.inputs import SharedInput
from rdtools.model.stages import Stages

#: Distance from 1 that the sum of a row of attention may have in float32.
_TOLERANCE = 1e-4


def received_attention(
    attention: torch.Tensor,  # (b, h, t, t)
) -> torch.Tensor:
    """Mean attention that each token receives from those that can see it, (b, t) float64.

    ``p_j = 1/(h (t − j)) Σ_heads Σ_{i ≥ j} A_ij``, j counted from 0, A_ij being the attention of token i to token j.

    Raises
    ------
    NotByBlocks
        If the rows of A do not sum to 1, or a token attends to a later one.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 (attention-weighted calibration).

    Examples
    --------
    >>> received_attention(torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])).tolist()
    [[0.75, 0.5]]
    """
    _, _, t, _ = attention.shape
    weights = attention.double()
    if float((weights.sum(-1) - 1).abs().max()) > _TOLERANCE or float(weights.triu(1).abs().max()) > 0:
        raise NotByBlocks(
            "attention whose rows do not sum to 1 over tokens that came before, expected causal softmax attention; leave the correction "
            "`attention` out for this architecture"
        )
    return weights.sum(dim=2).mean(dim=1) / torch.arange(t, 0, -1, device=weights.device, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class AttentionPlace:
    """The attention of a block.

    Attributes
    ----------
    module : that computes it
    reads : the input of queries, keys and values
    writes : the input of the output projection
    """

    module: nn.Module
    reads: SharedInput
    writes: SharedInput

    @contextmanager
    def watched(self) -> Iterator[list[torch.Tensor]]:
        """Inside, the weights (b, h, t, t) of every forward pass are put into the list."""
        seen: list[torch.Tensor] = []

        def look(module: nn.Module, args: Any, output: Any) -> None:
            if not (isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], torch.Tensor) and output[1].ndim == 4):
                raise NotByBlocks(
                    f"{type(module).__name__} returns no attention weights, which the correction `attention` takes tokens' weights from; "
                    "leave it out for this architecture"
                )
            seen.append(output[1])

        handle = self.module.register_forward_hook(look)
        try:
            yield seen
        finally:
            handle.remove()


def attention_place(stages: Stages, number: int, inputs: Sequence[SharedInput]) -> AttentionPlace:
    """The place of a block's attention: a module named so, that has two of the inputs, in the order in which they are read.

    Raises
    ------
    NotByBlocks
        If there is none, or several, or its queries, keys and values have several inputs.
    """
    path, block = stages.blocks[number]
    modules = []
    for name, module in block.named_modules():
        inside = [item for item in inputs if item.running[0].tensor.startswith(f"{path}.{name}.")]
        if "Attention" in type(module).__name__ and len(inside) == 2:
            modules.append(AttentionPlace(module, *inside))
    if len(modules) != 1:
        raise NotByBlocks(
            f"{path}: {len(modules)} modules of attention with one input of queries, keys and values and one of the output projection, "
            "expected one; leave the corrections `attention` and `mixing` out for this architecture"
        )
    return modules[0]


@contextmanager
def explicit_attention(model: Any) -> Iterator[None]:
    """Inside, the model computes its attention weights explicitly, which fused kernels do not return."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
