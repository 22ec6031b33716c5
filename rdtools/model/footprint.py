"""Memory that a capture takes beyond what the process has when its model is open."""

from __future__ import annotations

from collections.abc import Sequence

import psutil
import torch

from rdtools.model.capture import BATCH_TOKENS, memory_parts
from rdtools.model.flights import hidden_bytes
from rdtools.model.inputs import SharedInput
from rdtools.model.opened import OpenModel
from rdtools.model.stages import in_stages
from rdtools.model.tokens import Tokens


def _finishing(part: Sequence[SharedInput]) -> int:
    """Most bytes while sums of a part become Hessians one by one: those not written yet, and ``4 n²`` for the file of the one that is."""
    sizes = [item.columns**2 for item in part]
    return max((8 * sum(sizes[index:]) + 4 * size for index, size in enumerate(sizes)), default=0)


def _running(part: Sequence[SharedInput], batch: int, width: int) -> int:
    """Most bytes while the sums of a part grow: the sums, and of a batch of b tokens, w the widest input, ``16 b (w + d)``.

    A layer's input is there in float32 as the model has it, as a copy without tokens that are not finite, and in float64; the hidden states
    of width d, as they came in, normalized, attended and added.
    """
    return sum(8 * item.columns**2 for item in part) + 16 * batch * (max((item.columns for item in part), default=0) + width)


def capture_bytes(opened: OpenModel, tokens: Tokens) -> int:
    """Most bytes that a capture takes, on the CPU, beyond those of the process when the model is open.

    The largest over the parts of a capture: the embedding while passes start, and each block while its sums grow and while they are
    written, beside the hidden states of all tokens; with the output head, a batch's logits. Hidden states that go to disk are counted too.

    Parameters
    ----------
    opened : the model, on the CPU
    tokens : calibration tokens
    """
    count, stages = int(tokens.mask.sum()), opened.stages
    batch, width = min(count, max(BATCH_TOKENS, tokens.longest)), int(opened.model.config.get_text_config().hidden_size)
    hidden = 0 if stages is None else hidden_bytes(stages, count)
    loaded: dict[int | None, int] = {None: 0}
    if stages is not None:
        loaded |= {number: _absent(block) for number, (_, block) in enumerate(stages.blocks)}
        # while a table is made, the largest tensor of its file is there in the file's own dtype, of four bytes at most
        loaded[None] = 2 * sum(_absent(table) for table in stages.tables_held())
    most = loaded[None]
    for number, some in in_stages(stages, opened.layers.inputs, lambda item: item.blocks[0].parameter):
        for part in memory_parts(some):
            logits = 4 * batch * max((item.layers[0].shape[0] for item in part if item.is_head), default=0)
            most = max(most, loaded[number] + max(_finishing(part), _running(part, batch, width)) + logits)
    return hidden + most


def _absent(module: torch.nn.Module) -> int:
    """Bytes in float32 of a module's tensors that are not in memory."""
    return sum(4 * tensor.numel() for tensor in [*module.parameters(), *module.buffers()] if tensor.is_meta)


def resident_bytes() -> int:
    """Bytes of memory that this process has now."""
    return int(psutil.Process().memory_info().rss)
