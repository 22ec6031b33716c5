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

    @property
    def fixed_grid(self) -> bool:
        """A grid of 2^rate levels over the range of a row or group."""
        return self.name.startswith(("rtn", "gptq"))

    @property
    def lowest(self) -> float:
        """The lowest rate that the registry gives the method."""
        rates = METHODS[self.name.partition("+")[0]].rates
        return min(rates.get("values", [0.0]))


def _subject(name: str, *, vector: bool = False) -> Subject:
    return Subject(name, lambda rate: make_quantizers([name], [rate])[0], vector)


_VECTOR = [entry.name for entry in METHODS.values() if entry.family in ("quip-sharp", "qtip")]

SUBJECTS = [
    *(_subject(name + suffix) for name in METHODS if name not in _VECTOR for suffix in ("", "+haar")),
    *(_subject(name + "+rotation") for name in ("rtn", "hptq", "watersic-lmmse")),
    *(_subject(f"{name}+{order}") for name in ("hptq", "gptq+haar", "watersic") for order in ORDERS),
    *(_subject(name + suffix, vector=True) for name in _VECTOR for suffix in ("", "+haar")),
]
