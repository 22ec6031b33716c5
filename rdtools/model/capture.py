"""Second moments of every linear layer's input, from forward passes of a causal language model, one block at a time or whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.devices import allocation_errors
from rdtools.errors import BadActivations, ModelUnreadable, NotEnoughMemory
from rdtools.machine import free_memory
from rdtools.model.flights import Passes, run_tokens, shelf_folder
from rdtools.model.inputs import SharedInput
from rdtools.model.products import Block, Products
from rdtools.model.repetition import distinct_contexts
from rdtools.model.stages import Stages, in_stages
from rdtools.model.tokens import Tokens, check_tokens
from rdtools.moments.accumulate import MomentAccumulator
from rdtools.records import Hessian

#: Share of tokens with NaN or infinite activations above which the capture is abandoned.
DROPPED_LIMIT = 0.01
#: Memory for running sums. A model whose sums need more is run through the calibration tokens several times.
ACCUMULATOR_BYTES = 4 * 2**30
#: Tokens that a model is run with at a time, or one sequence where it is longer.
BATCH_TOKENS = 4096
#: Tokens whose output probabilities are in memory at a time, in float64.
_LOGIT_ROWS = 128

Progress = Callable[[int, int], None]


def memory_parts(inputs: Sequence[SharedInput]) -> list[list[SharedInput]]:
    """Split inputs so that the running sums of each part fit ACCUMULATOR_BYTES and half of the free memory; a larger one goes alone."""
    parts: list[list[SharedInput]] = []
    used, budget = 0, min(ACCUMULATOR_BYTES, free_memory() // 2)
    for item in inputs:
        need = 8 * item.columns**2
        if not parts or used + need > budget:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += need
    return parts


class Sums:
    """Running sums of the inputs in one pass over the tokens."""

    def __init__(self, part: Sequence[SharedInput]) -> None:
        self._sums = {item.name: MomentAccumulator(item.columns) for item in part}
        self._input_of = {block: item for item in part for block in item.blocks}
        self._last: dict[str, tuple[torch.Tensor, int]] = {}
        self.head = next((item for item in part if item.is_head), None)
        self._outputs: NDArray[np.float64] = np.zeros(0)  # sums of p (1 − p) and of p
        self._logits = self._dropped_logits = 0

    def see(self, block: Block, x: torch.Tensor) -> None:
        """Add an input; that of a further layer of one input is only compared with the first one's."""
        item = self._input_of.get(block)
        if item is None:
            return
        if block == item.blocks[0]:
            self._sums[item.name].add(x.float().cpu().numpy())
            if len(item.blocks) > 1:
                self._last[item.name] = x, x._version
            return
        first, version = self._last[item.name]
        same = x.data_ptr() == first.data_ptr() and x.shape == first.shape and x.stride() == first.stride()
        if first._version != version or not (same or torch.equal(x.nan_to_num(), first.nan_to_num())):
            raise ModelUnreadable(
                f"{item.layers[item.blocks.index(block)].name} and {item.name} received the same values in a trial, and others now; "
                "expected that layers always share an input or never do: such a model is not analysed"
            )

    def see_logits(self, logits: torch.Tensor) -> None:
        """Add p (1 − p) and p of every output of the head."""
        rows = logits.reshape(-1, logits.shape[-1])
        for first in range(0, len(rows), _LOGIT_ROWS):
            p = torch.softmax(rows[first : first + _LOGIT_ROWS].double(), dim=-1)
            tokens = len(p)
            p = p[p.isfinite().all(dim=1)]  # as of inputs, tokens that are not finite are left out
            self._dropped_logits += tokens - len(p)
            totals = torch.stack([(p * (1 - p)).sum(dim=0), p.sum(dim=0)]).cpu().numpy()
            self._logits += len(p)
            self._outputs = totals + (self._outputs if self._outputs.size else 0.0)

    def finish(self, item: SharedInput, contexts: int) -> Hessian:
        """The moments of an input, whose sums are let go; `contexts` is the number of distinct contexts among all tokens.

        Raises
        ------
        BadActivations
        """
        sums = self._sums.pop(item.name)
        self._last.pop(item.name, None)
        seen = sums.kept + sums.dropped
        if sums.dropped > DROPPED_LIMIT * seen:
            raise BadActivations(
                f"{item.name}: {sums.dropped} of {seen} tokens have NaN or infinite inputs, at most {DROPPED_LIMIT:.0%} may; "
                "likely damaged weights or activations that overflow: check the checkpoint"
            )
        seen, dropped = self._logits + self._dropped_logits, self._dropped_logits
        if item.is_head and dropped > DROPPED_LIMIT * seen:
            raise BadActivations(
                f"{item.name}: {dropped} of {seen} tokens have NaN or infinite logits, at most {DROPPED_LIMIT:.0%} may; likely a damaged "
                "output head: check the checkpoint, or leave `head` out"
            )
        outputs = self._outputs / self._logits if item.is_head else (None, None)
        return Hessian(sums.finish(), sums.kept, sums.dropped, item.name, sums.mean, min(sums.kept, contexts), *outputs)


def capture(
    model: Any,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    stages: Stages | None = None,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian]]:
    """Second moment of every distinct input, one at a time, as soon as it is finished.

    ``H = (1/N) Σ x xᵀ``, and the mean of x, over the N tokens that are not padding, reach the layer and have finite activations, in float64
    from float32 activations. Padding is taken out before the model runs, see `Tokens.batches`. An expert's N is the number of tokens that
    were sent to it, and may be 0; H is zero then. The output head's Hessian holds E[p(1 − p)] of every output, the mean over tokens of the
    variance of its softmax.

    A model in stages is run one block at a time, for all tokens, and a block's moments are finished before the next block begins; a model
    in memory is run as a whole. The activations of both are the same to the bit, and so are the moments. Blocks whose inputs are finished
    already are run again, to know what they pass on.

    Parameters
    ----------
    model : from `load_model`, or of `stages`
    inputs : from `find_layers`
    tokens : to run through it
    stages : that the model is the model of; None for a model that is in memory
    folder : where hidden states between blocks are kept; None for memory
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    BadTokens
        If there are no tokens, ids are outside the vocabulary, or sequences are longer than the model takes.
    BadActivations
        If more than DROPPED_LIMIT of the tokens have NaN or infinite activations at some layer.
    NotEnoughMemory
        If one sequence is too much for the model's device; where several are, a batch has half of them.
    ModelUnreadable
        If layers that share an input receive different values.
    OutputError
        If hidden states cannot be kept in the folder.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    contexts = distinct_contexts(tokens)
    todo, batch = list(inputs), BATCH_TOKENS
    while todo:
        run = _whole(model, todo, tokens, batch, progress) if stages is None else _by_block(stages, todo, tokens, batch, folder, progress)
        try:
            for item, sums in run:
                todo = [other for other in todo if other is not item]
                yield item, sums.finish(item, contexts)
        except _TooMuch as failure:
            batch = failure.args[0] // 2


class _TooMuch(Exception):
    """A batch of so many tokens that the device has too little memory for.

    All of a pass is begun anew with smaller ones, because some layers have seen the batch and others not.
    """


@contextmanager
def _batch_that_fits(ids: NDArray[np.int64], tokens: Tokens, device: object) -> Iterator[None]:
    try:
        with allocation_errors():
            yield
    except torch.OutOfMemoryError as error:
        if len(ids) > 1:
            raise _TooMuch(ids.size) from error
        raise NotEnoughMemory(
            f"{tokens.source}: device {device} has too little memory for one sequence of {ids.shape[1]} tokens; give "
            "shorter ones (`length`), or another `device`"
        ) from error


def _whole(model: Any, inputs: Sequence[SharedInput], tokens: Tokens, batch: int, progress: Progress) -> Iterator[tuple[SharedInput, Sums]]:
    """Inputs and their sums, from passes of whole batches through a model that is in memory."""
    parts, count = memory_parts(inputs), int(tokens.mask.sum())
    for number, part in enumerate(parts):
        sums, done = Sums(part), number * count
        for ids in tokens.batches(batch):
            with _batch_that_fits(ids, tokens, model.device):
                with torch.no_grad(), Products(model, sums.see):
                    output = run_tokens(model, torch.from_numpy(ids).to(model.device), head=sums.head is not None)
                if sums.head is not None:
                    sums.see_logits(output.logits)
            done += ids.size
            progress(done, len(parts) * count)
        for item in part:
            yield item, sums


def _by_block(
    stages: Stages, inputs: Sequence[SharedInput], tokens: Tokens, batch: int, folder: Path | None, progress: Progress
) -> Iterator[tuple[SharedInput, Sums]]:
    """Inputs and their sums, a block at a time; several times over where the sums of a block are too large together.

    Sums of layers outside the blocks and of the output head are finished at the end of a pass.
    """
    blocks, count = len(stages.blocks), int(tokens.mask.sum())
    batches, where = list(tokens.batches(batch)), shelf_folder(stages, count, folder)
    parts = {number: memory_parts(some) for number, some in in_stages(stages, inputs, lambda item: item.blocks[0].parameter)}
    rounds = max(map(len, parts.values()))
    for round_number in range(rounds):
        of = {number: part[round_number] for number, part in parts.items() if round_number < len(part)}
        outside = Sums(of.get(None, ()))
        last = blocks if None in of else max(number for number in of if number is not None) + 1
        with _batch_that_fits(max(batches, key=lambda ids: (len(ids) > 1, ids.size)), tokens, stages.device):
            passes = Passes(stages, batches, head=outside.head is not None, see=outside.see if None in of else None, folder=where)
            with passes:
                for number in range(last):
                    sums = Sums(of.get(number, ()))
                    before = round_number * last + number
                    passes.block(number, sums.see, functools.partial(_tell, progress, before, rounds * last, count))
                    for item in of.get(number, ()):
                        yield item, sums
                    del sums
                if None in of:
                    for output in passes.outputs(outside.see):
                        if outside.head is not None:
                            outside.see_logits(output.logits)
                        del output
                    for item in of[None]:
                        yield item, outside


def _tell(progress: Progress, before: int, total: int, count: int, done: int) -> None:
    """Progress in tokens, of which each block does an equal share."""
    progress((before * count + done) // total, count)
