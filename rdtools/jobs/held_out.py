"""Windows of held-out tokens for whole models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rdtools.errors import UsageError
from rdtools.jobs.calibration import EvaluationRequest
from rdtools.model.checkpoint import EMBEDDED, Checkpoint
from rdtools.model.documents import read_documents, tokenize_documents
from rdtools.model.tokens import Tokens, check_tokens, embedded_tokens, load_tokens, tokenize_text
from rdtools.runs.run_manifest import CalibrationEntry

if TYPE_CHECKING:
    from rdtools.evaluation.windows import Windows  # which loads torch

#: Windows have at most so many tokens where none are asked for: what most tables of perplexities have.
_LONGEST = 2048


def held_out_windows(
    checkpoint: Checkpoint,
    request: EvaluationRequest,
    *,
    calibration: CalibrationEntry,
    trust_remote_code: bool = False,
    documents: str | None = None,
    window: int | None = None,
    windows: int | None = None,
) -> Windows:
    """Windows of the tokens that are asked for, or of those that come with the embedded model.

    Parameters
    ----------
    checkpoint : the model that reads them
    request : where they are; a text is tokenized whole, each of its windows a cluster of its own, each sequence of a token file a cluster
    documents : what separates the documents of a text, each of which is tokenized by itself, and a cluster; None for a single one
    calibration : the tokens that the Hessians were made with; of a text, its windows are cut again and compared
    trust_remote_code : of the model
    window : tokens in a window; None for the longest that the model and the tokens have, at most 2048
    windows : at most so many, evenly spaced; None for all

    Raises
    ------
    UsageError
        If there are no tokens, or they are those of the calibration.
    BadTokens
    """
    from rdtools.evaluation.windows import cut, cut_documents
    from rdtools.model.pretrained import load_tokenizer, model_limits  # loads transformers

    limits = model_limits(checkpoint, trust_remote_code=trust_remote_code)
    length = min(_LONGEST, limits.longest or _LONGEST) if window is None else window
    seen, of = "", None
    if documents is not None and request.text is None:
        raise UsageError("`documents`: separates documents of a text, and none is given as `evaluation_text`; leave it out")
    if request.text is not None:
        tokenizer = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code, prefix="evaluation_")
        if documents is None:
            tokens = tokenize_text(request.text, tokenizer, sequences=2**62, length=length, prefix="evaluation_")
        else:
            ids, of = tokenize_documents(read_documents(request.text, documents), tokenizer)
            tokens = Tokens(ids[None], np.ones((1, ids.size), dtype=bool), request.text.name)
        seen = tokenize_text(request.text, tokenizer, sequences=calibration.sequences, length=calibration.length).sha256
    else:
        if request.tokens is None and checkpoint.name != EMBEDDED:
            raise UsageError(f"{checkpoint.name}: no held-out data; give a file as `evaluation_text` or `evaluation_tokens`")
        if isinstance(request.tokens, Path):
            tokens = load_tokens(request.tokens, prefix="evaluation_")
        else:
            tokens = embedded_tokens("evaluation") if request.tokens is None else request.tokens
        length = min(length, max(tokens.longest, 2)) if window is None else window
    if calibration.token_sha256 in (tokens.sha256, seen):
        raise UsageError(f"{tokens.source}: the tokens that the Hessians were captured with, so that nothing is held out; give other ones")
    if limits.longest is not None and length > limits.longest:
        raise UsageError(f"`window` {length}: the model takes {limits.longest} tokens; choose at most as many")
    check_tokens(tokens, vocabulary=limits.vocabulary, longest=None)
    if of is not None:
        return cut_documents(tokens, of, length, most=windows)
    return cut(tokens, length, most=windows)
