"""Second moments as QuIP# writes them: the covariance as a packed triangle, the mean, and the number of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import CorruptFile, DataError, one_line
from rdtools.linalg import check_moment
from rdtools.records import Hessian

ORIGIN = "QuIP#"
#: Ending of a file's name → modules of a block that read its input.
_PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "up": ("mlp.up_proj", "mlp.gate_proj"),
    "down": ("mlp.down_proj",),
}
_FILE = re.compile(r"(\d+)_(qkv|o|up|down)\.pt")


def load_tensors(path: Path) -> Any:
    """Contents of a file of torch; no code in it is run.

    Raises
    ------
    CorruptFile
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises its own, pickle's, zipfile's and RuntimeError
        raise CorruptFile(
            f"{path}: not loaded ({one_line(error)[:120]}); truncated, or with more than tensors and numbers in it, which could run code: "
            "write tensors alone with torch.save"
        ) from error


def symmetric(values: Float64Array, n: int) -> Float64Array:
    """The matrix of a lower triangle by rows, (n, n)."""
    matrix = np.zeros((n, n))
    rows, columns = np.tril_indices(n)
    matrix[rows, columns] = values
    matrix[columns, rows] = values
    return matrix


def _count(value: Any, path: Path, name: str) -> int:
    try:
        number = value.item() if hasattr(value, "item") else value
        count = int(number) if float(number) == int(number) else 0
    except (TypeError, ValueError, RuntimeError, OverflowError):
        count = 0
    if count < 1:
        raise DataError(f"{path}: {name} is {value!r:.40}, expected a whole number from 1 on; of no tokens, or altered: collect it again")
    return count


def quip_hessian(path: Path) -> Hessian:
    """E[x xᵀ] = flatH + mu muᵀ of a file with ``flatH``, ``mu``, ``n`` and ``ct``.

    Raises
    ------
    CorruptFile, DataError, NotFiniteInput, NotPositiveSemidefinite
    """
    import torch

    content = load_tensors(path)
    missing = [name for name in ("flatH", "mu", "n", "ct") if not isinstance(content, dict) or name not in content]
    if missing:
        raise DataError(
            f"{path}: no {missing[0]!r}, expected flatH, mu, n and ct as QuIP# writes them; give `format` for another kind of file"
        )
    n, tokens = _count(content["n"], path, "n"), _count(content["ct"], path, "ct")
    for name, size in (("flatH", n * (n + 1) // 2), ("mu", n)):
        value = content[name]
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != (size,) or not value.is_floating_point():
            shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise DataError(f"{path}: {name} is {shape}, expected {size} numbers for n = {n}; truncated or altered: copy it again")
    mean = content["mu"].double().numpy()
    moment = symmetric(content["flatH"].double().numpy(), n) + np.outer(mean, mean)
    return Hessian(check_moment(moment, name=str(path)), tokens, name=path.name, mean=mean, origin=ORIGIN)


def is_quip(path: Path) -> bool:
    """True for a file, or a directory with files, named as QuIP# names them."""
    names = [path.name] if path.is_file() else [file.name for file in path.glob("*.pt")]
    return any(_FILE.fullmatch(name) for name in names)


def quip_hessians(path: Path) -> dict[str, Callable[[], Hessian]]:
    """Module, from its block on → its Hessian, read when it is called; of a directory or one file."""
    readers: dict[str, Callable[[], Hessian]] = {}
    for file in [path] if path.is_file() else sorted(path.glob("*.pt")):
        named = _FILE.fullmatch(file.name)
        if named is not None:
            readers |= {f"layers.{named.group(1)}.{part}": partial(quip_hessian, file) for part in _PARTS[named.group(2)]}
    return readers
