"""Method names, the only place where a name becomes a quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from rdtools.errors import UnknownMethod

if TYPE_CHECKING:
    from rdtools.quantizers import ScalarQuantizer
    from rdtools.transforms import RotationChoice

#: Name → (class in rdtools.quantizers, settings).
METHODS: dict[str, tuple[str, dict[str, object]]] = {
    "rtn": ("RTN", {"coding": "shared"}),
    "rtn-int": ("RTN", {"coding": "fixed"}),
    "rtn-column": ("RTN", {"coding": "column"}),
    "gptq": ("GPTQ", {"coding": "shared"}),
    "gptq-int": ("GPTQ", {"coding": "fixed"}),
    "gptq-column": ("GPTQ", {"coding": "column"}),
    "watersic": ("WaterSIC", {"coding": "column"}),
    "watersic-shared": ("WaterSIC", {"coding": "shared"}),
    "watersic-lmmse": ("WaterSIC", {"coding": "column", "lmmse": True}),
    "watersic-lmmse-shared": ("WaterSIC", {"coding": "shared", "lmmse": True}),
}
#: Suffix → rotation.
ROTATIONS: dict[str, RotationChoice] = {"rotation": "auto", "hadamard": "hadamard", "haar": "haar", "kronecker": "kronecker"}

#: What `rdtools report` runs unless told otherwise.
DEFAULT_METHODS = (
    "rtn-int",
    "rtn",
    "gptq-int",
    "gptq",
    "gptq+rotation",
    "watersic",
    "watersic-lmmse",
    "watersic+rotation",
)


def check_method(name: str) -> None:
    """Refuse a name that is not NAME or NAME+ROTATION.

    Raises
    ------
    UnknownMethod
    """
    base, plus, suffix = name.partition("+")
    if base not in METHODS or (plus and suffix not in ROTATIONS):
        raise UnknownMethod(
            f"unknown method {name!r}; expected one of {', '.join(METHODS)}, each also with {', '.join('+' + s for s in ROTATIONS)}"
        )


def make_quantizers(names: Sequence[str], rates: Sequence[float], *, damping: float | None = None) -> list[ScalarQuantizer]:
    """Every named method at every rate.

    Raises
    ------
    UnknownMethod, InvalidRate, UsageError
    """
    for name in names:
        check_method(name)
    from rdtools import quantizers

    made = []
    for name in names:
        base, _, suffix = name.partition("+")
        class_name, settings = METHODS[base]
        construct = partial(getattr(quantizers, class_name), rotation=ROTATIONS.get(suffix), damping=damping, **settings)
        made += [cast("ScalarQuantizer", construct(rate_bits=rate)) for rate in rates]
    return made
