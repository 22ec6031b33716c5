"""The run directory: Hessians and a manifest, read one layer at a time.

    manifest.json              conventions, model, calibration, versions, and size and SHA-256 of every file
    .lock                      held while a process writes
    hessians/finished.jsonl    the Hessians of a capture that is not finished
    hessians/0000.safetensors  "packed": lower triangle of E[x xᵀ] by rows, n(n+1)/2 float64; "mean": E[x], n float64; of an output head
                               also "output_variances" and "output_means": E[p(1 − p)] and E[p] of every output
    heldout/                   the same over held-out tokens, where there were any
    spectra/0000.safetensors   the spectrum of a Hessian that was worked on, see `rdtools.runs.spectra`

Weights are not copied: they are read from the model's own files, whose hashes the manifest holds. The manifest is written last, so
a directory without one is no run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from rdtools.errors import CorruptFile, ModelUnreadable, UsageError, WrongType
from rdtools.files import check_file
from rdtools.linalg import check_moment, check_weight
from rdtools.model.checkpoint import EMBEDDED, Checkpoint, find_model, open_checkpoint
from rdtools.model.layer_names import abbreviates, layer_key
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import remember_spectrum, remembered_spectrum, spectrum_with_vectors
from rdtools.records import Hessian, InputMoments, LayerKey
from rdtools.runs.heldout_file import heldout_of_file
from rdtools.runs.packing import unpack
from rdtools.runs.run_manifest import HessianEntry, LayerEntry, Manifest, read_manifest
from rdtools.runs.spectra import read_spectrum, write_spectrum

#: Advice about a Hessian that is missing or damaged; `collect` captures those that are missing.
_LOST = "copy it again, or delete it and give the command that made the run once more, which captures it anew"


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
        return [name] if name in self._by_name else [full for full in self._by_name if abbreviates(name, full)]

    @property
    def model_name(self) -> str:
        """Name of the model in tables."""
        return self.manifest.model.name

    def key(self, entry: LayerEntry) -> LayerKey:
        """Key of the matrix that an entry names."""
        return layer_key(self.model_name, entry.name)

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
        for entry in (*self.hessians, *(self.manifest.heldout.hessians if self.manifest.heldout else ())):
            self._check_hessian(entry, sha256=entry.sha256)

    def _check_hessian(self, entry: HessianEntry, *, sha256: str | None) -> Path:
        """Compare a file with the manifest; one outside the run, to which a link leads, is none of it."""
        path = self.path / entry.file
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise CorruptFile(f"{path}: a symbolic link that leads out of the run; copy the file into it")
        check_file(path, size=entry.bytes, sha256=sha256, remedy=_LOST)
        return path

    def _check_number(self, index: int) -> int:
        """The number of a Hessian, and of the held-out moment beside it."""
        if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < len(self.hessians):
            raise WrongType(
                f"{self.path}: no Hessian {index!r}, expected a whole number from 0 to {len(self.hessians) - 1}, such as the `hessian` of "
                "one of `run.layers`; by the name of a layer: run[name].hessian"
            )
        return int(index)

    def hessian(self, index: int) -> Hessian:
        """A Hessian by its number in the manifest; the one read last is kept, for the layers that share it.

        Raises
        ------
        WrongType, CorruptFile
        """
        index = self._check_number(index)
        if self._last is None or self._last[0] != index:
            entry = self.hessians[index]
            path = self._check_hessian(entry, sha256=None if self._verified else entry.sha256)
            try:
                arrays = load(path.read_bytes())
                packed = arrays["packed"]
            except (SafetensorError, KeyError) as error:
                raise CorruptFile(f"{path}: not a Hessian of rdtools ({error}); {_LOST}") from error
            if packed.size != entry.columns * (entry.columns + 1) // 2:
                raise CorruptFile(f"{path}: {packed.size} numbers, expected the triangle of {entry.columns} columns; {_LOST}")
            matrix = check_moment(unpack(packed, name=str(path)), name=str(path), recorded=True)
            facts = (entry.n_tokens, entry.dropped_tokens, entry.name, arrays.get("mean"), entry.distinct_tokens)
            outputs = arrays.get("output_variances"), arrays.get("output_means")
            hessian = Hessian(matrix, *facts, *outputs, entry.origin, entry.diagonal)
            spectrum = read_spectrum(self.path, index, hessian=entry.sha256)
            if spectrum is not None:
                remember_spectrum(hessian, spectrum)
            self._last = (index, hessian)
        return self._last[1]

    def keep_spectrum(self, index: int, copy: Hessian | None = None) -> None:
        """Write the spectrum of a Hessian beside it, unless it was read from there: whoever opens the run next has it.

        Parameters
        ----------
        index : number of the Hessian
        copy : the same on a device, on which the spectrum is computed; None for main memory
        """
        hessian = self.hessian(index)
        if remembered_spectrum(hessian) is None:
            spectrum = spectrum_with_vectors(hessian if copy is None else copy)
            remember_spectrum(hessian, spectrum)
            write_spectrum(self.path, index, spectrum, hessian=self.hessians[index].sha256)

    def heldout(self, index: int) -> HeldoutMoment | None:
        """The held-out moment beside a Hessian, read from disk whenever it is used; None where the run has none or no token reached it.

        Raises
        ------
        WrongType, CorruptFile
        """
        index = self._check_number(index)
        if self.manifest.heldout is None:
            return None
        entry = self.manifest.heldout.hessians[index]
        if entry.n_tokens == 0:
            return None
        path = self._check_hessian(entry, sha256=None if self._verified else entry.sha256)

        return heldout_of_file(path, entry)

    def input_moments(self, name: str) -> InputMoments:
        """Second moment, mean and counts of a layer's input; the mean is None in runs before version 0.2, which did not keep it.

        Raises
        ------
        KeyError, UsageError, CorruptFile
            As for a layer of this name, and if the mean cannot be one of these tokens.
        """
        hessian = self.hessian(self._entry(name).hessian)
        counts = {"tokens": hessian.n_tokens, "dropped_tokens": hessian.dropped_tokens, "distinct_tokens": hessian.distinct_tokens}
        return InputMoments.plain(hessian.matrix, mean=hessian.mean, name=hessian.name, **counts)

    def _entry(self, name: str) -> LayerEntry:
        if not isinstance(name, str):
            raise WrongType(f"{self.path}: layer {name!r}, expected a name, such as {self.layers[0].name!r}")
        candidates = self._candidates(name)
        if not candidates:
            raise KeyError(f"{self.path}: no layer {name!r}; it has {len(self)} layers, such as {self.layers[0].name!r}")
        if len(candidates) > 1:
            shown = ", ".join(candidates[:4]) + (", …" if len(candidates) > 4 else "")
            raise UsageError(f"{self.path}: {name!r} may be any of {len(candidates)} layers: {shown}; give more of the name")
        return self._by_name[candidates[0]]

    def __getitem__(self, name: str) -> Layer:
        """The layer of this name, or of parts of its name.

        Raises
        ------
        KeyError
            If the run has no such layer.
        WrongType
            If this is no string.
        UsageError
            If several layers have these parts; the message names them.
        CorruptFile, ShapeMismatch, NotFiniteInput
        """
        entry = self._entry(name)
        weight = self.checkpoint().weight(entry.captured)
        hessian = self.hessian(entry.hessian)
        weight = check_weight(weight, columns=len(hessian.matrix), name=entry.name)
        if weight.shape != tuple(entry.shape):
            shapes = f"{weight.shape} in the model and {tuple(entry.shape)} in the manifest"
            raise CorruptFile(f"{self.path}: {entry.name} is {shapes}; collect anew")
        return Layer(self.key(entry), weight, hessian)


def open_run(path: str | Path, *, verified: bool = False, checkpoint: Checkpoint | None = None) -> Run:
    """Open a run directory; only the manifest is read.

    Parameters
    ----------
    path : directory
    verified : files were compared with their hashes a moment ago, so that comparing sizes is enough
    checkpoint : the model's files, where they were compared with the manifest a moment ago; else opened and compared when asked for

    Raises
    ------
    WrongType
        If this is no path.
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
    if not isinstance(path, str | Path):
        raise WrongType(f"open_run: got {path!r}, expected the path of a run directory, such as 'rdtools-report'")
    return Run(Path(path), read_manifest(Path(path)), verified=verified, checkpoint=checkpoint)
