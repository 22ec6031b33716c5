"""Second moments of every linear layer's input, from forward passes of a causal language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from rdtools.errors import BadActivations, NotEnoughMemory
from rdtools.machine import free_memory
from rdtools.model.inputs import SharedInput, hooks
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


def capture(
    model: Any,
    inputs: list[SharedInput],
    tokens: Tokens,
    *,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian]]:
    """Second moment of every distinct input, one at a time, as soon as a pass over the tokens has finished it.

    ``H = (1/N) Σ x xᵀ`` over the N tokens that are not padding and have finite activations, in float64 from float32 activations.

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
    NotEnoughMemory
        If one sequence is too much for the model's device; a batch of several that is too much is halved.
    BadActivations
        If more than DROPPED_LIMIT of the tokens have NaN or infinite activations at some layer.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    passes = _passes(inputs)
    total = len(passes) * tokens.ids.size
    batch = max(1, _BATCH_TOKENS // tokens.ids.shape[1])
    done = 0
    for part in passes:
        sums = {item.name: MomentAccumulator(item.columns) for item in part}
        seen = dict.fromkeys(sums, 0)  # sequences in each sum, so that a batch that is tried again counts once
        first = 0
        while first < len(tokens.ids):
            ids = torch.tensor(tokens.ids[first : first + batch])
            mask = torch.tensor(tokens.mask[first : first + batch])

            def see(
                name: str,
                x: torch.Tensor,
                mask: torch.Tensor = mask,
                sums: dict[str, MomentAccumulator] = sums,
                seen: dict[str, int] = seen,
                first: int = first,
            ) -> None:
                new = slice(seen[name] - first, None)
                kept = x.reshape(*mask.shape, -1)[new][mask[new].to(x.device)].float().cpu().numpy()
                sums[name].add(kept)
                seen[name] = max(seen[name], first + len(mask))

            # padded ids may be outside the vocabulary (−100 is common); their activations are masked out above
            safe_ids = torch.where(mask, ids, 0).to(model.device)
            try:
                with torch.no_grad(), hooks(model, list(sums), see):
                    model.base_model(input_ids=safe_ids, attention_mask=mask.long().to(model.device), use_cache=False)
            except torch.OutOfMemoryError as error:
                if len(ids) == 1:
                    raise NotEnoughMemory(
                        f"{tokens.source}: device {model.device} has too little memory for one sequence of {ids.shape[1]} tokens; give "
                        "shorter ones (`length`), or another `device`"
                    ) from error
                batch = len(ids) // 2
                continue
            first += len(ids)
            done += ids.numel()
            progress(done, total)
        for item in part:
            yield item, _finish(item, sums.pop(item.name))


def _finish(item: SharedInput, sums: MomentAccumulator) -> Hessian:
    seen = sums.kept + sums.dropped
    if sums.dropped > DROPPED_LIMIT * seen:
        raise BadActivations(
            f"{item.name}: {sums.dropped} of {seen} tokens have NaN or infinite inputs, at most {DROPPED_LIMIT:.0%} may; "
            "likely damaged weights or activations that overflow: check the checkpoint"
        )
    return Hessian(sums.mean, sums.kept, sums.dropped, item.name)
