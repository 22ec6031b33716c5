"""Arguments of jobs that are called from Python: what a user may give, as the job takes it, or a sentence that names the job."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rdtools.errors import WrongType


def path_of(job: str, value: object, example: str) -> Path:
    """A path, or a string that is one; raises WrongType for anything else."""
    if not isinstance(value, str | Path):
        raise WrongType(f"{job}: got {type(value).__name__}, expected the path of {example}")
    return Path(value)


def method_names(job: str, methods: object) -> list[str]:
    """Names of methods, each once, from one or several; raises WrongType for anything else.

    Examples
    --------
    >>> method_names("compare", "gptq"), method_names("compare", ("rtn", "gptq", "rtn"))
    (['gptq'], ['rtn', 'gptq'])
    """
    names = [methods] if isinstance(methods, str) else list(methods) if isinstance(methods, Iterable) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise WrongType(f"{job}: methods {methods!r}, expected names such as ['gptq', 'watersic']; rdtools.methods() lists all of them")
    return list(dict.fromkeys(names))


def target_rates(job: str, name: str, bits: Any) -> list[float]:
    """Rates in ascending order, each once, from one or several numbers, or an array; raises WrongType for anything else.

    Examples
    --------
    >>> target_rates("compare", "bits", 3), target_rates("compare", "bits", [4, 2.5, 4])
    ([3.0], [2.5, 4.0])
    """
    values = bits.tolist() if hasattr(bits, "tolist") else bits
    rates = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    if not rates or not all(isinstance(rate, int | float) and not isinstance(rate, bool) for rate in rates):
        raise WrongType(f"{job}: {name} {bits!r}, expected a number or several, such as [2, 3, 4]")
    return sorted({float(rate) for rate in rates})
