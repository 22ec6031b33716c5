"""From a model and calibration data to a run directory."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest, calibration_entry, check_held_out, padding_notes, read_tokens
from rdtools.jobs.progress import log_sentence
from rdtools.machine import check_disk, check_memory
from rdtools.model.checkpoint import Checkpoint, find_model
from rdtools.model.repetition import sampling_notes
from rdtools.model.tokens import Tokens
from rdtools.runs.finished import FINISHED, LIST, Fingerprint, check_run_directory, different
from rdtools.runs.run_manifest import (
    CAPTURE_VERSION,
    HELDOUT,
    IMPORTED,
    MERGED,
    CalibrationEntry,
    HessianEntry,
    ModelEntry,
    describe_model,
    fingerprint,
    is_run,
    reuse_notes,
    write_manifest,
)
from rdtools.runs.store import Run, open_run
from rdtools.runs.writer import RunWriter

if TYPE_CHECKING:
    from rdtools.model.opened import OpenModel  # which loads torch

Progress = Callable[[int, int], None]


def collect(
    source: str,
    request: CalibrationRequest,
    *,
    out: Path,
    evaluation: EvaluationRequest | None = None,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    fresh: bool = False,
    say: Callable[[str], None] = log_sentence,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Capture every Hessian of a model into a run directory, or open the run that is there if it is the same.

    Every Hessian is durable once it is finished. A capture that fails or is interrupted keeps those, and the same call computes the
    others; the finished run is the same as if nothing had happened. A run that is there already is used again even if it was captured
    on another device or with other libraries; `Run.notes` then says so. Files of it that are missing are captured again. Held-out
    moments are captured after the Hessians, in the same way, and are added to a run that has none.

    Parameters
    ----------
    source : "embedded", a local directory or a hub id
    request : calibration data
    out : run directory, new, empty or holding the same run, finished or not
    evaluation : held-out data; None for none, or for those that the run has
    trust_remote_code : run code that comes with the model; off unless asked for, and kept in the manifest
    device : torch device for the forward passes
    head : analyse the output head, too
    fresh : replace held-out moments of other evaluation tokens, rather than refuse
    say : called with sentences about the data, before anything is captured
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    UsageError
        If `out` holds something else, a run of another model or calibration, or the beginning of one with another device or other
        versions (the message names the difference).
    ModelUnreadable, CorruptFile, BadTokens, BadActivations, OutputError, ServiceUnavailable
    """
    check_run_directory(out)
    checkpoint = find_model(source, with_code=trust_remote_code)
    if is_run(out) and (kept := _without_tokens(out, checkpoint, request, evaluation)) is not None:
        return kept
    tokens, heldout = read_tokens(request, evaluation, checkpoint, trust_remote_code=trust_remote_code)
    if heldout is not None:
        check_held_out(heldout, tokens, say)
    job = _Capture(
        out=out,
        checkpoint=checkpoint,
        model=describe_model(checkpoint, source=source).model_copy(update={"head_analysed": head}),
        tokens=tokens,
        trust_remote_code=trust_remote_code,
        device=device,
        fresh=fresh,
        say=say,
        progress=progress,
    )
    _say_all([*checkpoint.notes, *(note for of in (tokens, heldout) if of is not None for note in padding_notes(of))], say)
    run = job.reused(heldout) if is_run(out) else job.captured()
    return run if heldout is None or run.manifest.heldout is not None else job.with_heldout(run, heldout)


def _without_tokens(out: Path, checkpoint: Checkpoint, request: CalibrationRequest, evaluation: EvaluationRequest | None) -> Run | None:
    """The run that is there, if its Hessians were imported or merged, so that it has no tokens to compare; else None.

    Raises
    ------
    UsageError
        If calibration data are given for it, or it is of another model.
    """
    run = open_run(out, checkpoint=checkpoint)
    runner = run.manifest.calibration.runner
    if runner not in (IMPORTED, MERGED):
        return None
    if request != CalibrationRequest() or evaluation not in (None, EvaluationRequest()):
        raise UsageError(
            f"{out}: its Hessians are {runner}, not captured; give neither `text` nor `tokens` nor held-out data, or another directory"
        )
    files = {name: entry.sha256 for name, entry in describe_model(checkpoint, source=run.manifest.model.source).files.items()}
    if files != {name: entry.sha256 for name, entry in run.manifest.model.files.items()}:
        raise UsageError(
            f"{out}: holds {runner} Hessians of another model, {run.model_name}; give that one as `model`, or another directory"
        )
    first = run.hessians[0]
    note = f"Hessians {runner}: {run.manifest.calibration.source}"
    if first.diagonal:
        note += (
            "; of each, the diagonal alone is known: D and R(D) leave correlations of inputs out, and feedback of errors has none to use"
        )
    return Run(out, run.manifest, checkpoint=checkpoint, notes=(note,))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Capture:
    """A model, its calibration tokens, and the run directory that second moments go to; arguments as of `collect`."""

    out: Path
    checkpoint: Checkpoint
    model: ModelEntry
    tokens: Tokens
    trust_remote_code: bool
    device: str
    fresh: bool
    say: Callable[[str], None]
    progress: Progress

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of the libraries that run the model."""
        from rdtools.model.versions import versions

        return versions()

    @cached_property
    def calibration(self) -> CalibrationEntry:
        """The calibration tokens in the manifest."""
        return self.described(self.tokens)

    @cached_property
    def identity(self) -> Fingerprint:
        """Everything that a run must agree in to be this one."""
        return fingerprint(self.model, self.calibration, capture=CAPTURE_VERSION)

    @property
    def libraries(self) -> Fingerprint:
        """What Hessians must agree in, too, to be finished ones of an unfinished capture."""
        return {"device": self.device, **{f"version of {name}": version for name, version in self.versions.items()}}

    @cached_property
    def opened(self) -> OpenModel:
        """The model and its layers; loaded only where something is to be captured."""
        from rdtools.model.opened import open_model

        return open_model(
            self.checkpoint,
            trust_remote_code=self.trust_remote_code,
            device=self.device,
            head=self.model.head_analysed,
            say=self.say,
        )

    def described(self, of: Tokens) -> CalibrationEntry:
        """Tokens in the manifest."""
        return calibration_entry(of, trust_remote_code=self.trust_remote_code, device=self.device)

    def writer(self) -> RunWriter:
        """The writer of the Hessians; it goes on with those of an unfinished capture."""
        return RunWriter(self.out, {**self.identity, **self.libraries})

    def heldout_writer(self, heldout: Tokens) -> RunWriter:
        """The writer of the held-out moments; it goes on with those of an unfinished capture."""
        identity = {"evaluation tokens" if name == "calibration tokens" else name: value for name, value in self.identity.items()}
        return RunWriter(self.out, {**identity, "evaluation tokens": heldout.sha256, **self.libraries}, folder=HELDOUT)

    def fill(self, writer: RunWriter, of: Tokens, names: Sequence[str], before: int) -> None:
        """Capture the inputs that are missing, numbered as their names are; `before` tokens have been read."""
        from rdtools.model.capture import capture
        from rdtools.model.footprint import capture_bytes

        opened, number = self.opened, {name: index for index, name in enumerate(names)}
        missing = [shared for shared in opened.layers.inputs if not writer.has(shared.name, number[shared.name])]
        check_disk(self.out, sum(4 * shared.columns * (shared.columns + 1) for shared in missing), f"{len(missing)} Hessians")
        if missing and self.device == "cpu":
            check_memory(capture_bytes(opened, of), f"a capture of {int(of.mask.sum())} tokens")
        for shared, hessian in capture(
            opened.model,
            missing,
            of,
            stages=opened.stages,
            folder=self.out,
            progress=lambda done, total: self.progress(before + done, before + total),
        ):
            writer.add(hessian, number[shared.name])
            del hessian

    def reused(self, heldout: Tokens | None) -> Run:
        """The run that is there, if it is this one, under the name and place that the model has now."""
        run = open_run(self.out, checkpoint=self.checkpoint)
        before, held = fingerprint(run.manifest.model, run.manifest.calibration, capture=run.manifest.capture), run.manifest.heldout
        names = different(before, self.identity)
        if names:
            remedy = _remedy(self.out, names, head=self.model.head_analysed)
            raise UsageError(f"{self.out}: holds a run with other {' and '.join(names)}; {remedy}")
        if heldout is not None and held is not None and held.tokens.token_sha256 != heldout.sha256:
            place = self.out / HELDOUT
            if not self.fresh:
                raise UsageError(
                    f"{self.out}: holds held-out moments of other evaluation tokens in {place}; a report with `fresh` replaces them and "
                    "starts its table over; or choose another directory"
                )
            run, held = self.without_heldout(run), None
        for left in [self.out / FINISHED, *([self.out / HELDOUT / LIST] if held is not None else [])]:
            left.unlink(missing_ok=True)  # by a process that was killed just after it wrote the manifest
        moved = {name: getattr(self.model, name) for name in ("name", "source", "directory", "files")}
        update: dict[str, object] = {"model": run.manifest.model.model_copy(update=moved)}
        update["hessians"] = self.restored(run, run.manifest.hessians, self.tokens, self.writer())
        if heldout is not None and held is not None:
            update["heldout"] = held.model_copy(
                update={"hessians": self.restored(run, held.hessians, heldout, self.heldout_writer(heldout))}
            )
        manifest = run.manifest.model_copy(update=update)
        if manifest != run.manifest:
            write_manifest(self.out, manifest)
        _say_all(sampling_notes(self.tokens, [entry.columns for entry in run.hessians]), self.say)
        notes = reuse_notes(run.manifest, device=self.device, versions=self.versions)
        return Run(self.out, manifest, checkpoint=self.checkpoint, notes=notes)

    def restored(self, run: Run, entries: list[HessianEntry], of: Tokens, writer: RunWriter) -> list[HessianEntry]:
        """Entries of a finished run, whose files are captured again where they are missing.

        Raises
        ------
        UsageError
            If a file is missing, and this capture is on another device or with other libraries.
        """
        missing = [str(self.out / entry.file) for entry in entries if not (self.out / entry.file).is_file()]
        if not missing:
            return entries
        others, listed = (f" and {len(missing) - 1} more", "them") if missing[1:] else ("", "it")
        shown = f"{missing[0]}{others}: missing, though the manifest lists {listed}"
        other = reuse_notes(run.manifest, device=self.device, versions=self.versions)
        if other:
            raise UsageError(f"{shown}; {other[0]}: copy the file again, or choose another directory")
        self.say(f"{shown}; captured again")
        writer.keep(entries)
        self.fill(writer, of, [entry.name for entry in entries], 0)
        return writer.restored(entries)

    def without_heldout(self, run: Run) -> Run:
        """The run without its held-out moments, whose files are deleted."""
        manifest = run.manifest.model_copy(update={"heldout": None})
        write_manifest(self.out, manifest)
        for path in (self.out / HELDOUT).iterdir():
            path.unlink()
        return open_run(self.out, checkpoint=self.checkpoint)

    def captured(self) -> Run:
        """A new run, or one that was begun, with all Hessians."""
        from rdtools.model.inputs import check_weights

        writer = self.writer()
        opened, found = self.opened, self.opened.layers
        for shared in opened.loaded_inputs():
            check_weights(opened.model, self.checkpoint, shared)
        _say_all(sampling_notes(self.tokens, [shared.columns for shared in found.inputs]), self.say)
        self.fill(writer, self.tokens, [shared.name for shared in found.inputs], 0)
        sizes = {name: getattr(found, name) for name in ("parameters", "analysed", "head", "head_parameters")}
        return writer.finish(
            self.checkpoint,
            {shared.name: shared.layers for shared in found.inputs},
            model=self.model.model_copy(update={**sizes, "uncovered": list(found.uncovered)}),
            calibration=self.calibration.model_copy(update={"runner": opened.runner}),
            versions=self.versions,
        )

    def with_heldout(self, run: Run, heldout: Tokens) -> Run:
        """The run with held-out moments beside its Hessians."""
        writer = self.heldout_writer(heldout)
        self.fill(writer, heldout, [entry.name for entry in run.hessians], int(self.tokens.mask.sum()))
        return writer.finish_heldout(run, self.described(heldout).model_copy(update={"runner": self.opened.runner}))


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
