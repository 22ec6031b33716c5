"""Second moments of inputs in a model whose layers are replaced on the way, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.model.biases import added_biases
from rdtools.model.capture import BATCH_TOKENS, Progress, Sums, memory_parts
from rdtools.model.flights import Passes, shelf_folder
from rdtools.model.inputs import SharedInput
from rdtools.model.layer_names import expert_of, layer_type
from rdtools.model.products import Block, See
from rdtools.model.repetition import distinct_contexts
from rdtools.model.replaced import replaced_weights
from rdtools.model.stages import Stages
from rdtools.model.tokens import Tokens, check_tokens
from rdtools.records import Hessian

#: Weights (m, n), or biases (m,), by name of the layer.
Weights = Mapping[str, Float64Array]


def steps_of(inputs: Sequence[SharedInput]) -> list[list[SharedInput]]:
    """Inputs of one block in the order in which they are read; the same input of all experts is one step.

    The layers of a step are replaced together, before the moments of the next are taken.
    """
    steps: dict[object, list[SharedInput]] = {}
    for item in inputs:
        experts = tuple(layer_type(layer.name) for layer in item.layers) if expert_of(item.name) else ()
        steps.setdefault(experts or item.name, []).append(item)
    return list(steps.values())


def inputs_by_block(
    stages: Stages, inputs: Sequence[SharedInput], tokens: Tokens
) -> tuple[dict[int, list[list[SharedInput]]], int, list[NDArray[np.int64]]]:
    """Steps of every block by its number, the number of distinct contexts, and the batches; inputs outside the blocks are left out.

    Raises
    ------
    BadTokens
    """
    longest = getattr(stages.model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=stages.model.get_input_embeddings().num_embeddings, longest=longest)
    of: dict[int, list[SharedInput]] = {}
    for item in inputs:
        number = stages.number_of(item.blocks[0].parameter)
        if number is not None:
            of.setdefault(number, []).append(item)
    steps = {number: steps_of(some) for number, some in of.items()}
    return steps, distinct_contexts(tokens), list(tokens.batches(BATCH_TOKENS))


@dataclass(frozen=True, eq=False)
class Step:
    """Inputs of a block that are read next, in the model whose earlier layers are replaced.

    Attributes
    ----------
    inputs : of one step of `steps_of`
    number : of the block, whose weights are in memory
    contexts : distinct contexts among all tokens
    """

    inputs: Sequence[SharedInput]
    number: int
    contexts: int
    _passes: Passes
    _original: Passes | None = None

    def look(self, see: See) -> None:
        """Run all tokens up to the inputs, and hand the products of the block to `see` as they come."""
        last = self.inputs[0].blocks[-1] if len(self.inputs) == 1 else None
        for _ in self._passes.looks(self.number, see, last=last):
            pass

    def look_beside(self, block: Block) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Inputs that reach a matrix in the original model and in this one, (k, n) each, batch after batch, token by token."""
        assert self._original is not None
        seen: dict[Passes, NDArray[np.float32]] = {}

        def keep(passes: Passes) -> See:
            def see(of: Block, x: torch.Tensor) -> None:
                if of == block:
                    seen[passes] = x.float().cpu().numpy().copy()

            return see

        both = self._original, self._passes
        with ExitStack() as stack:
            looks = [stack.enter_context(closing(passes.looks(self.number, keep(passes), last=block))) for passes in both]
            for _ in zip(*looks, strict=True):
                yield seen[self._original], seen[self._passes]


def sequential_steps(
    stages: Stages,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    placed: Callable[[Sequence[SharedInput]], AbstractContextManager[None]],
    original: Stages | None = None,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Step]:
    """Steps of a model in the order in which it reads its inputs, the layers of each being replaced before the next one.

    Parameters
    ----------
    stages, inputs, tokens, folder, progress : as of `capture_sequentially`
    placed : puts what stands for the layers of a step in their places, while the rest of their block is run; of the last step of the
        model, behind which nothing is run, it is not called
    original : a twin of the model in which nothing is replaced, for `Step.look_beside`; None where nobody compares the two

    Raises
    ------
    BadTokens, NotByBlocks, ModelUnreadable, OutputError
    """
    of, contexts, batches = inputs_by_block(stages, inputs, tokens)
    total, finished = sum(map(len, of.values())) + len(stages.blocks), 0
    models = [stages] if original is None else [stages, original]
    where = shelf_folder(stages, len(models) * int(tokens.mask.sum()), folder)
    with ExitStack() as running:
        passes = [running.enter_context(Passes(model, batches, folder=where)) for model in models]
        for number in range(len(stages.blocks)):
            steps, goes_on = of.get(number, []), number + 1 < len(stages.blocks)
            with stages.block(number), nullcontext() if original is None else original.block(number), ExitStack() as stack:
                for count, step in enumerate(steps, start=1):
                    yield Step(step, number, contexts, *passes)
                    if goes_on or count < len(steps):
                        stack.enter_context(placed(step))
                    finished += 1
                    progress(finished, total)
                for some in passes if goes_on else ():
                    some.block(number, _unseen)
                finished += 1
                progress(finished, total)


def capture_sequentially(
    stages: Stages,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    replaced: Weights,
    biases: Weights | None = None,
    done: Callable[[SharedInput], bool] = lambda item: False,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian | None]]:
    """Second moments of the inputs inside blocks, each in the model whose earlier layers have other weights.

    ``E[x̂ x̂ᵀ]``, x̂ the input that a layer has when every layer that is read before it, in its block and in earlier ones, runs with its
    weight in `replaced`. Whoever receives the moment of an input puts the weights of its layers there before the next one is asked for.

    Parameters
    ----------
    stages : the model
    inputs : from `rdtools.model.inputs.find_layers`; those outside the blocks are left out
    tokens : to run through it
    replaced : weights of layers, which grow on the way
    biases : (m,) of those of them that have one, added to their outputs; None for none
    done : True for an input whose weights are there already: its moment is None, and not summed
    folder : where hidden states between blocks are kept; None for memory
    progress : called with (steps done, steps in all)

    Raises
    ------
    BadTokens, BadActivations, NotByBlocks, ModelUnreadable, OutputError
        As `rdtools.model.capture.capture`.
    """

    @contextmanager
    def placed(step: Sequence[SharedInput]) -> Iterator[None]:
        weights = [(running, replaced[running.name]) for item in step for running in item.running]
        beside = [(running, biases[running.name]) for running, _ in weights if biases and running.name in biases]
        with replaced_weights(stages.model, weights), added_biases(stages.model, beside):
            yield

    for step in sequential_steps(stages, inputs, tokens, placed=placed, folder=folder, progress=progress):
        yield from _moments(step, done)


def _moments(step: Step, done: Callable[[SharedInput], bool]) -> Iterator[tuple[SharedInput, Hessian | None]]:
    missing = []
    for item in step.inputs:
        if done(item):
            yield item, None
        else:
            missing.append(item)
    for part in memory_parts(missing):
        sums = Sums(part)
        step.look(sums.see)
        for item in part:
            yield item, sums.finish(item, step.contexts)


def _unseen(block: Block, x: object) -> None:
    """Nobody looks at products."""
