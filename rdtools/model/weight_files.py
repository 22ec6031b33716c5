"""The files that a model's weights are loaded from, and the tensors in each."""

from __future__ import annotations

import json
from pathlib import Path

from rdtools.errors import CorruptFile, ModelUnreadable
from rdtools.model.unsupported import GGUF

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def tensor_names(path: Path) -> list[str]:
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


def _indexed(index: Path) -> dict[str, str]:
    """Tensor name → file name, from an index that is checked against every file it names.

    Raises
    ------
    CorruptFile, ModelUnreadable
    """
    directory = index.parent
    try:
        shard_of = {str(k): str(v) for k, v in json.loads(index.read_text())["weight_map"].items()}
        if not shard_of:
            raise ValueError("an empty weight_map")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptFile(f"{index}: not an index of safetensors ({error!r}); download it again") from error
    shards = sorted(set(shard_of.values()))
    odd = [s for s in shards if Path(s).name != s]
    if odd:
        raise CorruptFile(f"{index}: names {odd[0]!r}, expected files of this directory only; do not use this checkpoint")
    missing = [s for s in shards if not (directory / s).is_file()]
    if missing:
        raise ModelUnreadable(f"{directory}: missing {', '.join(missing)}, listed in {index.name}; download the rest")
    holder: dict[str, str] = {}
    for shard in shards:
        for tensor in tensor_names(directory / shard):
            if tensor in holder:
                raise CorruptFile(
                    f"{directory}: {holder[tensor]} and {shard} both hold {tensor}; expected it once; download the files again"
                )
            holder[tensor] = shard
    lost = sorted(t for t, s in shard_of.items() if holder.get(t) != s)
    if lost:
        raise CorruptFile(f"{directory}: {index.name} lists {len(lost)} tensors that no shard holds, first {lost[0]}")
    return holder


def weight_files(directory: Path, named: str | None) -> tuple[dict[str, str], str]:
    """Tensor name → file name of the weights that transformers loads, and the file by which it finds them.

    That is the file that the configuration names, else model.safetensors, else the shards of the index: an index beside a single file
    is not read.

    Raises
    ------
    CorruptFile, ModelUnreadable
    """
    for name in [_SINGLE, _INDEX] if named is None else [named]:
        path = directory / name
        if path.is_file() and path.parent == directory:
            return (_indexed(path) if name.endswith(".index.json") else dict.fromkeys(tensor_names(path), name)), name
    if named is not None:
        raise ModelUnreadable(
            f"{directory}: config.json names {named[:200]!r} as transformers_weights, and no such file is there; download it"
        )
    gguf = sorted(p.name for p in directory.glob("*.gguf"))
    if gguf:
        raise ModelUnreadable(f"{directory}: no safetensors, only {', '.join(gguf)}, {GGUF}")
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl") for p in directory.glob(pattern))
    held = f"only {', '.join(pickles)}, which is a pickle and could run code" if pickles else "no weights"
    raise ModelUnreadable(f"{directory}: {held}; expected model.safetensors; convert it with save_pretrained(..., safe_serialization=True)")
