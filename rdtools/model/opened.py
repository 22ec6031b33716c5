"""A model opened for a capture: in stages if it can be, else whole, and which of the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rdtools.errors import NotByBlocks
from rdtools.machine import check_memory
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.inputs import ModelLayers, SharedInput, find_layers
from rdtools.model.pretrained import load_model
from rdtools.model.stages import Stages, in_memory, in_stages

#: What a manifest says of a model that is run block by block.
BY_BLOCKS = "by blocks"


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model, its layers, and how it is run.

    Attributes
    ----------
    model : of `stages`, or in memory
    stages : None for a model that is run as a whole
    layers : of the model
    runner : "by blocks", or "whole" and the reason
    """

    model: Any
    stages: Stages | None
    layers: ModelLayers
    runner: str

    def staged(self, checkpoint: Checkpoint, what: str) -> Stages:
        """The stages, of a model that is to be quantized or evaluated, as `what` says.

        Raises
        ------
        NotByBlocks
            For a model that is run as a whole.
        """
        if self.stages is None:
            raise NotByBlocks(
                f"{checkpoint.directory}: {self.runner}; only a model that runs block by block is {what}; rdtools report measures the "
                "layers of any"
            )
        return self.stages

    def loaded_inputs(self) -> Iterator[SharedInput]:
        """Every input while the weights of the layers that read it are in memory; block by block."""
        for number, some in in_stages(self.stages, self.layers.inputs, lambda item: item.blocks[0].parameter):
            with in_memory(self.stages, number):
                yield from some


def open_model(
    checkpoint: Checkpoint,
    *,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> OpenModel:
    """Open a model and find its layers; one that cannot be run block by block is loaded as a whole, which is said.

    Raises
    ------
    NotEnoughMemory
        If it has to be loaded as a whole and does not fit.
    ModelUnreadable, UsageError
    """
    try:
        stages = Stages(checkpoint, trust_remote_code=trust_remote_code, device=device, say=say)
        return OpenModel(stages.model, stages, find_layers(stages.model, checkpoint, head=head, stages=stages), BY_BLOCKS)
    except NotByBlocks as reason:
        say(f"{checkpoint.directory}: run as a whole and not block by block: {reason}")
        why = str(reason)
    size = 4 * checkpoint.parameters
    check_memory(size, f"{checkpoint.directory} in float32, which has to be in memory as a whole ({why})")
    model = load_model(checkpoint, trust_remote_code=trust_remote_code, device=device, say=say)
    return OpenModel(model, None, find_layers(model, checkpoint, head=head), f"whole: {why}")
