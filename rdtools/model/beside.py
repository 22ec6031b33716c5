"""Inputs of the original model beside those of the model whose earlier layers are replaced on the way, token by token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rdtools.arrays import Float64Array
from rdtools.errors import NotByBlocks
from rdtools.model.activations import check_dropped
from rdtools.model.attention import AttentionPlace, attention_place, explicit_attention, received_attention
from rdtools.model.capture import Progress
from rdtools.model.flights import Passes, shelf_folder
from rdtools.model.inputs import SharedInput
from rdtools.model.layer_names import CapturedLayer, expert_of
from rdtools.model.products import Block
from rdtools.model.replaced import replaced_weights
from rdtools.model.sequential import Weights, inputs_by_block
from rdtools.model.stages import Stages
from rdtools.model.streams import StreamWatch, stream_writers
from rdtools.model.tokens import Tokens
from rdtools.moments.paired import PairedAccumulator
from rdtools.records import InputMoments

#: Tokens that a trial of weights runs at least, or all.
TRIAL_TOKENS = 8192

#: Relative squared error at the input of the output projection with trial weights of the layers that read the attention's input.
Trial = Callable[[Weights], float]


@dataclass(frozen=True, eq=False)
class Beside:
    """An input of both models.

    Attributes
    ----------
    item : the input
    moments : of x, x̂, and of what the residual stream lacks where its layer writes to it and that was asked for; None if it was done
    weighted : the same with every token weighted by the attention that it receives, for the input of queries, keys and values; else None
    trial : of weights of its layers, for the input of queries, keys and values; else None. To be called before the next input is asked for
    """

    item: SharedInput
    moments: InputMoments | None = None
    weighted: InputMoments | None = None
    trial: Trial | None = None


@dataclass(eq=False)
class _Seen:
    """Inputs that one forward pass of a block shows, for one batch."""

    block: Block
    watch: StreamWatch | None = None
    x: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    stream: NDArray[np.float32] | None = None

    def see(self, block: Block, x: torch.Tensor) -> None:
        if block == self.block:
            self.x = x.float().cpu().numpy().copy()
            if self.watch is not None and self.watch.now is not None:
                self.stream = self.watch.now.reshape(-1, self.watch.now.shape[-1]).float().cpu().numpy()


@dataclass(eq=False)
class _Pair:
    """Both models before one block, and the weights that the second has there so far."""

    stages: Stages
    number: int
    reference: Passes
    drifted: Passes
    inputs: Sequence[SharedInput]
    contexts: int
    residual: bool
    attention: bool
    mixing: bool
    weights: list[tuple[CapturedLayer, Float64Array]] = field(default_factory=list)

    @cached_property
    def _module(self) -> nn.Module:
        return self.stages.blocks[self.number][1]

    @cached_property
    def _writers(self) -> list[str]:
        return stream_writers(self.stages, self.number, self.reference, self.inputs) if self.residual else []

    @cached_property
    def _place(self) -> AttentionPlace | None:
        return attention_place(self.stages, self.number, self.inputs) if self.attention or self.mixing else None

    def beside(self, item: SharedInput) -> Beside:
        """Moments of an input, and what belongs to it."""
        writes = item.name in self._writers
        module = self._place if self._place is not None and self._place.reads is item else None
        weighs = self.attention and module is not None
        sums, weighted = PairedAccumulator(item.columns, item.layers[0].shape[0] if writes else 0), PairedAccumulator(item.columns)
        for original, quantized, received in self._batches(item.blocks[0], StreamWatch() if writes else None, module if weighs else None):
            both = original.stream, quantized.stream
            sums.add(original.x, quantized.x, None if both[0] is None or both[1] is None else both[0] - both[1])
            if received is not None:
                weighted.add(original.x, quantized.x, weights=received)
        check_dropped(item.name, sums.kept, sums.dropped)
        moments = sums.finish(name=item.name, distinct=self.contexts)
        trial = None if module is None or not self.mixing else self._trial(item, module)
        return Beside(item, moments, weighted.finish(name=item.name, distinct=self.contexts) if weighs else None, trial)

    def _batches(
        self, block: Block, watch: StreamWatch | None, module: AttentionPlace | None
    ) -> Iterator[tuple[_Seen, _Seen, NDArray[np.float64] | None]]:
        """An input of both models, batch by batch: the stream, and the attention that tokens receive, where asked for."""
        one, other = _Seen(block, watch), _Seen(block, watch)
        with ExitStack() as stack:
            if watch is not None:
                stack.enter_context(watch.on(self._module))
            weights = [] if module is None else stack.enter_context(module.watched())
            # attention is known when its module returns, behind the product of interest
            running = stack.enter_context(closing(self.reference.looks(self.number, one.see, last=block if module is None else None)))
            behind = stack.enter_context(closing(self.drifted.looks(self.number, other.see, last=block)))
            for _ in running:
                received = None if module is None else received_attention(weights.pop()).cpu().numpy().reshape(-1)
                with replaced_weights(self.stages.model, self.weights):
                    next(behind)
                yield one, other, received

    def _trial(self, item: SharedInput, module: AttentionPlace) -> Trial:
        last = module.writes.blocks[0]
        before: list[NDArray[np.float32]] = []
        running = {layer.name: layer for layer in item.running}

        def some(passes: Passes) -> Generator[NDArray[np.float32]]:
            seen, tokens = _Seen(last), 0
            with closing(passes.looks(self.number, seen.see, last=last)) as looking:
                for _ in looking:
                    yield seen.x
                    tokens += len(seen.x)
                    if tokens >= TRIAL_TOKENS:
                        return

        def trial(weights: Weights) -> float:
            if not before:
                before.extend(some(self.reference))
            error = energy = 0.0
            with replaced_weights(self.stages.model, [*self.weights, *((running[name], weight) for name, weight in weights.items())]):
                for x, actual in zip(before, some(self.drifted), strict=True):
                    error += float(np.square(x - actual, dtype=np.float64).sum())
                    energy += float(np.square(x, dtype=np.float64).sum())
            return error / energy if energy > 0 else 0.0

        return trial


def check_comparable(inputs: Sequence[SharedInput]) -> None:
    """Refuse inputs of experts, which may receive other tokens in two models; raises NotByBlocks."""
    expert = next((item.name for item in inputs if expert_of(item.name)), None)
    if expert is not None:
        raise NotByBlocks(
            f"{expert}: an expert, which may receive other tokens in the original model than in the quantized one, so that their inputs "
            "cannot be compared token by token; leave `corrections` but `dead` and `rescale` out for this model"
        )


def capture_beside(
    stages: Stages,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    replaced: Weights,
    done: Callable[[SharedInput], bool] = lambda item: False,
    residual: bool = False,
    attention: bool = False,
    mixing: bool = False,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Beside]:
    """Moments of the inputs inside blocks, of the original model beside the one whose earlier layers have other weights.

    Both models run block by block over the same batches, so that every token's x and x̂ are in memory together, and only these. Whoever
    receives an input puts the weights of its layers into `replaced` before the next one is asked for.

    Parameters
    ----------
    stages, inputs, tokens, replaced, done, folder, progress : as of `rdtools.model.sequential.capture_sequentially`
    residual : also what the residual stream lacks, ``E[(r − r̂) x̂ᵀ]``, where the one layer of an input adds its output to it
    attention : also moments weighted by received attention
    mixing : also a trial of weights of queries, keys and values

    Raises
    ------
    NotByBlocks
        If a layer is an expert, which may receive other tokens in the two models, or the architecture has no place for what is asked for.
    BadTokens, BadActivations, ModelUnreadable, OutputError
    """
    check_comparable(inputs)
    of, contexts, batches = inputs_by_block(stages, inputs, tokens)
    total, finished = sum(map(len, of.values())) + len(stages.blocks), 0
    where = shelf_folder(stages, 2 * int(tokens.mask.sum()), folder)
    with ExitStack() as stack:
        if attention:
            stack.enter_context(explicit_attention(stages.model))
        # both know the blocks as they are before either is entered, which puts stops in their place
        original, quantized = Passes(stages, batches, folder=where), Passes(stages, batches, folder=where)
        stack.enter_context(original)
        stack.enter_context(quantized)
        for number in range(len(stages.blocks)):
            steps = of.get(number, [])
            items = [item for step in steps for item in step]
            pair = _Pair(stages, number, original, quantized, items, contexts, residual, attention, mixing)
            with stages.block(number):
                for item in items:
                    yield Beside(item) if done(item) else pair.beside(item)
                    pair.weights += _running(item, replaced)
                    finished += 1
                    progress(finished, total)
                if number + 1 < len(stages.blocks):
                    original.block(number, _unseen)
                    with replaced_weights(stages.model, pair.weights):
                        quantized.block(number, _unseen)
                finished += 1
                progress(finished, total)


def _running(item: SharedInput, replaced: Mapping[str, Float64Array]) -> list[tuple[CapturedLayer, Float64Array]]:
    return [(running, replaced[running.name]) for running in item.running]


def _unseen(block: Block, x: object) -> None:
    """Nobody looks at products."""
