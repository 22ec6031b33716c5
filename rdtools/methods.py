"""Method names, the only place where a name becomes a quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from rdtools.errors import UnknownMethod

if TYPE_CHECKING:
    from rdtools.quantizers import Quantizer
    from rdtools.transforms import RotationChoice

#: Name → (class at the top of rdtools, settings).
METHODS: dict[str, tuple[str, dict[str, object]]] = {
    "rtn": ("RTN", {"coding": "shared"}),
    "rtn-int": ("RTN", {"coding": "fixed"}),
    "rtn-int-g128": ("RTN", {"coding": "fixed", "group_size": 128}),
    "rtn-int-asym": ("RTN", {"coding": "fixed", "symmetric": False}),
    "rtn-int-mse": ("RTN", {"coding": "fixed", "grid": "mse"}),
    "rtn-column": ("RTN", {"coding": "column"}),
    "gptq": ("GPTQ", {"coding": "shared"}),
    "gptq-int": ("GPTQ", {"coding": "fixed"}),
    "gptq-int-asym": ("GPTQ", {"coding": "fixed", "symmetric": False}),
    "gptq-int-mse": ("GPTQ", {"coding": "fixed", "grid": "mse"}),
    "gptq-int-g128": ("GPTQ", {"coding": "fixed", "group_size": 128}),
    "gptq-int-g128-dynamic": ("GPTQ", {"coding": "fixed", "group_size": 128, "groups": "dynamic"}),
    "gptq-int-g128-asym": ("GPTQ", {"coding": "fixed", "group_size": 128, "symmetric": False}),
    "gptq-waterfilled-int": ("WaterfilledGPTQ", {}),
    "gptq-waterfilled-column": ("WaterfilledGPTQ", {"coding": "column"}),
    "gptq-column": ("GPTQ", {"coding": "column"}),
    "watersic": ("WaterSIC", {"coding": "column"}),
    "watersic-shared": ("WaterSIC", {"coding": "shared"}),
    "watersic-lmmse": ("WaterSIC", {"coding": "column", "lmmse": True}),
    "watersic-lmmse-shared": ("WaterSIC", {"coding": "shared", "lmmse": True}),
    "watersic-mmse": ("MmseWaterSIC", {}),
    "watersic-published": ("WaterSIC.published", {}),
    "watersic-histogram": ("WaterSIC", {"coding": "histogram"}),
    "quip": ("QuIP", {}),
    "quip-ldlq": ("QuIP", {"adaptive": "ldlq"}),
    "quip-greedy": ("QuIP", {"adaptive": "greedy"}),
    "quip-nearest": ("QuIP", {"adaptive": "nearest"}),
    "quip-clamp-safe": ("QuIP", {"adaptive": "clamp-safe"}),
    "quip-published": ("QuIP", {"preset": "published"}),
    "quip-sharp": ("QuIPSharp", {}),
    "quip-sharp-unrefined": ("QuIPSharp", {"passes": 0}),
    "quip-sharp-published": ("QuIPSharp", {"preset": "published"}),
    "qtip": ("QTIP", {}),
    "qtip-published": ("QTIP", {"preset": "published"}),
}
#: Suffix → rotation.
ROTATIONS: dict[str, RotationChoice] = {"rotation": "auto", "hadamard": "hadamard", "haar": "haar", "kronecker": "kronecker"}
#: Suffix → order of columns.
ORDERS = ("reversed", "act-order", "reversed-act-order", "min-pivot")

#: Classes whose columns can be put in order.
_ORDERED = ("GPTQ", "WaterfilledGPTQ", "WaterSIC", "WaterSIC.published")
#: Classes that rotate on their own account.
_ROTATED = ("QuIP", "QuIPSharp", "QTIP")

#: What `rdtools report` runs unless told otherwise.
DEFAULT_METHODS = (
    "rtn-int",
    "rtn",
    "gptq-int",
    "gptq",
    "gptq+rotation",
    "gptq+act-order",
    "watersic",
    "watersic-lmmse",
    "watersic-mmse",
    "watersic+rotation",
    "quip",
    "quip-sharp",
    "qtip",
)


def _settings(name: str) -> tuple[str, dict[str, object]]:
    """Class in rdtools.quantizers and settings of NAME, NAME+ROTATION, NAME+ORDER or NAME+ROTATION+ORDER.

    Raises
    ------
    UnknownMethod
    """
    base, *suffixes = name.split("+")
    rotations = [s for s in suffixes if s in ROTATIONS]
    orders = [s for s in suffixes if s in ORDERS]
    if base not in METHODS or suffixes != rotations + orders or len(rotations) > 1 or len(orders) > 1:
        raise UnknownMethod(
            f"unknown method {name!r}; expected one of {', '.join(METHODS)}, each also with {', '.join('+' + s for s in ROTATIONS)}, "
            f"and those that decide columns one after another with {', '.join('+' + s for s in ORDERS)} after that"
        )
    class_name, settings = METHODS[base]
    if orders and class_name not in _ORDERED:
        raise UnknownMethod(f"unknown method {name!r}: {base} has no order of columns to choose")
    if rotations == ["rotation"] and class_name in _ROTATED:
        raise UnknownMethod(
            f"unknown method {name!r}: {base} is rotated as it is; ask for it by that name, or for +haar or another rotation"
        )
    chosen: dict[str, object] = {"rotation": ROTATIONS[rotations[0]]} if rotations else {}
    return class_name, settings | chosen | ({"order": orders[0]} if orders else {})


def make_quantizers(names: Sequence[str], rates: Sequence[float], *, damping: float | None = None) -> list[Quantizer]:
    """Every named method at every rate.

    Raises
    ------
    UnknownMethod, InvalidRate, RateUnreachable, UsageError
    """
    chosen = [_settings(name) for name in names]
    import rdtools

    made: list[Quantizer] = []
    for class_name, settings in chosen:
        construct = attrgetter(class_name)(rdtools)
        chosen_damping = {} if damping is None else {"damping": damping}
        made += [construct(rate_bits=rate, **(settings | chosen_damping)) for rate in rates]
    return made
