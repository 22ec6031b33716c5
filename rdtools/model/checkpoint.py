"""A model's own files: checked before any work, read one tensor at a time, never executed."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import CorruptFile, ModelUnreadable, NotFiniteInput, ServiceUnavailable, UnsupportedDtype
from rdtools.model.config_limits import LARGEST, check_sizes
from rdtools.model.layer_names import CapturedLayer
from rdtools.model.unsupported import GGUF, refuse_configuration, refuse_tensors
from rdtools.model.weight_files import weight_files

#: The name under which the model inside the package goes.
EMBEDDED = "embedded"
#: Numbers of each dtype that is read, as NumPy reads them: those of bfloat16 are the upper halves of float32.
_FLOAT_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
#: Numbers of bfloat16 that are made float32 at a time.
_TOGETHER = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a model in safetensors.

    Attributes
    ----------
    name : for tables
    directory : where the files are
    shard_of : tensor name → file name
    notes : sentences for the reader about files that are there and not read
    """

    name: str
    directory: Path
    shard_of: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def shards(self) -> list[Path]:
        """The weight files, sorted."""
        return [self.directory / name for name in sorted(set(self.shard_of.values()))]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor, from the headers."""
        from safetensors import safe_open

        shapes: dict[str, tuple[int, ...]] = {}
        for path in self.shards:
            with safe_open(path, framework="np") as shard:
                names = [name for name, file in self.shard_of.items() if file == path.name]
                shapes |= {name: tuple(shard.get_slice(name).get_shape()) for name in names}
        return shapes

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def read(self, tensor: str, *, rows: Sequence[int] | None = None) -> NDArray[np.float64]:
        """One tensor as float64; nothing else of its file is read.

        Parameters
        ----------
        tensor : name
        rows : read only these, first and the one after the last, of the tensor as a matrix with its last dimension as columns

        Raises
        ------
        ModelUnreadable
            If the checkpoint has no such tensor, or it has fewer rows.
        UnsupportedDtype
            If it is not plain floating point (a quantized checkpoint).
        NotFiniteInput
            For NaN or infinity.
        """
        from safetensors import safe_open

        if tensor not in self.shard_of:
            raise ModelUnreadable(f"{self.directory}: no tensor {tensor!r}; the checkpoint belongs to another model class")
        path = self.directory / self.shard_of[tensor]
        with safe_open(path, framework="np") as shard:  # which looks the file over
            part = shard.get_slice(tensor)
            dtype, shape = part.get_dtype(), part.get_shape()
            if dtype not in _FLOAT_DTYPES:
                raise UnsupportedDtype(
                    f"{path}: {tensor} has dtype {dtype}, expected one of {', '.join(_FLOAT_DTYPES)}; "
                    "a quantized checkpoint must be dequantized first"
                )
        first, read_shape = (0, shape) if rows is None else _rows_of(shape, *rows)
        if rows is not None and not read_shape:
            raise ModelUnreadable(f"{path}: {tensor} has shape {shape}, expected rows {rows}; the checkpoint belongs to another model")
        array = _floats(path, tensor, dtype, skipped=first * shape[-1] if first else 0, count=math.prod(read_shape)).reshape(read_shape)
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            raise NotFiniteInput(
                f"{path}: {tensor} has {len(bad)} NaN or infinite entries, the first at {tuple(map(int, bad[0]))}; "
                "expected finite weights; download the checkpoint again"
            )
        return np.asarray(array)

    def weight(self, layer: CapturedLayer) -> NDArray[np.float64]:
        """Weight (m, n) of a layer as float64.

        Raises
        ------
        ModelUnreadable, UnsupportedDtype, NotFiniteInput
        """
        return layer.outputs_of(self.read(layer.tensor, rows=layer.rows))


def _rows_of(shape: Sequence[int], first: int, stop: int) -> tuple[int, list[int]]:
    """The first of the rows of a tensor of which only these are read, and their shape, which is empty if it has no such rows; those of a
    stack must be whole matrices of it.
    """
    if len(shape) == 2:
        return first, [stop - first, shape[1]] if 0 <= first < stop <= shape[0] else []
    if len(shape) != 3 or stop - first != shape[1] or first % shape[1] or not 0 <= first < shape[0] * shape[1]:
        return first, []
    return first, list(shape[1:])


def _floats(path: Path, tensor: str, dtype: str, *, skipped: int, count: int) -> NDArray[np.float64]:
    """So many numbers of a tensor in a file that was looked over, after so many that are skipped, as float64; torch, which takes a second
    to import and is safetensors' only reader of bfloat16, is not needed.
    """
    kind = np.dtype(_FLOAT_DTYPES[dtype])
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        start = json.loads(file.read(size))[tensor]["data_offsets"][0]
        file.seek(8 + size + start + skipped * kind.itemsize)
        stored = np.fromfile(file, dtype=kind, count=count)
    if dtype != "BF16":
        return stored.astype(np.float64, copy=False)
    values = np.empty(count)
    for first in range(0, count, _TOGETHER):
        part = slice(first, first + _TOGETHER)
        values[part] = (stored[part].astype("<u4") << 16).view("<f4")
    return values


def _configuration(directory: Path) -> dict[str, Any]:
    """The configuration as written.

    Raises
    ------
    CorruptFile, ModelUnreadable
    """
    path = directory / "config.json"
    if (directory / "adapter_config.json").is_file():
        raise ModelUnreadable(
            f"{directory}: an adapter of another model (adapter_config.json); expected whole weights: load it with peft, then "
            "merge_and_unload().save_pretrained(NEW_DIRECTORY)"
        )
    if not path.is_file():
        gguf = sorted(p.name for p in directory.glob("*.gguf"))
        if gguf:
            raise ModelUnreadable(f"{directory}: no config.json, only {', '.join(gguf)}, {GGUF}")
        raise ModelUnreadable(f"{directory}: no config.json, so no model; give the directory that save_pretrained wrote")
    if path.stat().st_size > LARGEST:
        raise CorruptFile(f"{path}: {path.stat().st_size} bytes, expected at most {LARGEST}; download it again")
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (ValueError, OSError, RecursionError) as error:
        raise CorruptFile(f"{path}: not a configuration ({error}); download it again") from error
    return config


def open_checkpoint(directory: Path, *, name: str | None = None) -> Checkpoint:
    """Look over a model directory: configuration, index, every shard's header.

    Raises
    ------
    ModelUnreadable
        If there is no directory, no config.json, no safetensors, or a shard is missing; lists what is missing. If the model is one that
        rdtools cannot analyse: see `rdtools.model.unsupported`.
    CorruptFile
        If a file is truncated or not what its name says.
    """
    try:
        is_folder = directory.is_dir()
    except OSError as error:  # such as a name that is too long
        raise ModelUnreadable(f"{str(directory)[:200]}: not a path ({str(error)[:60]}); give a model directory") from error
    if not is_folder:
        raise ModelUnreadable(f"{directory}: {_not_a_directory(directory)}")
    try:
        str(directory.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ModelUnreadable(f"{directory!r}: its path is not UTF-8, which safetensors cannot open; rename it") from error
    config = _configuration(directory)
    refuse_configuration(directory, config)
    named = config.get("transformers_weights")
    shard_of, read = weight_files(directory, None if named is None else str(named))
    refuse_tensors(directory, shard_of)
    used = set(shard_of.values())
    strays = sorted(p.name for p in directory.glob("model*.safetensors") if p.name not in used)  # what one could take for the weights
    notes = () if not strays else (f"{directory}: weights are read as {read} says, as transformers does; {', '.join(strays)} not at all",)
    checkpoint = Checkpoint(name or _name_of(directory), directory, shard_of, notes)
    check_sizes(directory, config, tensors=len(shard_of), size=sum(path.stat().st_size for path in checkpoint.shards))
    return checkpoint


def _not_a_directory(path: Path) -> str:
    if path.suffix == ".gguf" and path.is_file():
        return GGUF
    if path.is_file():
        return f"a file, expected the directory of a model; give {path.parent}"
    return f"no such directory; give a model directory, a hub id or '{EMBEDDED}'"


def _name_of(directory: Path) -> str:
    """Name of a directory; the model's own where it is one of the hub's cache, which are called by their commit."""
    parts = directory.resolve().parts
    if len(parts) > 2 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].removeprefix("models--").replace("--", "/")
    return parts[-1]


def find_model(source: str, *, with_code: bool = False) -> Checkpoint:
    """The checkpoint behind "embedded", a local directory or a hub id; `with_code` also downloads code that comes with a model.

    Raises
    ------
    ModelUnreadable, CorruptFile
    ServiceUnavailable
        If a hub id cannot be downloaded and is not in the local cache.
    """
    if source == EMBEDDED:
        return open_checkpoint(Path(str(files("rdtools.data") / "default_model")), name=EMBEDDED)
    try:
        local = Path(source).expanduser()
        exists = local.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelUnreadable(f"{source[:200]}: not a path ({error}); give a model directory, a hub id or '{EMBEDDED}'") from error
    if exists or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or source.startswith("."):
        return open_checkpoint(local)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "tokenizer*", "*.model", "*.txt", "*.jinja", *(["*.py"] if with_code else [])]
    try:
        folder = snapshot_download(source, allow_patterns=patterns)
    except Exception as error:  # the hub client raises its own, requests' and httpx' families
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ServiceUnavailable(
            f"{source}: neither a directory here nor obtained from the model hub ({reason}); check the name, accept the model's "
            f"terms, or give a local directory{f', or {EMBEDDED!r}' if difflib.get_close_matches(source, [EMBEDDED]) else ''}"
        ) from error
    return open_checkpoint(Path(folder), name=source)
