"""A model's configuration, compared with its files before anything is built from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdtools.errors import CorruptFile

#: Bytes of a config.json.
LARGEST = 2**24
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_SIZES = ("hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "ffn_dim", "vocab_size", "num_attention_heads", "num_experts")


def _numbers(content: Any) -> Iterator[tuple[str, int]]:
    """Whole numbers by name, those of nested configurations too."""
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, int):
                yield name, value
            yield from _numbers(value)


def check_sizes(directory: Path, content: Any, *, tensors: int, size: int) -> None:
    """Refuse a configuration of more layers than the files have tensors, or of sizes beyond their bytes; it would be built before it fails.

    Parameters
    ----------
    directory : of the model
    content : its configuration
    tensors, size : tensors in its weight files, and bytes of these

    Raises
    ------
    CorruptFile
    """
    path = directory / "config.json"
    for name, number in _numbers(content):
        most = tensors if name in _LAYERS else size if name in _SIZES else number
        if number > most:
            kind = f"{tensors} tensors" if name in _LAYERS else f"{size} bytes"
            raise CorruptFile(
                f"{path}: {name} {number} for weight files of {kind}; the file is damaged or of another model: download it again"
            )
