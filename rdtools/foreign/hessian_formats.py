"""Formats of second moments that others collected, by name, and which of them a path is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rdtools.errors import UsageError
from rdtools.foreign.gptq_hessians import gptq_hessians
from rdtools.foreign.imatrix import imatrix_hessians
from rdtools.foreign.quip_hessians import is_quip, quip_hessians
from rdtools.records import Hessian

Hessians = Mapping[str, Callable[[], Hessian]]


@dataclass(frozen=True)
class Counts:
    """Numbers that a format does not store: `samples` in a mean, and the tokens of each."""

    samples: int | None = None
    sample_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "sample_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"`{name}` {value}: expected at least 1")


@dataclass(frozen=True)
class HessianFormat:
    """A format: which paths have it, and its reader."""

    recognizes: Callable[[Path], bool]
    read: Callable[[Path, Counts], Hessians]


#: Name → format; a path is of the first that recognizes it.
HESSIAN_FORMATS: dict[str, HessianFormat] = {
    "quip": HessianFormat(is_quip, lambda path, counts: quip_hessians(path)),
    "imatrix": HessianFormat(
        lambda path: path.suffix in (".dat", ".gguf", ".imatrix"),
        lambda path, counts: imatrix_hessians(path, sample_tokens=counts.sample_tokens),
    ),
    "gptq": HessianFormat(
        lambda path: path.suffix in (".pt", ".pth", ".safetensors"),
        lambda path, counts: gptq_hessians(path, samples=counts.samples, sample_tokens=counts.sample_tokens),
    ),
}


def open_hessians(path: Path, counts: Counts, format: str | None = None) -> Hessians:
    """Module, from its block on → its Hessian in the convention of this project, read when it is called.

    Raises
    ------
    UsageError
        If there is no such path, or of no known format.
    CorruptFile, DataError
    """
    if format is not None and format not in HESSIAN_FORMATS:
        raise UsageError(f"`format` {format[:40]!r}: expected one of {', '.join(HESSIAN_FORMATS)}")
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory; give a file of Hessians, or the directory of QuIP#'s")
    name = format or next((name for name, kind in HESSIAN_FORMATS.items() if kind.recognizes(path)), None)
    if name is None or (path.is_dir() and name != "quip"):
        raise UsageError(f"{path}: of no known format; expected QuIP#'s 0_qkv.pt, …, GPTQ's .pt or .safetensors, or an importance matrix")
    return HESSIAN_FORMATS[name].read(path, counts)
