"""From a model and calibration data to a run directory."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rdtools.errors import UsageError
from rdtools.files import LOCK, PART, RUN_NAMES
from rdtools.machine import check_disk, check_memory
from rdtools.model.checkpoint import EMBEDDED, Checkpoint, find_model
from rdtools.model.repetition import repeated_sequences, sampling_notes
from rdtools.model.tokens import Tokens, check_tokens, embedded_tokens, load_tokens, tokenize_text
from rdtools.runs.finished import FINISHED, LIST, different
from rdtools.runs.run_manifest import (
    CAPTURE_VERSION,
    HELDOUT,
    CalibrationEntry,
    describe_model,
    fingerprint,
    is_run,
    reuse_notes,
    write_manifest,
)
from rdtools.runs.store import Run, open_run
from rdtools.runs.writer import RunWriter

Progress = Callable[[int, int], None]
#: Windows of a text, or sequences of the embedded tokens, that held-out moments are taken over: enough for a mean that has seen no fit.
EVALUATION_SEQUENCES = 32


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """The source of calibration tokens; without either file, the tokens of the embedded model.

    Attributes
    ----------
    text : a UTF-8 file, tokenized with the model's tokenizer
    tokens : a .npy or .safetensors file of ids, used whole
    sequences, length : windows taken of a text; None for 128, and for the model's longest, at most 2048
    """

    text: Path | None = None
    tokens: Path | None = None
    sequences: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
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
    tokens : a .npy or .safetensors file of ids, used whole
    """

    text: Path | None = None
    tokens: Path | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise UsageError("`evaluation_text` and `evaluation_tokens`: got both, expected one source of held-out data")


def check_run_directory(out: Path) -> None:
    """Refuse a place that holds something else than a run: finished, begun by `collect`, or with parts deleted.

    Raises
    ------
    UsageError
    """
    if is_run(out) or not out.exists():
        return
    if out.is_dir():
        names = {path.name for path in out.iterdir() if not path.name.endswith(PART)}
        begun = LOCK in names or (out / FINISHED).is_file()
        if not names or (begun and names <= RUN_NAMES):
            return
    raise UsageError(f"{out}: exists and is not a run of rdtools; choose another directory")


def _tokens(
    request: CalibrationRequest, evaluation: EvaluationRequest | None, checkpoint: Checkpoint, *, trust_remote_code: bool
) -> tuple[Tokens, Tokens | None]:
    """Calibration tokens, and held-out ones if they are asked for and there are any."""
    from rdtools.model.pretrained import load_tokenizer, model_limits

    limits = model_limits(checkpoint, trust_remote_code=trust_remote_code)
    length = request.length or min(limits.longest or 2048, 2048)

    def read(text: Path | None, ids: Path | None, sequences: int, prefix: str = "") -> Tokens | None:
        if ids is not None:
            tokens = load_tokens(ids, prefix=prefix)
        elif text is not None:
            tokenizer = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code, prefix=prefix)
            tokens = tokenize_text(text, tokenizer, sequences=sequences, length=length, prefix=prefix)
        else:
            return None
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
        whole = embedded_tokens("evaluation")
        some = slice(None, None, max(1, len(whole.ids) // EVALUATION_SEQUENCES))
        heldout = replace(whole, ids=whole.ids[some], mask=whole.mask[some])
    return tokens, heldout


def _check_held_out(heldout: Tokens, tokens: Tokens, say: Callable[[str], None]) -> None:
    """Refuse evaluation sequences that all are calibration sequences too, and say if some are."""
    shared = repeated_sequences(heldout, tokens)
    if shared == len(heldout.ids):
        raise UsageError(
            f"{heldout.source}: all {shared} evaluation sequences are among the calibration sequences of {tokens.source}, so that nothing "
            "is held out; expected other text; give another file as `evaluation_text` or `evaluation_tokens`"
        )
    if shared:
        say(f"{heldout.source}: {shared} of {len(heldout.ids)} evaluation sequences are calibration sequences too: they are not held out")


def collect(
    source: str,
    request: CalibrationRequest,
    *,
    out: Path,
    evaluation: EvaluationRequest | None = None,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Capture every Hessian of a model into a run directory, or open the run that is there if it is the same.

    Every Hessian is durable once it is finished. A capture that fails or is interrupted keeps those, and the same call computes the
    others; the finished run is the same as if nothing had happened. A run that is there already is used again even if it was captured
    on another device or with other libraries; `Run.notes` then says so. Held-out moments are captured after the Hessians, in the same
    way, and are added to a run that has none.

    Parameters
    ----------
    source : "embedded", a local directory or a hub id
    request : calibration data
    out : run directory, new, empty or holding the same run, finished or not
    evaluation : held-out data; None for none, or for those that the run has
    trust_remote_code : run code that comes with the model; off unless asked for, and kept in the manifest
    device : torch device for the forward passes
    head : analyse the output head, too
    say : called with sentences about the data, before anything is captured
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    UsageError
        If `out` holds something else, a run of another model or calibration, or the beginning of one with another device or other
        versions (the message names the difference).
    ModelUnreadable, CorruptFile, BadTokens, BadActivations, OutputError, ServiceUnavailable
    """
    from rdtools.model.pretrained import load_model, versions

    check_run_directory(out)
    checkpoint = find_model(source, with_code=trust_remote_code)
    tokens, heldout = _tokens(request, evaluation, checkpoint, trust_remote_code=trust_remote_code)
    if heldout is not None:
        _check_held_out(heldout, tokens, say)
    model_entry = describe_model(checkpoint, source=source).model_copy(update={"head_analysed": head})
    now = versions()
    libraries = {"device": device, **{f"version of {name}": version for name, version in now.items()}}

    def described(of: Tokens) -> CalibrationEntry:
        return CalibrationEntry(
            source=of.source,
            sequences=of.ids.shape[0],
            length=of.ids.shape[1],
            padding=int((~of.mask).sum()),
            padding_from=of.padding_from,
            token_sha256=of.sha256,
            trust_remote_code=trust_remote_code,
            device=device,
        )

    @functools.cache
    def loaded() -> tuple[Any, Any]:
        from rdtools.model.inputs import find_layers

        model = load_model(checkpoint, trust_remote_code=trust_remote_code, device=device, say=say)
        return model, find_layers(model, checkpoint, head=head)

    def fill(writer: RunWriter, of: Tokens, number: dict[str, int], before: int) -> None:
        """Capture the inputs that are missing."""
        from rdtools.model.capture import capture

        model, found = loaded()
        missing = [shared for shared in found.inputs if not writer.has(shared.name, number[shared.name])]
        check_disk(out, sum(4 * shared.columns * (shared.columns + 1) for shared in missing), f"{len(missing)} Hessians")
        widest = max((shared.columns for shared in missing), default=0)
        check_memory(3 * 8 * widest**2, f"capture of a Hessian of {widest} columns")  # sum, mean, and the file
        for shared, hessian in capture(model, missing, of, progress=lambda done, total: progress(before + done, before + total)):
            writer.add(hessian, number[shared.name])

    _say_all(list(checkpoint.notes), say)
    for of in (tokens, heldout):
        if of is not None and not of.mask.all():
            say(f"{of.source}: {int((~of.mask).sum())} of {of.mask.size} token ids are padding ({of.padding_from}) and left out")
    calibration = described(tokens)
    identity = fingerprint(model_entry, calibration, capture=CAPTURE_VERSION)
    if is_run(out):
        run = open_run(out, checkpoint=checkpoint)
        names = different(fingerprint(run.manifest.model, run.manifest.calibration, capture=run.manifest.capture), identity)
        if names:
            raise UsageError(f"{out}: holds a run with other {' and '.join(names)}; {_remedy(out, names, head=head)}")
        if heldout is not None and run.manifest.heldout is not None and run.manifest.heldout.tokens.token_sha256 != heldout.sha256:
            raise UsageError(f"{out}: holds held-out moments of other evaluation tokens in {out / HELDOUT}; choose another directory")
        lists = [out / FINISHED] + ([out / HELDOUT / LIST] if run.manifest.heldout is not None else [])
        for place in lists:
            place.unlink(missing_ok=True)  # left by a process that was killed just after it wrote the manifest
        moved = {name: getattr(model_entry, name) for name in ("name", "source", "directory", "files")}
        manifest = run.manifest.model_copy(update={"model": run.manifest.model.model_copy(update=moved)})
        if manifest != run.manifest:
            write_manifest(out, manifest)
        run = Run(out, manifest, checkpoint=checkpoint, notes=reuse_notes(run.manifest, device=device, versions=now))
        _say_all(sampling_notes(tokens, [entry.columns for entry in run.hessians]), say)
    else:
        from rdtools.model.inputs import check_weights

        writer = RunWriter(out, {**identity, **libraries})
        model, found = loaded()
        for shared in found.inputs:
            check_weights(model, checkpoint, shared)
        _say_all(sampling_notes(tokens, [shared.columns for shared in found.inputs]), say)
        fill(writer, tokens, {shared.name: index for index, shared in enumerate(found.inputs)}, 0)
        sizes = {
            "uncovered": list(found.uncovered),
            "parameters": found.parameters,
            "analysed": found.analysed,
            "head": found.head,
            "head_parameters": found.head_parameters,
        }
        run = writer.finish(
            checkpoint,
            {shared.name: shared.layers for shared in found.inputs},
            model=model_entry.model_copy(update=sizes),
            calibration=calibration,
            versions=now,
        )
    if heldout is None or run.manifest.heldout is not None:
        return run
    identity = {"evaluation tokens" if name == "calibration tokens" else name: value for name, value in identity.items()}
    identity["evaluation tokens"] = heldout.sha256
    writer = RunWriter(out, {**identity, **libraries}, folder=HELDOUT)
    fill(writer, heldout, {entry.name: index for index, entry in enumerate(run.hessians)}, int(tokens.mask.sum()))
    return writer.finish_heldout(run, described(heldout))


def _remedy(out: Path, names: list[str], *, head: bool) -> str:
    """Advice about a run that was captured otherwise."""
    if "rules of capture" in names:
        new = shlex.quote(f"{out}-new")
        return f"an earlier rdtools captured it; it can still be read; give the same command another directory, such as {new}"
    if names == ["`head`"]:
        return f"{'leave `head` out' if head else 'give `head` too (--head)'}, or choose another directory"
    return "choose another directory, or delete this one"


def _say_all(sentences: list[str], say: Callable[[str], None]) -> None:
    for sentence in sentences:
        say(sentence)
