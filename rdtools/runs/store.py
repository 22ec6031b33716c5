"""The run directory: Hessians and a manifest, read one layer at a time.

    manifest.json              conventions, model, calibration, versions, and size and SHA-256 of every file
    .lock                      held while a process writes
    hessians/finished.jsonl    the Hessians of a capture that is not finished
    hessians/0000.safetensors  "packed": lower triangle of E[x xᵀ] by rows, n(n+1)/2 float64;
                               of an output head also "output_variances": E[p(1 − p)]

Weights are not copied: they are read from the model's own files, whose hashes the manifest holds. The manifest is written last, so
a directory without one is no run.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from rdtools.errors import CorruptFile, ModelUnreadable, UsageError
from rdtools.files import check_file, write_atomically
from rdtools.linalg import check_moment, check_weight
from rdtools.model.checkpoint import EMBEDDED, Checkpoint, find_model, open_checkpoint
from rdtools.model.layer_names import CapturedLayer, block_index, layer_type
from rdtools.moments.layer import Layer
from rdtools.records import Hessian, LayerKey
from rdtools.runs.finished import Fingerprint, FinishedHessians
from rdtools.runs.packing import pack, unpack
from rdtools.runs.run_manifest import (
    CONVENTIONS,
    CalibrationEntry,
    HessianEntry,
    LayerEntry,
    Manifest,
    ModelEntry,
    read_manifest,
    write_manifest,
)


class Run(Mapping[str, Layer]):
    """An opened run: a mapping from layer names to layers, each read from disk, and checked, when it is asked for.

    A layer is also found by some parts of its name, in their order and with the last one, where no other layer has them:
    ``run["0.q_proj"]`` is ``run["model.layers.0.self_attn.q_proj"]``. Two runs are equal only if they are the same object.

    Attributes
    ----------
    path : the directory
    manifest : as read
    notes : remarks of `collect` on Hessians that it used again, see `rdtools.runs.run_manifest.reuse_notes`
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        verified: bool = False,
        checkpoint: Checkpoint | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.notes = tuple(notes)
        self._verified = verified
        self._checkpoint = checkpoint
        self._last: tuple[int, Hessian] | None = None
        self._by_name = {entry.name: entry for entry in manifest.layers}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, model={self.model_name!r}, {len(self)} layers, {len(self.hessians)} Hessians)"

    # a mapping compares its items, which would read every layer
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def layers(self) -> list[LayerEntry]:
        """Layers that the manifest lists."""
        return self.manifest.layers

    @property
    def hessians(self) -> list[HessianEntry]:
        """Hessians that the manifest lists."""
        return self.manifest.hessians

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(self._candidates(name)) == 1

    def _candidates(self, name: str) -> list[str]:
        """The layer of this name, or else those that it may stand for."""
        return [name] if name in self._by_name else [full for full in self._by_name if _abbreviates(name, full)]

    @property
    def model_name(self) -> str:
        """Name of the model in tables."""
        return self.manifest.model.name

    def key(self, entry: LayerEntry) -> LayerKey:
        """Key of the matrix that an entry names."""
        return LayerKey(self.model_name, entry.name, layer_type(entry.name), block_index(entry.name))

    def checkpoint(self) -> Checkpoint:
        """The model's files, checked against the manifest when first asked for.

        Raises
        ------
        CorruptFile, ModelUnreadable
            If a file is missing, truncated or another than the Hessians were made with.
        """
        if self._checkpoint is None:
            model = self.manifest.model
            try:
                checkpoint = find_model(EMBEDDED) if model.directory is None else open_checkpoint(Path(model.directory), name=model.name)
            except ModelUnreadable as error:
                raise ModelUnreadable(
                    f"{error}; the run {self.path} reads its weights there: if the model has moved, run rdtools report --model NEW_PLACE "
                    f"--out {shlex.quote(str(self.path))} with the same calibration data"
                ) from error
            for name, entry in model.files.items():
                check_file(checkpoint.directory / name, size=entry.bytes, sha256=None if self._verified else entry.sha256)
            self._checkpoint = checkpoint
        return self._checkpoint

    def check(self) -> None:
        """Compare every file of the run, and of its model, with the manifest.

        Raises
        ------
        CorruptFile, ModelUnreadable
        """
        self.checkpoint()
        for entry in self.hessians:
            check_file(self.path / entry.file, size=entry.bytes, sha256=entry.sha256)

    def hessian(self, index: int) -> Hessian:
        """A Hessian by its number in the manifest; the one read last is kept, for the layers that share it.

        Raises
        ------
        CorruptFile
        """
        if self._last is None or self._last[0] != index:
            entry = self.hessians[index]
            path = self.path / entry.file
            check_file(path, size=entry.bytes, sha256=None if self._verified else entry.sha256)
            try:
                arrays = load(path.read_bytes())
                packed, variances = arrays["packed"], arrays.get("output_variances")
            except (SafetensorError, KeyError) as error:
                raise CorruptFile(f"{path}: not a Hessian of rdtools ({error}); collect it again") from error
            matrix = check_moment(unpack(packed, name=str(path)), name=str(path), recorded=True)
            self._last = (index, Hessian(matrix, entry.n_tokens, entry.dropped_tokens, entry.name, variances))
        return self._last[1]

    def __getitem__(self, name: str) -> Layer:
        """The layer of this name, or of parts of its name.

        Raises
        ------
        KeyError
            If the run has no such layer.
        UsageError
            If several layers have these parts; the message names them.
        CorruptFile, ShapeMismatch, NotFiniteInput
        """
        candidates = self._candidates(name)
        if not candidates:
            raise KeyError(f"{self.path}: no layer {name!r}; it has {len(self)} layers, such as {self.layers[0].name!r}")
        if len(candidates) > 1:
            shown = ", ".join(candidates[:4]) + (", …" if len(candidates) > 4 else "")
            raise UsageError(f"{self.path}: {name!r} may be any of {len(candidates)} layers: {shown}; give more of the name")
        name = candidates[0]
        entry = self._by_name[name]
        weight = self.checkpoint().weight(entry.captured)
        hessian = self.hessian(entry.hessian)
        weight = check_weight(weight, columns=len(hessian.matrix), name=name)
        return Layer(self.key(entry), weight, hessian)


def _abbreviates(short: str, name: str) -> bool:
    """True if `short` consists of parts of a module path, in order, the last one included."""
    *first, last = short.split(".")
    *parts, end = name.split(".")
    rest = iter(parts)
    return last == end and all(part in rest for part in first)


class RunWriter:
    """Writes a run: Hessians as they are finished, the manifest last. One that was interrupted goes on with those it finished.

    Parameters
    ----------
    path : the run directory
    fingerprint : what is captured, and with what
    """

    def __init__(self, path: Path, fingerprint: Fingerprint) -> None:
        self._path = path
        self._finished = FinishedHessians(path, fingerprint)

    def has(self, name: str, index: int) -> bool:
        """True if the Hessian of this input is on disk already, under this number."""
        entry = self._finished.entries.get(name)
        return entry is not None and entry.file == _file_of(index)

    def add(self, hessian: Hessian, index: int) -> None:
        """Write the Hessian of this number; on return it is durable."""
        file = _file_of(index)
        arrays = {"packed": pack(hessian.matrix)}
        if hessian.output_variances is not None:
            arrays["output_variances"] = hessian.output_variances
        data = save(arrays)
        self._finished.begin()
        write_atomically(self._path / file, data)
        self._finished.add(
            HessianEntry(
                name=hessian.name,
                file=file,
                columns=len(hessian.matrix),
                n_tokens=hessian.n_tokens,
                dropped_tokens=hessian.dropped_tokens,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        )

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


def _file_of(index: int) -> str:
    return f"hessians/{index:04d}.safetensors"


def open_run(path: str | Path, *, verified: bool = False, checkpoint: Checkpoint | None = None) -> Run:
    """Open a run directory; only the manifest is read.

    Parameters
    ----------
    path : directory
    verified : files were compared with their hashes a moment ago, so that comparing sizes is enough
    checkpoint : the model's files, where they were compared with the manifest a moment ago; else opened and compared when asked for

    Raises
    ------
    UsageError
        If there is no run.
    CorruptFile
        If the manifest is damaged or of another version, or names files outside the run.

    Examples
    --------
    >>> open_run("no/such/run")
    Traceback (most recent call last):
    ...
    rdtools.errors.UsageError: no/such/run: no manifest.json, so not a finished run; rdtools report and rdtools hessians collect make one
    """
    path = Path(path)
    manifest = read_manifest(path)
    return Run(path, manifest, verified=verified, checkpoint=checkpoint)
