"""A model's own files: checked before any work, read one tensor at a time, never executed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import CorruptFile, ModelUnreadable, NotFiniteInput, ServiceUnavailable, UnsupportedDtype
from rdtools.model.config_limits import check_config

#: The name under which the model inside the package goes.
EMBEDDED = "embedded"
_FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a model in safetensors.

    Attributes
    ----------
    name : for tables
    directory : where the files are
    shard_of : tensor name → file name
    """

    name: str
    directory: Path
    shard_of: dict[str, str]

    @property
    def shards(self) -> list[Path]:
        """The weight files, sorted."""
        return [self.directory / name for name in sorted(set(self.shard_of.values()))]

    def read(self, tensor: str) -> NDArray[np.float64]:
        """One tensor as float64; nothing else of its file is read.

        Raises
        ------
        ModelUnreadable
            If the checkpoint has no such tensor.
        UnsupportedDtype
            If it is not plain floating point (a quantized checkpoint).
        NotFiniteInput
            For NaN or infinity.
        """
        import torch
        from safetensors import safe_open

        if tensor not in self.shard_of:
            raise ModelUnreadable(f"{self.directory}: no tensor {tensor!r}; the checkpoint belongs to another model class")
        path = self.directory / self.shard_of[tensor]
        with safe_open(path, framework="pt") as shard:
            dtype = shard.get_slice(tensor).get_dtype()
            if dtype not in _FLOAT_DTYPES:
                raise UnsupportedDtype(
                    f"{path}: {tensor} has dtype {dtype}, expected one of {', '.join(_FLOAT_DTYPES)}; "
                    "a quantized checkpoint must be dequantized first"
                )
            values = shard.get_tensor(tensor).to(torch.float64).numpy()
        if not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))
            raise NotFiniteInput(
                f"{path}: {tensor} has {len(bad)} NaN or infinite entries, the first at {tuple(map(int, bad[0]))}; "
                "expected finite weights; download the checkpoint again"
            )
        return np.asarray(values)


def _tensor_names(path: Path) -> list[str]:
    """Names in a safetensors file, whose header is checked against its size.

    Raises
    ------
    CorruptFile
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as shard:
            return list(shard.keys())
    except (SafetensorError, OSError) as error:
        raise CorruptFile(f"{path}: not a whole safetensors file ({error}); download or copy it again") from error


def open_checkpoint(directory: Path, *, name: str | None = None) -> Checkpoint:
    """Look over a model directory: configuration, index, every shard's header.

    Raises
    ------
    ModelUnreadable
        If there is no directory, no config.json, no safetensors, or a shard is missing; lists what is missing.
    CorruptFile
        If a file is truncated or not what its name says.
    """
    if not directory.is_dir():
        raise ModelUnreadable(f"{directory}: no such directory; give a model directory, a hub id or '{EMBEDDED}'")
    try:
        str(directory.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ModelUnreadable(f"{directory!r}: its path is not UTF-8, which safetensors cannot open; rename it") from error
    if not (directory / "config.json").is_file():
        raise ModelUnreadable(f"{directory}: no config.json, so no model; give the directory that save_pretrained wrote")
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if index.is_file():
        try:
            shard_of = {str(k): str(v) for k, v in json.loads(index.read_text())["weight_map"].items()}
            if not shard_of:
                raise ValueError("an empty weight_map")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CorruptFile(f"{index}: not an index of safetensors ({error!r}); download it again") from error
        odd = sorted({s for s in shard_of.values() if Path(s).name != s})
        if odd:
            raise CorruptFile(f"{index}: names {odd[0]!r}, expected files of this directory only; do not use this checkpoint")
        missing = sorted({s for s in shard_of.values() if not (directory / s).is_file()})
        if missing:
            raise ModelUnreadable(f"{directory}: missing {', '.join(missing)}, listed in {index.name}; download the rest")
        present = {s: set(_tensor_names(directory / s)) for s in sorted(set(shard_of.values()))}
        lost = sorted(t for t, s in shard_of.items() if t not in present[s])
        if lost:
            raise CorruptFile(f"{directory}: {index.name} lists {len(lost)} tensors that no shard holds, first {lost[0]}")
    elif single.is_file():
        shard_of = dict.fromkeys(_tensor_names(single), single.name)
    else:
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for p in directory.glob(pattern))
        found = f"only {', '.join(pickles)}, which is a pickle and could run code" if pickles else "no weights"
        raise ModelUnreadable(
            f"{directory}: {found}; expected model.safetensors; convert it with save_pretrained(..., safe_serialization=True)"
        )
    checkpoint = Checkpoint(name or directory.resolve().name, directory, shard_of)
    check_config(directory, tensors=len(shard_of), size=sum(path.stat().st_size for path in checkpoint.shards))
    return checkpoint


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
            "terms, or give a local directory"
        ) from error
    return open_checkpoint(Path(folder), name=source)
