"""Formats by name, and which of them a path is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rdtools.errors import UsageError
from rdtools.foreign.awq import open_awq
from rdtools.foreign.compressed_tensors import open_compressed_tensors
from rdtools.foreign.dense import open_dense
from rdtools.foreign.gguf import open_gguf
from rdtools.foreign.gptq import open_gptq
from rdtools.foreign.source import Source
from rdtools.foreign.stored import ForeignModel

#: ``quant_method`` of a configuration → reader; "" for a checkpoint without one.
FORMATS: dict[str, Callable[[Source], ForeignModel]] = {
    "": open_dense,
    "gptq": open_gptq,
    "awq": open_awq,
    "compressed-tensors": open_compressed_tensors,
}


def _gguf_of(path: Path) -> Path | None:
    """The GGUF file that a path is or has; None where it is a directory with safetensors.

    Raises
    ------
    UsageError
        If there are several.
    """
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    files = sorted(file for file in path.glob("*.gguf") if file.is_file())
    first = [file for file in files if "-of-" not in file.name or "-00001-of-" in file.name]
    if not files or any(path.glob("*.safetensors")):
        return None
    if len(first) != 1:
        raise UsageError(f"{path}: {len(files)} GGUF files ({', '.join(file.name for file in files[:3])}, …); give one of them")
    return first[0]


def open_foreign(path: Path) -> ForeignModel:
    """A quantized checkpoint: a GGUF file, a safetensors file, or a directory with either.

    Raises
    ------
    UsageError
        If there is none, or of a format that is not read.
    DataError, CorruptFile, ModelUnreadable, MissingPackage
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory; give a GGUF file, or the directory of a quantized checkpoint")
    gguf = _gguf_of(path)
    if gguf is not None:
        return open_gguf(gguf)
    if path.is_file() and path.suffix != ".safetensors":
        raise UsageError(f"{path}: neither .gguf nor .safetensors; give a GGUF file, or the directory of a checkpoint in safetensors")
    source = Source(path)
    method = str(source.quantization.get("quant_method", "") if source.quantization else "")
    if method not in FORMATS:
        known = ", ".join(name for name in FORMATS if name)
        raise UsageError(
            f"{path}: quantized by {method[:40]!r}, expected one of {known} or GGUF; dequantize it with transformers and save it"
        )
    return FORMATS[method](source)
