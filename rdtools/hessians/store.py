"""The run directory: Hessians and a manifest, read one layer at a time.

    manifest.json              conventions, model, calibration, versions, and size and SHA-256 of every file
    hessians/0000.safetensors  "packed": lower triangle of E[x xᵀ] by rows, n(n+1)/2 float64

Weights are not copied: they are read from the model's own files, whose hashes the manifest holds. The manifest is written last, so
a directory without one is no run.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rdtools import __version__
from rdtools.errors import CorruptFile, DataError, UsageError
from rdtools.files import check_file, sha256_of_file, write_atomically
from rdtools.hessians.checkpoint import EMBEDDED, Checkpoint, find_model, open_checkpoint
from rdtools.hessians.layer import Layer
from rdtools.hessians.layers import block_index, layer_type
from rdtools.linalg import check_moment, check_weight
from rdtools.records import Hessian, LayerKey

FORMAT = "rdtools-run"
SCHEMA = 1
MANIFEST = "manifest.json"
CONVENTIONS = {
    "hessian": "E[x x^T], uncentred mean over tokens, no factor 2, no damping, float64",
    "packing": "lower triangle by rows",
    "weight": "(out_features, in_features)",
    "distortion": "tr((W - What) H (W - What)^T) / (m n)",
}


def pack(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangle by rows, shape (n(n+1)/2,)."""
    return matrix[np.tril_indices(len(matrix))]


def unpack(packed: NDArray[np.float64], *, name: str) -> NDArray[np.float64]:
    """The symmetric matrix behind a packed triangle.

    Raises
    ------
    CorruptFile
        If the length is not n(n+1)/2 for a whole n.
    """
    n = (math.isqrt(8 * packed.size + 1) - 1) // 2
    if packed.ndim != 1 or n * (n + 1) // 2 != packed.size:
        raise CorruptFile(f"{name}: packed triangle of shape {packed.shape}, expected n(n+1)/2 numbers; not a file of rdtools")
    matrix = np.zeros((n, n))
    matrix[np.tril_indices(n)] = packed
    return matrix + np.tril(matrix, -1).T


@dataclass(frozen=True)
class LayerEntry:
    """A layer in the manifest."""

    name: str
    tensor: str
    shape: tuple[int, int]
    transposed: bool
    hessian: int


@dataclass(frozen=True)
class HessianEntry:
    """A Hessian in the manifest."""

    name: str
    file: str
    columns: int
    n_tokens: int
    dropped_tokens: int
    bytes: int
    sha256: str


class Run:
    """An opened run: a mapping from layer names to layers, each read from disk, and checked, when it is asked for.

    Attributes
    ----------
    path : the directory
    manifest : as read
    layers, hessians : what the manifest lists
    """

    def __init__(self, path: Path, manifest: dict[str, Any], layers: tuple[LayerEntry, ...], hessians: tuple[HessianEntry, ...]) -> None:
        self.path = path
        self.manifest = manifest
        self.layers = layers
        self.hessians = hessians
        self._checkpoint: Checkpoint | None = None
        self._last: tuple[int, Hessian] | None = None

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, name: str) -> bool:
        return any(entry.name == name for entry in self.layers)

    @property
    def model_name(self) -> str:
        """Name of the model in tables."""
        return str(self.manifest["model"]["name"])

    def checkpoint(self) -> Checkpoint:
        """The model's files, checked against the manifest when first asked for.

        Raises
        ------
        CorruptFile
            If a shard is missing, truncated or another than the Hessians were made with.
        """
        if self._checkpoint is None:
            model = self.manifest["model"]
            if model["source"] == EMBEDDED:
                checkpoint = find_model(EMBEDDED)
            else:
                checkpoint = open_checkpoint(Path(model["directory"]), name=self.model_name)
            for name, entry in model["files"].items():
                check_file(checkpoint.directory / name, size=entry["bytes"], sha256=entry["sha256"])
            self._checkpoint = checkpoint
        return self._checkpoint

    def hessian(self, index: int) -> Hessian:
        """A Hessian by its number in the manifest; the one read last is kept, for the layers that share it.

        Raises
        ------
        CorruptFile
        """
        if self._last is None or self._last[0] != index:
            entry = self.hessians[index]
            path = self.path / entry.file
            check_file(path, size=entry.bytes, sha256=entry.sha256)
            try:
                packed = load(path.read_bytes())["packed"]
            except (SafetensorError, KeyError) as error:
                raise CorruptFile(f"{path}: not a Hessian of rdtools ({error}); collect it again") from error
            matrix = check_moment(unpack(packed, name=str(path)), name=str(path))
            self._last = (index, Hessian(matrix, entry.n_tokens, entry.dropped_tokens, entry.name))
        return self._last[1]

    def __getitem__(self, name: str) -> Layer:
        """The layer of this name.

        Raises
        ------
        KeyError
            If the run has no such layer; lists the nearest names.
        CorruptFile, ShapeMismatch, NotFiniteInput
        """
        entry = next((e for e in self.layers if e.name == name), None)
        if entry is None:
            raise KeyError(f"{self.path}: no layer {name!r}; it has {len(self)} layers, such as {self.layers[0].name!r}")
        weight = self.checkpoint().read(entry.tensor)
        hessian = self.hessian(entry.hessian)
        weight = check_weight(weight.T if entry.transposed else weight, columns=len(hessian.matrix), name=name)
        return Layer(LayerKey(self.model_name, name, layer_type(name), block_index(name)), weight, hessian)


class RunWriter:
    """Writes a run: Hessians as they come, the manifest last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._layers: list[dict[str, Any]] = []
        self._hessians: list[dict[str, Any]] = []

    def add(self, hessian: Hessian, layers: Iterable[tuple[str, str, tuple[int, int], bool]]) -> None:
        """Write one Hessian; `layers` are (name, tensor, shape, transposed) of the matrices that share it."""
        index = len(self._hessians)
        file = f"hessians/{index:04d}.safetensors"
        data = save({"packed": pack(hessian.matrix)})
        write_atomically(self._path / file, data)
        self._hessians.append(
            {
                "name": hessian.name,
                "file": file,
                "columns": len(hessian.matrix),
                "n_tokens": hessian.n_tokens,
                "dropped_tokens": hessian.dropped_tokens,
                "bytes": len(data),
                "sha256": sha256_of_file(self._path / file),
            }
        )
        for name, tensor, shape, transposed in layers:
            self._layers.append({"name": name, "tensor": tensor, "shape": list(shape), "transposed": transposed, "hessian": index})

    def finish(self, *, model: dict[str, Any], calibration: dict[str, Any], versions: dict[str, str]) -> Run:
        """Write the manifest and open the run."""
        manifest = {
            "format": FORMAT,
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "conventions": CONVENTIONS,
            "versions": {"rdtools": __version__, "python": platform.python_version(), **versions},
            "model": model,
            "calibration": calibration,
            "hessians": self._hessians,
            "layers": self._layers,
        }
        text = json.dumps(manifest, indent=1, allow_nan=False)
        write_atomically(self._path / MANIFEST, text.encode())
        return open_run(self._path)


def describe_model(checkpoint: Checkpoint, *, source: str) -> dict[str, Any]:
    """What the manifest keeps of a model: name, where it is, and size and hash of every weight file."""
    shards = {p.name: {"bytes": p.stat().st_size, "sha256": sha256_of_file(p)} for p in checkpoint.shards}
    place = {} if source == EMBEDDED else {"directory": str(checkpoint.directory.resolve())}
    return {"name": checkpoint.name, "source": source, **place, "files": shards}


def is_run(path: Path) -> bool:
    """Whether a directory holds a finished run."""
    return (path / MANIFEST).is_file()


def open_run(path: str | Path) -> Run:
    """Open a run directory; only the manifest is read.

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
    rdtools.errors.UsageError: no/such/run: no manifest.json, so not a run; make one with: rdtools report --out no/such/run
    """
    path = Path(path)
    if not is_run(path):
        raise UsageError(f"{path}: no {MANIFEST}, so not a run; make one with: rdtools report --out {path}")
    place = path / MANIFEST
    try:
        manifest = json.loads(place.read_text())
        if manifest["format"] != FORMAT or manifest["schema"] != SCHEMA:
            raise CorruptFile(
                f"{place}: {manifest['format']} version {manifest['schema']}, expected {FORMAT} version {SCHEMA}; "
                "read it with the rdtools that wrote it"
            )
        hessians = tuple(HessianEntry(**entry) for entry in manifest["hessians"])
        layers = tuple(LayerEntry(**{**entry, "shape": tuple(entry["shape"])}) for entry in manifest["layers"])
        manifest["model"]["name"], manifest["model"]["source"], manifest["model"]["files"].items()
        inside = all(Path(h.file).parts[:1] == ("hessians",) and ".." not in Path(h.file).parts for h in hessians)
        plain = all(Path(name).name == name for name in manifest["model"]["files"])
        known = all(0 <= entry.hessian < len(hessians) for entry in layers)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{place}: not a manifest of rdtools ({error!r}); collect the run again") from error
    if not (inside and plain and known and layers):
        raise CorruptFile(f"{place}: names files outside the run or Hessians that it does not list; do not use this run")
    return Run(path, manifest, layers, hessians)
