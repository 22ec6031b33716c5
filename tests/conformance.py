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


_VECTOR = [name for name, (kind, _) in METHODS.items() if kind in ("QuIPSharp", "QTIP")]

SUBJECTS = [
    *(_subject(name + suffix) for name in METHODS if name not in _VECTOR for suffix in ("", "+haar")),
    *(_subject(name + "+rotation") for name in ("rtn-int", "gptq", "watersic-lmmse")),
    *(_subject(f"{name}+{order}") for name in ("gptq", "gptq-int+haar", "watersic") for order in ORDERS),
    *(_subject(name + suffix, vector=True) for name in _VECTOR for suffix in ("", "+haar")),
]
