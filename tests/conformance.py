"""What every quantizer must do, from one hook: build it at a rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rdtools.methods import METHODS, ORDERS, make_quantizers
from rdtools.quantizers import Quantizer


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes
    ----------
    name : in the registry
    build : rate in bits → quantizer
    vector : whether it codes several weights together, at whole rates only
    """

    name: str
    build: Callable[[float], Quantizer]
    vector: bool


def _subject(name: str, *, vector: bool = False) -> Subject:
    return Subject(name, lambda rate: make_quantizers([name], [rate])[0], vector)


_VECTOR = [entry.name for entry in METHODS.values() if entry.family in ("quip-sharp", "qtip")]

SUBJECTS = [
    *(_subject(name + suffix) for name in METHODS if name not in _VECTOR for suffix in ("", "+haar")),
    *(_subject(name + "+rotation") for name in ("rtn", "hptq", "watersic-lmmse")),
    *(_subject(f"{name}+{order}") for name in ("hptq", "gptq+haar", "watersic") for order in ORDERS),
    *(_subject(name + suffix, vector=True) for name in _VECTOR for suffix in ("", "+haar")),
]
