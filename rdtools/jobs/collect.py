"""From a model and calibration data to a run directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rdtools.errors import UsageError
from rdtools.files import LOCK, PART, RUN_NAMES
from rdtools.model.checkpoint import EMBEDDED, Checkpoint, find_model
from rdtools.model.tokens import Tokens, check_tokens, embedded_tokens, load_tokens, tokenize_text
from rdtools.runs.finished import FINISHED, different
from rdtools.runs.run_manifest import CalibrationEntry, describe_model, fingerprint, is_run, reuse_notes, write_manifest
from rdtools.runs.store import Run, RunWriter, open_run

Progress = Callable[[int, int], None]


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


def _calibration(request: CalibrationRequest, checkpoint: Checkpoint, *, trust_remote_code: bool) -> Tokens:
    from rdtools.model.pretrained import load_tokenizer, model_limits

    limits = model_limits(checkpoint, trust_remote_code=trust_remote_code)
    if request.tokens is not None:
        tokens = load_tokens(request.tokens)
    elif request.text is not None:
        length = request.length or min(limits.longest or 2048, 2048)
        tokenizer = load_tokenizer(checkpoint, trust_remote_code=trust_remote_code)
        tokens = tokenize_text(request.text, tokenizer, sequences=request.sequences or 128, length=length)
    elif checkpoint.name == EMBEDDED:
        tokens = embedded_tokens("calibration")
    else:
        raise UsageError(
            f"{checkpoint.name}: no calibration data; give a file as `text` or `tokens` (the embedded tokens fit the embedded model only)"
        )
    check_tokens(tokens, vocabulary=limits.vocabulary, longest=limits.longest)
    return tokens


def collect(
    source: str,
    request: CalibrationRequest,
    *,
    out: Path,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Capture every Hessian of a model into a run directory, or open the run that is there if it is the same.

    Every Hessian is durable once it is finished. A capture that fails or is interrupted keeps those, and the same call computes the
    others; the finished run is the same as if nothing had happened. A run that is there already is used again even if it was captured
    on another device or with other libraries; `Run.notes` then says so.

    Parameters
    ----------
    source : "embedded", a local directory or a hub id
    request : calibration data
    out : run directory, new, empty or holding the same run, finished or not
    trust_remote_code : run code that comes with the model; off unless asked for, and kept in the manifest
    device : torch device for the forward passes
    head : analyse the output head, too
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
    tokens = _calibration(request, checkpoint, trust_remote_code=trust_remote_code)
    model_entry = describe_model(checkpoint, source=source).model_copy(update={"head_analysed": head})
    calibration = CalibrationEntry(
        source=tokens.source,
        sequences=tokens.ids.shape[0],
        length=tokens.ids.shape[1],
        padding=int((~tokens.mask).sum()),
        padding_from=tokens.padding_from,
        token_sha256=tokens.sha256,
        trust_remote_code=trust_remote_code,
        device=device,
    )
    identity = fingerprint(model_entry, calibration)
    said = list(checkpoint.notes)
    said += [f"{calibration.padding} of {tokens.mask.size} token ids are padding ({tokens.padding_from}) and left out"] * bool(
        calibration.padding
    )
    if is_run(out):
        run = open_run(out, checkpoint=checkpoint)
        names = different(fingerprint(run.manifest.model, run.manifest.calibration), identity)
        if names:
            raise UsageError(f"{out}: holds a run with other {' and '.join(names)}; choose another directory, or delete this one")
        (out / FINISHED).unlink(missing_ok=True)  # left by a process that was killed just after it wrote the manifest
        place = {name: getattr(model_entry, name) for name in ("name", "source", "directory", "files")}
        moved = run.manifest.model.model_copy(update=place)
        notes = said + reuse_notes(run.manifest, device=device, versions=versions())
        manifest = run.manifest.model_copy(update={"model": moved})
        if manifest != run.manifest:
            write_manifest(out, manifest)
        return Run(out, manifest, checkpoint=checkpoint, notes=notes)

    from rdtools.model.capture import capture
    from rdtools.model.inputs import check_weights, find_layers

    now = versions()
    writer = RunWriter(out, {**identity, "device": device, **{f"version of {name}": version for name, version in now.items()}})
    model = load_model(checkpoint, trust_remote_code=trust_remote_code, device=device, say=said.append)
    found = find_layers(model, checkpoint, head=head)
    for shared in found.inputs:
        check_weights(model, checkpoint, shared)
    number = {shared.name: index for index, shared in enumerate(found.inputs)}
    missing = [shared for shared in found.inputs if not writer.has(shared.name, number[shared.name])]
    for shared, hessian in capture(model, missing, tokens, progress=progress):
        writer.add(hessian, number[shared.name])
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
    return Run(out, run.manifest, checkpoint=checkpoint, notes=said)
