"""Activations of a model's inputs, batch by batch, for whatever sums or samples them: one pass serves many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdtools.devices import allocation_errors
from rdtools.errors import BadActivations, NotEnoughMemory
from rdtools.model.capture import DROPPED_LIMIT, Progress
from rdtools.model.flights import run_tokens
from rdtools.model.inputs import SharedInput
from rdtools.model.products import Block, Products
from rdtools.model.tokens import Tokens, check_tokens
from rdtools.moments.accumulate import all_finite_rows
from rdtools.seeds import generator

#: Receives the activations of an input, an array (k, n) in float32, one row per token.
Consumer = Callable[[NDArray[np.float32]], None]
#: Bytes of a sample of one input, as float32.
SAMPLE_BYTES = 64 * 2**20
_BATCH_TOKENS = 4096


def run_activations(
    model: Any,
    tokens: Tokens,
    begin: Callable[[], Mapping[str, Consumer]],
    inputs: Sequence[SharedInput],
    *,
    progress: Progress = lambda done, total: None,
) -> Mapping[str, Consumer]:
    """Run the tokens through the model once, and hand the activations of some inputs to their consumers.

    The activations are the float32 values of which `rdtools.model.capture.capture` takes second moments, in the same order; tokens with NaN
    or infinite activations are among them.

    Parameters
    ----------
    model : from `rdtools.model.pretrained.load_model`
    tokens : to run through it
    begin : makes the consumers, by the name of their input; called again where a batch did not fit the device's memory and the pass
        begins anew with smaller ones
    inputs : from `rdtools.model.inputs.find_layers`; those without a consumer are not looked at
    progress : called with (tokens done, tokens in all)

    Returns
    -------
    The consumers that have seen all tokens.

    Raises
    ------
    BadTokens, NotEnoughMemory
        As `capture`.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    names = {item.blocks[0]: item.name for item in inputs}
    total, batch = int(tokens.mask.sum()), _BATCH_TOKENS
    while True:
        consumers, done = begin(), 0
        head = any(item.is_head and item.name in consumers for item in inputs)

        def see(block: Block, x: torch.Tensor, consumers: Mapping[str, Consumer] = consumers) -> None:
            consumer = consumers.get(names.get(block, ""))
            if consumer is not None:
                consumer(x.float().cpu().numpy())

        for ids in tokens.batches(batch):
            try:
                with allocation_errors(), torch.no_grad(), Products(model, see):
                    run_tokens(model, torch.from_numpy(ids).to(model.device), head=head)
            except torch.OutOfMemoryError as error:
                if len(ids) == 1:
                    raise NotEnoughMemory(
                        f"{tokens.source}: device {model.device} has too little memory for one sequence of {ids.shape[1]} tokens; give "
                        "shorter ones (`length`), or another `device`"
                    ) from error
                batch = ids.size // 2
                break
            done += ids.size
            progress(done, total)
        else:
            return consumers


def check_dropped(name: str, kept: int, dropped: int) -> None:
    """Refuse an input of which more than `rdtools.model.capture.DROPPED_LIMIT` of the tokens are not finite.

    Raises
    ------
    BadActivations
    """
    if dropped > DROPPED_LIMIT * (kept + dropped):
        raise BadActivations(
            f"{name}: {dropped} of {kept + dropped} tokens have NaN or infinite inputs, at most {DROPPED_LIMIT:.0%} may; "
            "likely damaged weights or activations that overflow: check the checkpoint"
        )


class Sample:
    """A uniform sample of the activations of one input, without replacement, whatever batches they come in.

    Attributes
    ----------
    rows : (k, n) float32, in the order of the tokens
    seen, dropped : tokens looked at, and left out because an activation was NaN or infinite

    Parameters
    ----------
    columns : n
    seed : of the run
    name : of the input; each input's draw is of its own
    most_bytes : of the sample

    Examples
    --------
    >>> sample = Sample(2, seed=0, name="x", most_bytes=24)
    >>> sample.add(np.arange(20, dtype=np.float32).reshape(10, 2))
    >>> sample.rows.shape, sample.seen
    ((3, 2), 10)
    """

    def __init__(self, columns: int, *, seed: int, name: str, most_bytes: int = SAMPLE_BYTES) -> None:
        self._most = max(1, most_bytes // (4 * max(columns, 1)))
        self._draws = generator(seed, "activation sample", name)
        self._priorities: NDArray[np.float64] = np.zeros(0)
        self.rows: NDArray[np.float32] = np.zeros((0, columns), dtype=np.float32)
        self.seen = self.dropped = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Look at further tokens."""
        finite = all_finite_rows(rows)
        self.seen += len(rows)
        self.dropped += int(len(rows) - finite.sum())
        priorities = np.concatenate([self._priorities, self._draws.random(len(rows))[finite]])
        chosen = np.sort(np.argsort(priorities, kind="stable")[: self._most])
        before = chosen < len(self.rows)
        self.rows = np.concatenate([self.rows[chosen[before]], rows[finite][chosen[~before] - len(self.rows)]])
        self._priorities = priorities[chosen]


def sample_activations(
    model: Any,
    tokens: Tokens,
    inputs: Sequence[SharedInput],
    *,
    seed: int,
    most_bytes: int = SAMPLE_BYTES,
    progress: Progress = lambda done, total: None,
) -> dict[str, Sample]:
    """A seeded sample of the activations of each input, at most so many bytes, by the name of the input.

    Inputs with too many tokens that are not finite are among them: see `check_dropped`.

    Parameters
    ----------
    model, tokens, progress : as for `run_activations`
    inputs : to be sampled
    seed : of the run
    most_bytes : of each sample

    Raises
    ------
    BadTokens, NotEnoughMemory
    """
    samples: dict[str, Sample] = {}

    def begin() -> Mapping[str, Consumer]:
        samples.update({item.name: Sample(item.columns, seed=seed, name=item.name, most_bytes=most_bytes) for item in inputs})
        return {name: sample.add for name, sample in samples.items()}

    run_activations(model, tokens, begin, inputs, progress=progress)
    return samples
