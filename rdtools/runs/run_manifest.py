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

MANIFEST = "manifest.json"
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
    if folder != "hessians":
        raise ValueError(f"{name!r} is not in the run's folder of Hessians")
    return f"hessians/{_file_name(file)}"


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
    shape: Annotated[list[int], Field(min_length=2, max_length=2)]
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
    """A Hessian in the manifest."""

    name: str
    file: Annotated[str, AfterValidator(_hessian_file)]
    columns: Annotated[int, Field(ge=1)]
    n_tokens: Annotated[int, Field(ge=0)]
    dropped_tokens: Annotated[int, Field(ge=0)]


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
        left = []
        if self.head and not self.head_analysed:
            left.append(f"the output head {self.head} ({self.head_parameters / self.parameters:.1%}; `head` adds it)")
        if self.uncovered:
            shown = ", ".join(self.uncovered[:3]) + (", …" if len(self.uncovered) > 3 else "")
            left.append(f"{len(self.uncovered)} other parameters that are no linear map of text tokens ({shown})")
        return f"{share}; without {' and '.join(left)}" if left else share


class CalibrationEntry(_Entry):
    """The tokens that Hessians were made with, and the torch device; None in runs of version 0.1, which did not note it.

    `padding` ids of the file were left out, because of what `padding_from` names.
    """

    source: str
    sequences: int
    length: int
    padding: int
    padding_from: str = ""
    token_sha256: str
    trust_remote_code: bool
    device: str | None = None


class Manifest(_Entry):
    """Contents of ``manifest.json``."""

    format: Literal["rdtools-run"] = "rdtools-run"
    version: Literal[1] = 1
    created: str
    conventions: dict[str, str]
    versions: dict[str, str]
    model: ModelEntry
    calibration: CalibrationEntry
    hessians: Annotated[list[HessianEntry], Field(min_length=1)]
    layers: Annotated[list[LayerEntry], Field(min_length=1)]

    @model_validator(mode="after")
    def _layers_have_hessians(self) -> Manifest:
        if max(entry.hessian for entry in self.layers) >= len(self.hessians):
            raise ValueError("a layer names a Hessian that is not listed")
        return self


def describe_model(checkpoint: Checkpoint, *, source: str) -> ModelEntry:
    """Entry of a model in the manifest: name, place, and size and hash of its weights, configuration and code."""
    code = [*checkpoint.directory.glob("*.py"), checkpoint.directory / "config.json"]
    files = {path.name: FileEntry(bytes=path.stat().st_size, sha256=sha256_of_file(path)) for path in (*checkpoint.shards, *sorted(code))}
    directory = None if source == EMBEDDED else str(checkpoint.directory.resolve())
    return ModelEntry(name=checkpoint.name, source=source, directory=directory, files=files)


def fingerprint(model: ModelEntry, calibration: CalibrationEntry) -> dict[str, object]:
    """Parts of two manifests that must agree for their Hessians to be the same, by name."""
    return {
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
        raise UsageError(f"{path}: no {MANIFEST}, so not a finished run; rdtools report and rdtools hessians collect make one")
    place = path / MANIFEST
    try:
        manifest = Manifest.model_validate_json(place.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CorruptFile(f"{place}: not a manifest of this rdtools: {where}: {first['msg']}; collect the run again") from error
    except OSError as error:
        raise CorruptFile(f"{place}: cannot be read: {error.strerror}") from error
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run directory."""
    write_atomically(path / MANIFEST, manifest.model_dump_json(indent=1).encode())
