"""The original model and several contenders, run side by side through the same windows, one decoder block at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.errors import BadTokens, NotByBlocks
from rdtools.evaluation.scores import TokenScores, check_finite, compare_logits
from rdtools.evaluation.stored import StoredReference, TopPredictions, compare_top, top_predictions
from rdtools.evaluation.windows import Windows
from rdtools.model.flights import Passes, shelf_folder
from rdtools.model.inputs import SharedInput
from rdtools.model.replaced import replaced_layers
from rdtools.model.stages import Stages
from rdtools.model.tokens import Tokens, check_tokens
from rdtools.records import EffectiveLayer

#: Tokens that a model is run with at a time, and numbers in the logits of a batch; one window where it has more.
BATCH_TOKENS, BATCH_LOGITS = 4096, 2**26

#: Effective layers by name of a block, or with None of those outside the blocks; called once for each.
Layers = Callable[[int | None], Mapping[str, EffectiveLayer]]
Progress = Callable[[int, int], None]
#: From logits (b, L, V) of a contender and their windows (b, L) to scores.
Compare = Callable[[torch.Tensor, NDArray[np.int64]], TokenScores]


def no_layers(number: int | None) -> Mapping[str, EffectiveLayer]:
    """No layer is replaced: a model as its files have it."""
    return {}


@dataclass(eq=False)
class Contender:
    """A model that is compared with the original.

    Attributes
    ----------
    stages : its files; those of the original for one that differs by its layers
    inputs : its layers, by which effective ones are put in their places
    layers : effective ones
    failure : the error that ended it, None while there is none
    """

    stages: Stages
    inputs: Sequence[SharedInput]
    layers: Layers = no_layers
    failure: Exception | None = None

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Inside, the layers of a block, and those around the blocks, are in memory and in place."""
        with self.stages.block(number), self.around(), self._placed(self.layers(number)):
            yield

    @contextmanager
    def around(self) -> Iterator[None]:
        """Inside, layers outside the blocks but the output head are in place: they run beside the first block or the last."""
        remaining = {name: effective for name, effective in self._outside.items() if name not in self._head}
        other = next((name for name, effective in remaining.items() if effective.activation is not None), None)
        if other is not None:
            raise NotByBlocks(f"{other}: outside the decoder blocks, where no activations are quantized; choose a method without")
        with self._placed(remaining):
            yield

    @contextmanager
    def at_head(self) -> Iterator[None]:
        """Inside, the output head is in memory and in place; the embedding is, too, where they are one matrix, and nobody reads it."""
        with self.stages.tables(), self._placed({n: effective for n, effective in self._outside.items() if n in self._head}):
            yield

    @cached_property
    def _outside(self) -> Mapping[str, EffectiveLayer]:
        return self.layers(None)

    @property
    def _head(self) -> set[str]:
        return {layer.name for item in self.inputs if item.is_head for layer in item.layers}

    def _placed(self, layers: Mapping[str, EffectiveLayer]) -> AbstractContextManager[None]:
        return replaced_layers(self.stages.model, self.stages.places, self.inputs, layers)


def contest(
    original: Stages,
    contenders: Sequence[Contender],
    windows: Windows,
    *,
    stored: StoredReference | None = None,
    folder: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> list[TokenScores | None]:
    """Scores of every contender, None of one that failed and holds why.

    The original's logits are computed once, beside those of all contenders, and nothing as large as the vocabulary is kept.
    Its predictions by a number of tokens may be in a file, and are written there if they are not; then the original is not run.

    Parameters
    ----------
    original : the model that contenders are compared with
    contenders : models of as many blocks
    windows : of held-out tokens
    stored : of the original's predictions; None to compare with all of its logits
    folder : where hidden states between blocks are kept if they take more than a quarter of the free memory; None for memory
    progress : called with (steps done, steps in all), a step being one block of one model

    Raises
    ------
    BadTokens
        If the model cannot read the windows.
    BadActivations
        If the original's logits are not finite.
    NotByBlocks, OutputError
    """
    _check(original, windows)
    vocabulary = original.model.get_input_embeddings().num_embeddings
    batches = list(windows.batches(min(BATCH_TOKENS, BATCH_LOGITS // vocabulary)))
    where = shelf_folder(original, windows.ids.size * (1 + len(contenders)), folder)
    runs = [Passes(one.stages, batches, head=True, folder=where) for one in contenders]
    itself = None if stored is not None and stored.known else Passes(original, batches, head=True, folder=where)
    blocks, done = len(original.blocks), 0
    total = (blocks + 1) * (len(contenders) + 1)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    with ExitStack() as stack:
        if itself is not None:
            stack.enter_context(itself)
        for one, run in zip(contenders, runs, strict=True):
            with _failing(one), one.around():
                stack.enter_context(run)
        for number in range(blocks):
            if itself is not None:
                itself.block(number, _unseen)
            step()
            for one, run in zip(contenders, runs, strict=True):
                if one.failure is None:
                    with _failing(one), one.at(number):
                        run.block(number, _unseen)
                step()
        scores: list[list[TokenScores]] = [[] for _ in contenders]
        heads = [run.outputs(_unseen) for run in runs]
        predictions: list[TopPredictions] = []
        comparisons = _comparisons(itself, batches, stored, predictions)
        with original.tables():
            for ids in batches:
                compare = next(comparisons)
                for one, head, compared in zip(contenders, heads, scores, strict=True):
                    if one.failure is None:
                        with _failing(one), one.at_head():
                            compared.append(compare(next(head).logits, ids))
                del compare
            if predictions and stored is not None:
                stored.write(predictions)
            for head in (comparisons, *heads):
                head.close()
        progress(total, total)
    return [None if one.failure is not None else TokenScores.joined(compared) for one, compared in zip(contenders, scores, strict=True)]


def _comparisons(
    itself: Passes | None, batches: Sequence[NDArray[np.int64]], stored: StoredReference | None, predictions: list[TopPredictions]
) -> Generator[Compare]:
    """A function that compares logits with the original's, batch by batch; its predictions that are to be written are kept."""
    if itself is None:
        assert stored is not None
        yield from (functools.partial(compare_top, part) for part in stored.batches(batches))
        return
    with closing(itself.outputs(_unseen)) as head:
        for ids in batches:
            logits = next(head).logits
            check_finite(logits, "the original model")
            if stored is None:
                yield functools.partial(compare_logits, logits)
            else:
                predictions.append(top_predictions(logits, ids, stored.top))
                yield functools.partial(compare_top, predictions[-1])
            del logits


@contextmanager
def _failing(one: Contender) -> Iterator[None]:
    """Inside, an error is this contender's alone."""
    try:
        yield
    except Exception as error:
        one.failure = error


def _unseen(block: Any, x: Any) -> None:
    """Nobody looks at products."""


def _check(original: Stages, windows: Windows) -> None:
    if windows.scored == 0:
        raise BadTokens(f"{windows.source}: no token to score, expected windows of at least two tokens")
    longest = getattr(original.model.config.get_text_config(), "max_position_embeddings", None)
    tokens = Tokens(windows.ids, windows.ids == windows.ids, windows.source)
    check_tokens(tokens, vocabulary=original.model.get_input_embeddings().num_embeddings, longest=longest)
