"""Second moments as GPTQ accumulates them: H = (2/N) Σ x xᵀ over N samples, a matrix for each module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rdtools.errors import DataError, UsageError
from rdtools.foreign.names import canonical
from rdtools.foreign.quip_hessians import load_tensors
from rdtools.foreign.source import FLOATS, Source
from rdtools.linalg import as_float64, check_moment
from rdtools.records import Hessian

ORIGIN = "GPTQ"


def from_gptq(matrix: Any, *, samples: int, sample_tokens: int, name: str) -> Hessian:
    """E[x xᵀ] = H/(2 L) of ``H = (2/N) Σ x xᵀ``, whose sum is over N samples of L tokens; L = 1 where each token is a sample.

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite

    Examples
    --------
    >>> from_gptq([[4.0]], samples=3, sample_tokens=2, name="x").matrix.tolist()
    [[1.0]]
    """
    moment = check_moment(as_float64(matrix, name=name) / (2 * sample_tokens), name=name)
    return Hessian(moment, samples * sample_tokens, name=name, origin=ORIGIN)


def gptq_hessians(path: Path, *, samples: int | None, sample_tokens: int | None) -> dict[str, Callable[[], Hessian]]:
    """Module, from its block on → its Hessian; of a file of torch or safetensors that holds a matrix under the name of each module.

    Raises
    ------
    UsageError
        Without the number of samples and their tokens, which the file does not say.
    CorruptFile, DataError
    """
    if samples is None or sample_tokens is None:
        raise UsageError(
            f"{path}: H = (2/N) Σ x xᵀ does not say over how many tokens its sum is; give N as `samples` and the tokens "
            "of each as `sample_tokens` "
            "(1 where every token is a sample)"
        )
    counts = {"samples": samples, "sample_tokens": sample_tokens}
    if path.suffix == ".safetensors":
        source = Source(path)
        square = [name for name, header in source.headers.items() if header.dtype in FLOATS and _is_square(header.shape)]
        readers = {name: partial(_read, source, name, counts) for name in square}
    else:
        content = load_tensors(path)
        items = content.items() if isinstance(content, dict) else ()
        tensors = {str(name): value for name, value in items if _is_square(tuple(getattr(value, "shape", ())))}
        readers = {name: partial(_of_tensor, value, f"{path}: {name}", counts) for name, value in tensors.items()}
    if not readers:
        raise DataError(f"{path}: no square matrix under the name of a module; expected a dictionary from modules to their Hessians")
    return {canonical(name): read for name, read in readers.items()}


def _is_square(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] == shape[1]


def _of_tensor(value: Any, name: str, counts: dict[str, int]) -> Hessian:
    return from_gptq(value, name=name, **counts)


def _read(source: Source, name: str, counts: dict[str, int]) -> Hessian:
    return from_gptq(source.tensor(name), name=source.label(name), **counts)
