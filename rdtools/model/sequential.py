"""Second moments of inputs in a model whose layers are replaced on the way, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.model.biases import added_biases
from rdtools.model.capture import BATCH_TOKENS, Progress, Sums, memory_parts
from rdtools.model.flights import Passes, shelf_folder
from rdtools.model.inputs import SharedInput
from rdtools.model.layer_names import expert_of, layer_type
from rdtools.model.products import Block
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
    of, contexts, batches = inputs_by_block(stages, inputs, tokens)
    total, finished = sum(map(len, of.values())) + len(stages.blocks), 0
    with Passes(stages, batches, folder=shelf_folder(stages, int(tokens.mask.sum()), folder)) as passes:
        for number in range(len(stages.blocks)):
            with stages.block(number), ExitStack() as placed:
                for step in of.get(number, []):
                    yield from _moments(passes, number, step, contexts, done)
                    weights = [(running, replaced[running.name]) for item in step for running in item.running]
                    placed.enter_context(replaced_weights(stages.model, weights))
                    beside = [(running, biases[running.name]) for running, _ in weights if biases and running.name in biases]
                    placed.enter_context(added_biases(stages.model, beside))
                    finished += 1
                    progress(finished, total)
                if number + 1 < len(stages.blocks):
                    passes.block(number, _unseen)
                finished += 1
                progress(finished, total)


def _moments(
    passes: Passes, number: int, step: Sequence[SharedInput], contexts: int, done: Callable[[SharedInput], bool]
) -> Iterator[tuple[SharedInput, Hessian | None]]:
    wanted = []
    for item in step:
        if done(item):
            yield item, None
        else:
            wanted.append(item)
    for part in memory_parts(wanted):
        sums = Sums(part)
        for _ in passes.looks(number, sums.see, last=part[0].blocks[-1] if len(step) == 1 else None):
            pass
        for item in part:
            yield item, sums.finish(item, contexts)


def _unseen(block: Block, x: object) -> None:
    """Nobody looks at products."""
