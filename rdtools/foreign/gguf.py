"""GGUF files of llama.cpp; decoded by the package ``gguf``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.errors import DataError, UnsupportedDtype, optional_module
from rdtools.foreign.gguf_header import GGUFFile, GGUFTensor, read_gguf
from rdtools.foreign.gguf_types import GGUFType, named_type, type_note
from rdtools.foreign.names import from_gguf
from rdtools.foreign.stored import ForeignModel, StoredBits, StoredMatrix, Values

#: Readings of the rows of queries and keys; llama.cpp's converter interleaves the halves of each head for some architectures.
INTERLEAVED, AS_STORED = "rows of each head interleaved", "rows as stored"


def _library() -> Any:
    return optional_module("gguf", "a GGUF file", "rdtools[import]")


def _decode(file: GGUFFile, tensor: GGUFTensor) -> Values:
    gguf = _library()
    values: Values = np.asarray(gguf.quants.dequantize(file.raw(tensor), gguf.GGMLQuantizationType(tensor.type_number)))
    return values


def halves_together(values: Values, heads: int) -> Values:
    """Rows of each head in the order of Hugging Face: those of the first elements of all rotated pairs, then those of the second.

    Examples
    --------
    >>> halves_together(np.arange(4.0)[:, None], 1)[:, 0].tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    m, n = values.shape
    return values.reshape(heads, m // heads // 2, 2, n).swapaxes(1, 2).reshape(m, n)


def _heads(file: GGUFFile, tensor: str) -> int:
    """Number of heads of a matrix of queries or keys; 0 for any other matrix, and where the file does not say."""
    match = re.fullmatch(r"blk\.(\d+)\.attn_([qk])\.weight", tensor)
    if match is None:
        return 0
    name = f"{file.metadata.get('general.architecture')}.attention.head_count"
    count = file.metadata.get(name)
    if match.group(2) == "k":
        count = file.metadata.get(f"{name}_kv", count)
    if isinstance(count, np.ndarray):
        count = count[int(match.group(1))] if int(match.group(1)) < len(count) else 0
    return int(count) if isinstance(count, int | np.integer) else 0


def _bias(file: GGUFFile, tensor: GGUFTensor, heads: int) -> Callable[[str], Values]:
    """Reads the bias of a matrix with so many heads, whose rows its numbers go with."""

    def read(reading: str) -> Values:
        if tensor.type is None:
            raise UnsupportedDtype(f"{file.path}: {tensor.name} has type {tensor.type_number}, which is not read here; convert it to F32")
        values = _decode(file, tensor)
        turned = reading == INTERLEAVED and values.ndim == 1 and len(values) % (2 * heads) == 0
        return halves_together(values[:, None], heads)[:, 0] if turned else values

    return read


def _matrix(file: GGUFFile, tensor: GGUFTensor, named: GGUFType | None, bias: tuple[GGUFFile, GGUFTensor] | None) -> StoredMatrix:
    label = f"{file.path}: {tensor.name}"
    kind = tensor.type
    if kind is None or len(tensor.shape) != 2:
        dtype = f"type {tensor.type_number}" if kind is None else f"shape {tensor.shape}"

        def refuse() -> Values:
            raise UnsupportedDtype(f"{label} has {dtype}, which is not read here; leave it out with `layers`, or convert it with llama.cpp")

        return StoredMatrix(label, dtype, tensor.shape, StoredBits(0), {AS_STORED: refuse})
    codes = tensor.shape[0] * tensor.shape[1] // kind.block * kind.codes
    read: Callable[[], Values] = partial(_decode, file, tensor)
    readings: Mapping[str, Callable[[], Values]] = {AS_STORED: read}
    heads = _heads(file, tensor.name)
    if heads > 0 and tensor.shape[0] % (2 * heads) == 0:
        readings = {INTERLEAVED: lambda: halves_together(read(), heads), AS_STORED: read}
    note, fallback = type_note(kind, named, tensor.shape[1])
    bits = StoredBits(codes, 8 * tensor.bytes - codes)
    known: dict[str, Any] = {} if bias is None else {"bias": _bias(*bias, heads), "bias_bits": 8 * bias[1].bytes}
    return StoredMatrix(label, kind.name, tensor.shape, bits, readings, stated=len(readings) == 1, note=note, fallback=fallback, **known)


def _parts(path: Path) -> list[Path]:
    """The files of a split model, or the one file.

    Raises
    ------
    DataError
    """
    split = re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if split is None:
        return [path]
    parts = [path.with_name(f"{split.group(1)}-{number:05d}-of-{split.group(3)}.gguf") for number in range(1, int(split.group(3)) + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise DataError(
            f"{path}: one of {len(parts)} parts, of which {', '.join(missing[:3])} {'is' if len(missing) == 1 else 'are'} "
            "not there; copy it"
        )
    return parts


def _stated_type(library: Any, file: GGUFFile) -> GGUFType | None:
    """The type that the header states, for a file whose name does not."""
    try:
        return named_type(library.LlamaFileType(file.metadata.get("general.file_type")).name.removeprefix("MOSTLY_"))
    except ValueError:
        return None


def open_gguf(path: Path) -> ForeignModel:
    """A GGUF file, or all parts of a split one.

    Raises
    ------
    CorruptFile, DataError, MissingPackage
    """
    library, files = _library(), [read_gguf(part) for part in _parts(path)]
    named = named_type(path.name) or _stated_type(library, files[0])
    matrices: dict[str, StoredMatrix] = {}
    biases = {tensor.name: (file, tensor) for file in files for tensor in file.tensors.values() if tensor.name.endswith(".bias")}
    for file in files:
        for tensor in file.tensors.values():
            name = from_gguf(tensor.name)
            if name is not None:
                matrices[name] = _matrix(file, tensor, named, biases.get(f"{tensor.name.removesuffix('weight')}bias"))
    if not matrices:
        raise DataError(
            f"{path}: no matrix of a Llama-like model, such as blk.0.attn_q.weight; importance matrices go to rdtools hessians import"
        )
    return ForeignModel(path, "gguf", "" if named is None else named.name, matrices)
