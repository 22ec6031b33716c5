"""Calibration and held-out tokens: what is asked for, and the tokens that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdtools.errors import UsageError, WrongType
from rdtools.model.checkpoint import EMBEDDED, Checkpoint
from rdtools.model.in_memory import tokens_of
from rdtools.model.repetition import repeated_sequences
from rdtools.model.tokens import Tokens, check_tokens, embedded_tokens, load_tokens, tokenize_text

if TYPE_CHECKING:
    from rdtools.runs.run_manifest import CalibrationEntry  # which loads pydantic

#: Windows of a text, or sequences of the embedded tokens, that held-out moments are taken over: enough for a mean that has seen no fit.
EVALUATION_SEQUENCES = 32


def _check_files(request: CalibrationRequest | EvaluationRequest) -> None:
    """Paths given as strings become paths; ids become `Tokens`."""
    text: Any = request.text
    tokens: Any = request.tokens
    if isinstance(text, str):
        object.__setattr__(request, "text", Path(text))
    elif text is not None and not isinstance(text, Path):
        raise WrongType(f"`text` {type(text).__name__}, expected the path of a UTF-8 file, such as 'calibration.txt'")
    if isinstance(tokens, str):
        object.__setattr__(request, "tokens", Path(tokens))
    elif tokens is not None and not isinstance(tokens, Path | Tokens):
        object.__setattr__(request, "tokens", tokens_of(tokens))


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """The source of calibration tokens; without either file, the tokens of the embedded model.

    Attributes
    ----------
    text : a UTF-8 file, tokenized with the model's tokenizer
    tokens : a .npy or .safetensors file of ids, used whole; or ids in memory
    sequences, length : windows taken of a text; None for 128, and for the model's longest, at most 2048
    """

    text: Path | None = None
    tokens: Path | Tokens | None = None
    sequences: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        _check_files(self)
        if self.text is not None and self.tokens is not None:
            raise UsageError("`text` and `tokens`: got both, expected one source of calibration data")
        if self.text is None and (self.sequences is not None or self.length is not None):
            raise UsageError("`sequences` and `length` cut a text; got them without `text`; token files are used whole")
        if min(self.sequences or 1, self.length or 1) < 1 or 0 in (self.sequences, self.length):
            raise UsageError(f"`sequences` {self.sequences} and `length` {self.length}: expected at least 1 of each")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """The source of held-out tokens; without either file, those of the embedded model, and none for another model.

    Attributes
    ----------
    text : a UTF-8 file, of which EVALUATION_SEQUENCES windows as long as those of the calibration are taken
    tokens : a .npy or .safetensors file of ids, used whole; or ids in memory
    """

    text: Path | None = None
    tokens: Path | Tokens | None = None

    def __post_init__(self) -> None:
        _check_files(self)
        if self.text is not None and self.tokens is not None:
            raise UsageError("`evaluation_text` and `evaluation_tokens`: got both, expected one source of held-out data")


def read_tokens(
    request: CalibrationRequest, evaluation: EvaluationRequest | None, checkpoint: Checkpoint, *, trust_remote_code: bool
) -> tuple[Tokens, Tokens | None]:
    """Calibration tokens, and held-out ones if they are asked for and there are any."""

    def read(text: Path | None, ids: Path | Tokens | None, sequences: int, prefix: str = "") -> Tokens | None:
        if ids is None and text is None:
            return None
        from rdtools.model.pretrained import load_tokenizer, model_limits  # loads transformers

        limits = model_limits(checkpoint, trust_remote_code=trust_remote_code)
        if ids is not None:
            tokens = load_tokens(ids, prefix=prefix) if isinstance(ids, Path) else ids
        elif text is not None:
            length = request.length or min(limits.longest or 2048, 2048)
            tokenizer = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code, prefix=prefix)
            tokens = tokenize_text(text, tokenizer, sequences=sequences, length=length, prefix=prefix)
        check_tokens(tokens, vocabulary=limits.vocabulary, longest=limits.longest)
        return tokens

    embedded = checkpoint.name == EMBEDDED
    tokens = read(request.text, request.tokens, request.sequences or 128) or (embedded_tokens("calibration") if embedded else None)
    if tokens is None:
        raise UsageError(
            f"{checkpoint.name}: no calibration data; give a file as `text` or `tokens` (the embedded tokens fit the embedded model only)"
        )
    if evaluation is None:
        return tokens, None
    heldout = read(evaluation.text, evaluation.tokens, EVALUATION_SEQUENCES, "evaluation_")
    if heldout is None and embedded:
        every = embedded_tokens("evaluation")
        some = slice(None, None, max(1, len(every.ids) // EVALUATION_SEQUENCES))
        heldout = replace(every, ids=every.ids[some], mask=every.mask[some])
    return tokens, heldout


def check_held_out(heldout: Tokens, tokens: Tokens, say: Callable[[str], None]) -> None:
    """Refuse evaluation sequences that all are calibration sequences too, and say if some are."""
    shared = repeated_sequences(heldout, tokens)
    if shared == len(heldout.ids):
        raise UsageError(
            f"{heldout.source}: all {shared} evaluation sequences are among the calibration sequences of {tokens.source}, so that nothing "
            "is held out; expected other text; give another file as `evaluation_text` or `evaluation_tokens`"
        )
    if shared:
        say(f"{heldout.source}: {shared} of {len(heldout.ids)} evaluation sequences are calibration sequences too: they are not held out")


def padding_notes(tokens: Tokens) -> list[str]:
    """A sentence on ids that are left out as padding; none where none are."""
    left_out = int((~tokens.mask).sum())
    return (
        [f"{tokens.source}: {left_out} of {tokens.mask.size} token ids are padding ({tokens.padding_from}) and left out"]
        if left_out
        else []
    )


def calibration_entry(tokens: Tokens, **others: Any) -> CalibrationEntry:
    """Tokens as the manifest has them.

    Parameters
    ----------
    tokens : that ran through the model
    others : further fields, on how they did
    """
    from rdtools.runs.run_manifest import CalibrationEntry

    return CalibrationEntry(
        source=tokens.source,
        sequences=tokens.ids.shape[0],
        length=tokens.ids.shape[1],
        padding=int((~tokens.mask).sum()),
        padding_from=tokens.padding_from,
        token_sha256=tokens.sha256,
        **others,
    )
