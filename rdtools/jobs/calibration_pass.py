"""The calibration pass of a run: every Hessian once, and those that are missing again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rdtools.errors import UsageError
from rdtools.jobs.calibration import calibration_entry
from rdtools.machine import check_disk, check_memory
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.repetition import sampling_notes
from rdtools.model.tokens import Tokens
from rdtools.runs.finished import FINISHED, LIST, Fingerprint, different
from rdtools.runs.run_manifest import (
    CAPTURE_VERSION,
    HELDOUT,
    CalibrationEntry,
    HessianEntry,
    ModelEntry,
    fingerprint,
    reuse_notes,
    write_manifest,
)
from rdtools.runs.store import Run, open_run
from rdtools.runs.writer import RunWriter

if TYPE_CHECKING:
    from rdtools.model.opened import OpenModel  # which loads torch

#: Called with (tokens done, tokens in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationPass:
    """A model, its calibration tokens, and the run directory that second moments go to; arguments as of `rdtools.jobs.collect.collect`."""

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
        """Facts that Hessians must share to be finished ones of an unfinished capture."""
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

    def _note_sampling(self, columns: list[int]) -> None:
        """Say how the number of tokens compares with widths of inputs."""
        for sentence in sampling_notes(self.tokens, columns):
            self.say(sentence)

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
            folder = self.out / HELDOUT
            if not self.fresh:
                raise UsageError(
                    f"{self.out}: holds held-out moments of other evaluation tokens in {folder}; a report with `fresh` replaces them and "
                    "starts its table over; or choose another directory"
                )
            run, held = self.without_heldout(run), None
        for stale in [self.out / FINISHED, *([self.out / HELDOUT / LIST] if held is not None else [])]:
            stale.unlink(missing_ok=True)  # by a process that was killed just after it wrote the manifest
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
        self._note_sampling([entry.columns for entry in run.hessians])
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
        opened, layers = self.opened, self.opened.layers
        for shared in opened.loaded_inputs():
            check_weights(opened.model, self.checkpoint, shared)
        self._note_sampling([shared.columns for shared in layers.inputs])
        self.fill(writer, self.tokens, [shared.name for shared in layers.inputs], 0)
        sizes = {name: getattr(layers, name) for name in ("parameters", "analysed", "head", "head_parameters")}
        return writer.finish(
            self.checkpoint,
            {shared.name: shared.layers for shared in layers.inputs},
            model=self.model.model_copy(update={**sizes, "uncovered": list(layers.uncovered)}),
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
