"""Writing a run: Hessians one at a time, each durable when it is finished, and the manifest last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.records import Hessian
from rdtools.runs.array_files import write_arrays
from rdtools.runs.finished import Fingerprint, FinishedHessians
from rdtools.runs.packing import pack
from rdtools.runs.run_manifest import (
    CAPTURE_VERSION,
    CONVENTIONS,
    HESSIANS,
    CalibrationEntry,
    HeldoutEntry,
    HessianEntry,
    LayerEntry,
    Manifest,
    ModelEntry,
    read_manifest,
    write_manifest,
)
from rdtools.runs.store import Run, open_run


class RunWriter:
    """Writes a run: Hessians as they are finished, the manifest last. One that was interrupted goes on with those it finished.

    Parameters
    ----------
    path : the run directory
    fingerprint : what is captured, and with what
    folder : of the files, "hessians" or "heldout"
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, *, folder: str = HESSIANS) -> None:
        self._path = path
        self._folder = folder
        self._finished = FinishedHessians(path, fingerprint, folder=folder)

    def _file_of(self, index: int) -> str:
        return f"{self._folder}/{index:04d}.safetensors"

    def has(self, name: str, index: int) -> bool:
        """True if the Hessian of this input is on disk already, under this number."""
        entry = self._finished.entries.get(name)
        return entry is not None and entry.file == self._file_of(index)

    def add(self, hessian: Hessian, index: int) -> None:
        """Write the Hessian of this number; on return it is durable."""
        file = self._file_of(index)
        beside = {name: getattr(hessian, name) for name in ("mean", "output_variances", "output_means")}
        arrays = {"packed": pack(hessian.matrix), **{name: array for name, array in beside.items() if array is not None}}
        self._finished.begin()
        written = write_arrays(self._path / file, arrays)
        self._finished.add(
            HessianEntry(
                name=hessian.name,
                file=file,
                columns=len(hessian.matrix),
                n_tokens=hessian.n_tokens,
                dropped_tokens=hessian.dropped_tokens,
                distinct_tokens=hessian.distinct_tokens,
                origin=hessian.origin,
                diagonal=hessian.diagonal,
                bytes=written.bytes,
                sha256=written.sha256,
            )
        )

    def keep(self, entries: Sequence[HessianEntry]) -> None:
        """Note those Hessians of a finished run whose files are there; the others are to be added."""
        self._finished.begin()
        for entry in entries:
            if (self._path / entry.file).is_file():
                self._finished.add(entry)

    def restored(self, entries: Sequence[HessianEntry]) -> list[HessianEntry]:
        """The entries of a finished run, once those that were missing are added."""
        self._finished.remove()
        return [self._finished.entries[entry.name] for entry in entries]

    def finish(
        self,
        checkpoint: Checkpoint,
        groups: Mapping[str, Sequence[CapturedLayer]],
        *,
        model: ModelEntry,
        calibration: CalibrationEntry,
        versions: dict[str, str],
    ) -> Run:
        """Write the manifest and open the run.

        Parameters
        ----------
        groups : name of each Hessian → layers that share it, in the order of their numbers
        """
        layers = [LayerEntry.of(layer, index) for index, group in enumerate(groups.values()) for layer in group]
        manifest = Manifest(
            capture=CAPTURE_VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            conventions=CONVENTIONS,
            versions=versions,
            model=model,
            calibration=calibration,
            hessians=[self._finished.entries[name] for name in groups],
            layers=layers,
        )
        write_manifest(self._path, manifest)
        self._finished.remove()
        return open_run(self._path, checkpoint=checkpoint)

    def finish_heldout(self, run: Run, tokens: CalibrationEntry) -> Run:
        """Add the held-out moments of every input of a run to its manifest, and open it again."""
        entry = HeldoutEntry(tokens=tokens, hessians=[self._finished.entries[hessian.name] for hessian in run.hessians])
        write_manifest(self._path, run.manifest.model_copy(update={"heldout": entry}))
        self._finished.remove()
        return Run(self._path, read_manifest(self._path), checkpoint=run.checkpoint(), notes=run.notes)
