"""The residual stream inside a decoder block: its value where a layer reads its input, and the layers that add their output to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from rdtools.errors import NotByBlocks
from rdtools.model.flights import Passes
from rdtools.model.inputs import SharedInput
from rdtools.model.stages import Stages

#: Share of the largest entry by which the stream may differ from what it was and a layer's output, in float32.
_TOLERANCE = 1e-4


class StreamWatch:
    """The residual stream as the normalization that was called last received it.

    Decoder blocks normalize the stream before each of their parts, and each part adds its output to the stream as it was: what a layer that
    writes to the stream is added to is thus what the last normalization was given.

    Attributes
    ----------
    now : (b, t, h) what it was given, None before the first one
    seen : all of them since the last `begin`
    """

    def __init__(self) -> None:
        self.now: torch.Tensor | None = None
        self.seen: list[torch.Tensor] = []

    def begin(self) -> None:
        """Forget what was seen."""
        self.now, self.seen = None, []

    @contextmanager
    def on(self, block: nn.Module) -> Iterator[None]:
        """Inside, forward passes of a block are watched."""

        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.now = (args[0] if args else kwargs["hidden_states"]).clone()
            self.seen.append(self.now)

        with ExitStack() as stack:
            for part in block.children():
                sizes = [parameter.ndim for parameter in part.parameters()]
                if sizes and max(sizes) == 1:
                    stack.callback(part.register_forward_pre_hook(look, with_kwargs=True).remove)
            yield


def stream_writers(stages: Stages, number: int, passes: Passes, inputs: Sequence[SharedInput]) -> list[str]:
    """Names of the inputs of a block whose one layer adds its output to the residual stream, found by looking at one batch.

    A layer counts if the stream behind it, what the next normalization is given or the block returns, is the stream before it plus the
    layer's output.

    Parameters
    ----------
    stages, number : the block
    passes : forward passes that are before it; none goes on
    inputs : of the block

    Raises
    ------
    NotByBlocks
        If there is none, as where parts of a block run side by side, or are normalized before they are added.
    """
    path, block = stages.blocks[number]
    watch, outputs = StreamWatch(), []

    def written(name: str) -> Any:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and watch.now is not None and output.shape == watch.now.shape:
                outputs.append((name, watch.now, len(watch.seen), output.clone()))

        return look

    with ExitStack() as stack:
        stack.enter_context(watch.on(block))
        for item in inputs:
            if len(item.running) == 1:
                module = stages.model.get_submodule(item.running[0].tensor.rpartition(".")[0])
                stack.callback(module.register_forward_hook(written(item.name)).remove)
        looking = passes.looks(number, lambda block, x: None)
        answer = next(looking)
        looking.close()
    after = [*watch.seen, answer[0] if isinstance(answer, tuple) else answer]
    writers = []
    for name, before, key, output in outputs:
        behind = after[key]
        if float((before + output - behind).abs().max()) <= _TOLERANCE * float(behind.abs().max()):
            writers.append(name)
    if not writers:
        raise NotByBlocks(
            f"{path}: no layer adds its output to the residual stream as it stood at the last normalization, expected output and down "
            "projections that do; leave the correction `residual` out for this architecture"
        )
    return writers
