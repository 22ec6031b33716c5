"""Second moments of every linear layer's input, from forward passes of a causal language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from rdtools.errors import BadActivations
from rdtools.model.inputs import SharedInput, hooks
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


def _passes(inputs: list[SharedInput]) -> list[list[SharedInput]]:
    """Split inputs so that the running sums of each part fit ACCUMULATOR_BYTES (a single larger one goes alone)."""
    parts: list[list[SharedInput]] = []
    used = 0
    for item in inputs:
        need = 8 * item.columns**2
        if not parts or used + need > ACCUMULATOR_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += need
    return parts


def capture(
    model: Any,
    inputs: list[SharedInput],
    tokens: Tokens,
    *,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian]]:
    """Second moment of every distinct input, one at a time, as soon as a pass over the tokens has finished it.

    ``H = (1/N) Σ x xᵀ``, and the mean of x, over the N tokens that are not padding and have finite activations, in float64 from float32
    activations.

    Parameters
    ----------
    model : from `load_model`
    inputs : from `find_shared_inputs`
    tokens : to run through it
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    BadTokens
        If there are no tokens, ids are outside the vocabulary, or sequences are longer than the model takes.
    BadActivations
        If more than DROPPED_LIMIT of the tokens have NaN or infinite activations at some layer.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    contexts = distinct_contexts(tokens)
    passes = _passes(inputs)
    total = len(passes) * tokens.ids.size
    batch = max(1, _BATCH_TOKENS // tokens.ids.shape[1])
    done = 0
    for part in passes:
        sums = {item.name: MomentAccumulator(item.columns) for item in part}
        for first in range(0, len(tokens.ids), batch):
            ids = torch.tensor(tokens.ids[first : first + batch])
            mask = torch.tensor(tokens.mask[first : first + batch])

            def see(name: str, x: torch.Tensor, mask: torch.Tensor = mask, sums: dict[str, MomentAccumulator] = sums) -> None:
                kept = x.reshape(*mask.shape, -1)[mask.to(x.device)]
                sums[name].add(kept.float().cpu().numpy())

            # padded ids may be outside the vocabulary (−100 is common); their activations are masked out above
            safe_ids = torch.where(mask, ids, 0).to(model.device)
            with torch.no_grad(), hooks(model, list(sums), see):
                model.base_model(input_ids=safe_ids, attention_mask=mask.long().to(model.device), use_cache=False)
            done += ids.numel()
            progress(done, total)
        for item in part:
            yield item, _finish(item, sums.pop(item.name), contexts)


def _finish(item: SharedInput, sums: MomentAccumulator, contexts: int) -> Hessian:
    seen = sums.kept + sums.dropped
    if sums.dropped > DROPPED_LIMIT * seen:
        raise BadActivations(
            f"{item.name}: {sums.dropped} of {seen} tokens have NaN or infinite inputs, at most {DROPPED_LIMIT:.0%} may; "
            "likely damaged weights or activations that overflow: check the checkpoint"
        )
    return Hessian(sums.second_moment, sums.kept, sums.dropped, item.name, sums.mean, min(sums.kept, contexts))
