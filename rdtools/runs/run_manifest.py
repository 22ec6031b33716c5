"""The manifest of a run: model, calibration, versions, and size and SHA-256 of every file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rdtools.errors import CorruptFile, UsageError
from rdtools.files import sha256_of_file, write_atomically
from rdtools.model.checkpoint import EMBEDDED, Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.runs.seal import UNSEALED, is_sealed, sealed

MANIFEST = "manifest.json"
#: Folders of second moments in a run directory: over the calibration tokens, and over held-out ones.
HESSIANS, HELDOUT = "hessians", "heldout"
#: Ending of the directory in which a quantized model is made.
UNFINISHED = ".unfinished"
#: Runners of runs whose tokens are not at hand: Hessians of others, and those of several runs.
IMPORTED, MERGED = "imported", "merged"
#: Raised whenever the same model and tokens give other Hessians: another rule for padding, for the layers found or for experts.
CAPTURE_VERSION = 1
CONVENTIONS = {
    "hessian": "E[x x^T], uncentred mean over tokens, no factor 2, no damping, float64",
    "packing": "lower triangle by rows",
    "weight": "(out_features, in_features)",
    "distortion": "tr((W - What) H (W - What)^T) / (m n)",
}


def _file_name(name: str) -> str:
    if Path(name).name != name or not name.isprintable():
        raise ValueError(f"{name!r} is not the name of a file in one folder")
    return name


def _hessian_file(name: str) -> str:
    folder, _, file = name.partition("/")
    if folder not in (HESSIANS, HELDOUT):
        raise ValueError(f"{name!r} is not in the run's folders of Hessians")
    return f"{folder}/{_file_name(file)}"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileEntry(_Entry):
    """Size and hash of a file."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class LayerEntry(_Entry):
    """A layer in the manifest; `rows` and `outputs` say which part of the tensor it is, see `rdtools.model.layer_names.CapturedLayer`."""

    name: str
    tensor: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    transposed: bool
    rows: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    outputs: Annotated[list[int], Field(min_length=3, max_length=3)] | None = None
    hessian: Annotated[int, Field(ge=0)]

    @classmethod
    def of(cls, layer: CapturedLayer, hessian: int) -> LayerEntry:
        """Entry of a layer, with the number of its Hessian."""
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(layer).items()}
        return cls.model_validate({**lists, "hessian": hessian})

    @property
    def captured(self) -> CapturedLayer:
        """The layer as it stands in the files."""
        (m, n), rows, outputs = self.shape, self.rows, self.outputs
        return CapturedLayer(
            self.name,
            self.tensor,
            (m, n),
            self.transposed,
            None if rows is None else (rows[0], rows[1]),
            None if outputs is None else (outputs[0], outputs[1], outputs[2]),
        )


class HessianEntry(FileEntry):
    """A Hessian in the manifest; runs before version 0.2 did not count distinct tokens. `origin` and `diagonal` are as of the `Hessian`."""

    name: str
    file: Annotated[str, AfterValidator(_hessian_file)]
    columns: Annotated[int, Field(ge=1)]
    n_tokens: Annotated[int, Field(ge=0)]
    dropped_tokens: Annotated[int, Field(ge=0)]
    distinct_tokens: Annotated[int, Field(ge=0)] | None = None
    origin: str = ""
    diagonal: bool = False


class ModelEntry(_Entry):
    """The model that Hessians were made with; `directory` is None for the embedded one.

    Sizes of what is analysed are None in runs of version 0.1, see `rdtools.model.inputs.ModelLayers`; `head_analysed` is part of what is
    captured.
    """

    name: str
    source: str
    directory: str | None
    files: dict[Annotated[str, AfterValidator(_file_name)], FileEntry]
    uncovered: list[str] = []
    parameters: int | None = None
    analysed: int | None = None
    head: str = ""
    head_parameters: int = 0
    head_analysed: bool = False

    @property
    def coverage(self) -> str:
        """Sentence on which share of the model is analysed; empty where the run does not say."""
        if not self.parameters or self.analysed is None:
            return ""
        share = f"Analysed: {self.analysed / self.parameters:.1%} of {self.parameters:,} parameters in linear maps"
        uncovered = []
        if self.head and not self.head_analysed:
            uncovered.append(f"the output head {self.head} ({self.head_parameters / self.parameters:.1%}; `head` adds it)")
        if self.uncovered:
            shown = ", ".join(self.uncovered[:3]) + (", …" if len(self.uncovered) > 3 else "")
            uncovered.append(f"{len(self.uncovered)} other parameters that are no linear map of text tokens ({shown})")
        return f"{share}; without {' and '.join(uncovered)}" if uncovered else share


class CalibrationEntry(_Entry):
    """The tokens that Hessians were made with, and the torch device; None in runs of version 0.1, which did not note it.

    `runner` says if the model was run block by block or whole, and then why; None in runs that did not note it.

    The runner of a run that was not captured here is `IMPORTED` or `MERGED`; its tokens are known by a hash alone.

    `padding` ids of the file were left out, because of what `padding_from` names. `parts` are the hashes of the tokens of the runs that
    were merged, each of one calibration pass; empty otherwise.
    """

    source: str
    sequences: Annotated[int, Field(ge=1)]
    length: Annotated[int, Field(ge=1)]
    padding: Annotated[int, Field(ge=0)]
    padding_from: str = ""
    token_sha256: str
    trust_remote_code: bool
    device: str | None = None
    runner: str | None = None
    parts: list[str] = []

    @property
    def passes(self) -> list[str]:
        """Hashes of the tokens of each calibration pass."""
        return self.parts or [self.token_sha256]


class HeldoutEntry(_Entry):
    """Held-out tokens, and the second moment of every input over them, in the order of the Hessians."""

    tokens: CalibrationEntry
    hessians: Annotated[list[HessianEntry], Field(min_length=1)]


class Manifest(_Entry):
    """Contents of ``manifest.json``; `sha256` is its `rdtools.runs.seal`, which version 1, of rdtools 0.1, did not have.

    `capture` is the `CAPTURE_VERSION` of the Hessians; None in runs of an earlier rdtools, which can be read but not added to.
    """

    format: Literal["rdtools-run"] = "rdtools-run"
    version: Literal[1, 2] = 1
    capture: int | None = None
    created: str
    conventions: dict[str, str]
    versions: dict[str, str]
    model: ModelEntry
    calibration: CalibrationEntry
    hessians: Annotated[list[HessianEntry], Field(min_length=1)]
    layers: Annotated[list[LayerEntry], Field(min_length=1)]
    heldout: HeldoutEntry | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Manifest:
        if (self.sha256 is None) != (self.version == 1):
            raise ValueError("a checksum is missing, or not to be expected in this version")
        for entry in self.layers:
            if entry.hessian >= len(self.hessians):
                raise ValueError(f"layer {entry.name} names Hessian {entry.hessian}, which is not listed")
            if entry.shape[1] != self.hessians[entry.hessian].columns:
                raise ValueError(f"layer {entry.name} has {entry.shape[1]} columns, its Hessian {self.hessians[entry.hessian].columns}")
        for names in ([entry.name for entry in self.layers], [entry.file for entry in self.hessians]):
            if len(set(names)) < len(names):
                raise ValueError(f"{max(names, key=names.count)!r} is listed twice")
        if self.heldout is not None:
            inputs = [[(entry.name, entry.columns) for entry in part] for part in (self.hessians, self.heldout.hessians)]
            if inputs[0] != inputs[1]:
                raise ValueError("the held-out moments are not of the inputs of the Hessians")
        return self


def describe_model(checkpoint: Checkpoint, *, source: str) -> ModelEntry:
    """Entry of a model in the manifest: name, place, and size and hash of its weights, configuration and code."""
    code = [*checkpoint.directory.glob("*.py"), checkpoint.directory / "config.json"]
    files = {path.name: FileEntry(bytes=path.stat().st_size, sha256=sha256_of_file(path)) for path in (*checkpoint.shards, *sorted(code))}
    directory = None if source == EMBEDDED else str(checkpoint.directory.resolve())
    return ModelEntry(name=checkpoint.name, source=source, directory=directory, files=files)


def fingerprint(model: ModelEntry, calibration: CalibrationEntry, *, capture: int | None) -> dict[str, object]:
    """Parts of two manifests that must agree for their Hessians to be the same, by name."""
    return {
        "rules of capture": capture,
        "model files": {name: entry.sha256 for name, entry in model.files.items()},
        "calibration tokens": calibration.token_sha256,
        "`trust_remote_code`": calibration.trust_remote_code,
        **({"`head`": True} if model.head_analysed else {}),
    }


#: Libraries that do the forward passes; another version may round activations otherwise.
_DECISIVE = ("torch", "transformers")


def reuse_notes(old: Manifest, *, device: str, versions: dict[str, str]) -> list[str]:
    """Remarks for who uses Hessians again that were captured on another device or with other libraries; one line each, often none.

    Parameters
    ----------
    old : manifest of the run that is used again
    device, versions : those that a capture would have now
    """
    notes = []
    was = old.calibration.device
    if was is None:
        notes.append(f"the run does not say on which device its Hessians were captured; a capture now would be on {device}")
    elif was != device:
        notes.append(f"Hessians captured on {was} are used again, though {device} is asked for; they may differ by rounding")
    for name in _DECISIVE:
        if old.versions.get(name) != versions[name]:
            made_with = old.versions.get(name, "of unknown version")
            notes.append(f"Hessians captured with {name} {made_with} are used again; a capture now would use {name} {versions[name]}")
    return notes


def is_run(path: Path) -> bool:
    """True if a directory holds a finished run."""
    return (path / MANIFEST).is_file()


def unfinished_note(path: Path) -> str:
    """A clause on a quantized model that is not finished, where there is one at this path or beside it; else empty."""
    beside = path if path.suffix == UNFINISHED else path.with_name(path.name + UNFINISHED)
    if not beside.is_dir():
        return ""
    return f"{beside} is a quantized model that was not finished: the same `rdtools quantize --save {beside.with_suffix('')}` goes on; "


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run directory.

    Raises
    ------
    UsageError
        If there is none.
    CorruptFile
        If it is damaged or of another version, or names files outside the run.
    """
    if not is_run(path):
        remedy = f"{unfinished_note(path)}rdtools report and rdtools hessians collect make one"
        raise UsageError(f"{path}: no {MANIFEST}, so not a finished run; {remedy}")
    file = path / MANIFEST
    try:
        data = file.read_bytes()
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CorruptFile(f"{file}: not a manifest of this rdtools: {where}: {first['msg']}; collect the run again") from error
    except OSError as error:
        raise CorruptFile(f"{file}: cannot be read: {error.strerror}") from error
    if manifest.version > 1 and not is_sealed(data, manifest.sha256):
        raise CorruptFile(f"{file}: altered since it was written: its checksum is not that of its contents; collect the run again")
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run directory, in the newest version."""
    newest = manifest.model_copy(update={"version": 2, "sha256": UNSEALED})
    write_atomically(path / MANIFEST, sealed(newest.model_dump_json(indent=1).encode()))
