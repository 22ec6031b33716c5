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
    trained : whether its codebook is made from the layer's own weights, which must be large enough for it
    """

    name: str
    build: Callable[[float], Quantizer]
    vector: bool
    trained: bool = False

    @property
    def fixed_grid(self) -> bool:
        """A grid of 2^rate levels over the range of a row or group."""
        return self.name.startswith(("rtn", "gptq"))

    @property
    def lowest(self) -> float:
        """The lowest rate that the registry gives the method."""
        rates = METHODS[self.name.partition("+")[0]].rates
        return min(rates.get("values", [rates.get("min")]))


def _subject(name: str, *, vector: bool = False) -> Subject:
    return Subject(name, lambda rate: make_quantizers([name], [rate])[0], vector)


def _trained(name: str, *, rotation: str = "") -> Subject:
    """Codebooks of 256 words, trained briefly. The rate of AQLM is that of its number of codebooks, a setting as any other."""
    many = name.startswith("aqlm")

    def build(rate: float) -> Quantizer:
        settings = "epochs=1,iterations=5,steps=5" + (f",basic={round(rate)}" if many else "")
        return make_quantizers([f"{name}({settings}){rotation}"], [rate])[0]

    return Subject(name + rotation, build, vector=True, trained=True)


_VECTOR = [entry.name for entry in METHODS.values() if entry.family in ("quip-sharp", "qtip")]
_SCALAR = [
    entry.name
    for entry in METHODS.values()
    if entry.family not in ("quip-sharp", "qtip", "aqlm", "crvq", "weight-activation", "lrc", "qllm", "pca-split")
]
_TRAINED = ("aqlm-1x8", "crvq", "crvq-natural-rest", "crvq-published")

SUBJECTS = [
    *(_subject(name + suffix) for name in _SCALAR for suffix in ("", "+haar")),
    *(_subject(name + "+rotation") for name in ("rtn", "hptq", "watersic-lmmse")),
    *(_subject(f"{name}+{order}") for name in ("hptq", "gptq+haar", "watersic") for order in ORDERS),
    *(_subject(name + suffix, vector=True) for name in _VECTOR for suffix in ("", "+haar")[: 1 + (name != "qtip-waterfilled")]),
    *map(_trained, _TRAINED),
    _trained("crvq", rotation="+haar"),
]
