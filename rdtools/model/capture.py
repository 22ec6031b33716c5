"""Second moments of every linear layer's input, from forward passes of a causal language model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.errors import BadActivations, ModelUnreadable, NotEnoughMemory
from rdtools.machine import free_memory
from rdtools.model.inputs import SharedInput, run_tokens
from rdtools.model.products import Block, Products
from rdtools.model.repetition import distinct_contexts
from rdtools.model.tokens import Tokens, check_tokens
from rdtools.moments.accumulate import MomentAccumulator
from rdtools.records import Hessian

#: Share of tokens with NaN or infinite activations above which the capture is abandoned.
DROPPED_LIMIT = 0.01
#: Memory for running sums. A model whose sums need more is run through the calibration tokens several times.
ACCUMULATOR_BYTES = 4 * 2**30
_BATCH_TOKENS = 4096

Progress = Callable[[int, int], None]


def _passes(inputs: Sequence[SharedInput]) -> list[list[SharedInput]]:
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
        self._variances: NDArray[np.float64] = np.zeros(0)
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
        """Add p(1 − p) of every output of the head."""
        p = torch.softmax(logits.double(), dim=-1).reshape(-1, logits.shape[-1])
        tokens = len(p)
        p = p[p.isfinite().all(dim=1)]  # as of inputs, tokens that are not finite are left out
        self._dropped_logits += tokens - len(p)
        total = (p * (1 - p)).sum(dim=0).cpu().numpy()
        self._logits += len(p)
        self._variances = total + (self._variances if self._variances.size else 0.0)

    def finish(self, item: SharedInput, contexts: int) -> Hessian:
        """The moments of an input, whose sums are let go; `contexts` is the number of distinct contexts among all tokens.

        Raises
        ------
        BadActivations
        """
        sums = self._sums.pop(item.name)
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
        variances = self._variances / self._logits if item.is_head else None
        return Hessian(sums.second_moment, sums.kept, sums.dropped, item.name, sums.mean, min(sums.kept, contexts), variances)


def capture(
    model: Any,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian]]:
    """Second moment of every distinct input, one at a time, as soon as a pass over the tokens has finished it.

    ``H = (1/N) Σ x xᵀ``, and the mean of x, over the N tokens that are not padding, reach the layer and have finite activations, in float64
    from float32 activations. Padding is taken out before the model runs, see `Tokens.batches`. An expert's N is the number of tokens that
    were sent to it, and may be 0; H is zero then. The output head's Hessian holds E[p(1 − p)] of every output, the mean over tokens of the
    variance of its softmax.

    Parameters
    ----------
    model : from `load_model`
    inputs : from `find_layers`
    tokens : to run through it
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
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    contexts = distinct_contexts(tokens)
    passes = _passes(inputs)
    count, batch = int(tokens.mask.sum()), _BATCH_TOKENS
    total = len(passes) * count
    for number, part in enumerate(passes):
        sums = None
        while sums is None:
            try:
                sums = _run_pass(model, part, tokens, batch, functools.partial(_tell, progress, number * count, total))
            except _TooMuch as failure:
                batch = failure.args[0] // 2
        for item in part:
            yield item, sums.finish(item, contexts)


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


class _TooMuch(Exception):
    """A batch of so many tokens that the device has too little memory for."""


def _run_pass(model: Any, part: Sequence[SharedInput], tokens: Tokens, batch: int, progress: Callable[[int], None]) -> Sums:
    """Sums over all tokens; begun anew with smaller batches where one fails, because some layers have seen it then and others not."""
    sums, done = Sums(part), 0
    for ids in tokens.batches(batch):
        try:
            with torch.no_grad(), Products(model, sums.see):
                output = run_tokens(model, torch.from_numpy(ids).to(model.device), head=sums.head is not None)
            if sums.head is not None:
                sums.see_logits(output.logits)
        except torch.OutOfMemoryError as error:
            if len(ids) > 1:
                raise _TooMuch(ids.size) from error
            raise NotEnoughMemory(
                f"{tokens.source}: device {model.device} has too little memory for one sequence of {ids.shape[1]} tokens; give "
                "shorter ones (`length`), or another `device`"
            ) from error
        done += ids.size
        progress(done)
    return sums
