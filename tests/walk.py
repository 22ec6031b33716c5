"""The walk of a layer from its task to its row: which files' functions are handed it, and how often.

    python tests/walk.py [METHOD …]

A stay is a call of a function in another file than its caller's that is handed the layer, its prepared form, the quantized or the
effective layer. Returning to a caller is no stay. A short walk means that a reader finds a layer's way in few files.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

import rdtools.kernels

import rdtools
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.sweep.task import quantize_layer

#: Folders of the library that is walked: the checkout's, or the installed one where that was imported before.
PACKAGES = [Path(rdtools.__file__).parent, *map(Path, rdtools.kernels.__path__)]
#: Classes that stand for the layer on its way, by name, wherever they are defined.
CARRIED = ("Layer", "Problem", "PreparedInput", "QuantizedLayer", "QuantizedWeight", "EffectiveLayer")


@dataclass(frozen=True)
class Walk:
    """Files in the order in which they are entered first, and how often each is entered."""

    stays: Counter[str]

    @property
    def files(self) -> int:
        return len(self.stays)

    @property
    def total(self) -> int:
        return sum(self.stays.values())

    @property
    def most(self) -> int:
        return max(self.stays.values())


def _file(frame: FrameType | None) -> str | None:
    """Path of a function of the library from its package on; comprehensions and lambdas belong to their function."""
    if frame is None:
        return None
    path = Path(frame.f_code.co_filename)
    package = next((folder for folder in PACKAGES if path.is_relative_to(folder)), None)
    return None if package is None else str(path.relative_to(package.parent))


def _carries(frame: FrameType) -> bool:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    return any(type(frame.f_locals.get(name)).__name__ in CARRIED for name in code.co_varnames[:count])


def walk(method: str, *, rate_bits: float = 3.0, rows: int = 96, columns: int = 64) -> Walk:
    """Follow one layer through one quantization."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4 * columns, columns)) @ rng.standard_normal((columns, columns))
    layer = Layer.of(rng.standard_normal((rows, columns)), x.T @ x / len(x), n_tokens=len(x))
    quantizers = (parse_method(method, rate_bits),)
    list(quantize_layer(layer, quantizers, seed=0))  # what is imported, compiled or kept at first use is no part of the walk
    stays: Counter[str] = Counter()
    entered: list[FrameType] = []

    def follow(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or frame in entered:  # a generator that goes on is no new stay
            return
        here = _file(frame)
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            entered.append(frame)
        if here is not None and here != _file(frame.f_back) and not frame.f_code.co_name.startswith("<") and _carries(frame):
            stays[here] += 1

    layer = Layer.of(layer.weight, layer.hessian.matrix, n_tokens=len(x))
    sys.setprofile(follow)
    try:
        rows_made = list(quantize_layer(layer, quantizers, seed=0))
    finally:
        sys.setprofile(None)
    if rows_made[0]["status"] != "ok":
        raise RuntimeError(f"{method}: {rows_made[0]['message']}")
    return Walk(stays)


def main() -> None:
    """Print the walks of the methods named."""
    for method in sys.argv[1:] or ["hptq", "watersic-mmse"]:
        found = walk(method)
        print(f"{method}: {found.files} files, {found.total} stays, at most {found.most} in one file")
        for name, count in found.stays.items():
            print(f"  {count:3d}  {name}")


if __name__ == "__main__":
    main()
