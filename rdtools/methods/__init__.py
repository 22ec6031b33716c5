"""The registry of methods: the only place where a name becomes a quantizer and a quantizer a name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rdtools.errors import RateUnreachable, WrongType
from rdtools.methods.names import ORDERS as ORDERS
from rdtools.methods.names import ROTATIONS as ROTATIONS
from rdtools.methods.names import entry_of as entry_of
from rdtools.methods.names import format_method as format_method
from rdtools.methods.names import make_quantizers as make_quantizers
from rdtools.methods.names import meaning_notes as meaning_notes
from rdtools.methods.names import parse_method as parse_method
from rdtools.methods.table import DEFAULT_METHODS as DEFAULT_METHODS
from rdtools.methods.table import METHODS as METHODS
from rdtools.methods.table import PALETTE as PALETTE
from rdtools.methods.table import RENAMED as RENAMED
from rdtools.methods.table import Method as Method

if TYPE_CHECKING:
    import pandas as pd

    from rdtools.quantizers import Quantizer


def quantizer(name: str, bits: float, **settings: Any) -> Quantizer:
    """The quantizer of a name at a rate, as `parse_method`: ``quantizer("gptq", 3, group_size=64)``.

    Raises
    ------
    WrongType, UnknownMethod, UsageError, InvalidRate
    """
    if not isinstance(name, str):
        raise WrongType(f"quantizer: got {name!r} as name, expected one of rdtools.methods(): quantizer('gptq', bits=3)")
    return parse_method(name, bits, **settings)


def infeasible_reason(method: Quantizer) -> str | None:
    """The reason why a method cannot have its rate on any layer; None if some layers allow it.

    Examples
    --------
    >>> infeasible_reason(parse_method("hptq", 2.5)) is None, infeasible_reason(parse_method("gptq", 2.5))[:43]
    (True, 'gptq: 2.5 bits per weight cannot be reached')
    """
    try:
        method.check_reachable(format_method(method))
    except RateUnreachable as error:
        return str(error)
    return None


def infeasible_pairs(quantizers: Sequence[Quantizer]) -> list[str]:
    """A sentence for each method and rate that no layer can have together."""
    return [reason for reason in map(infeasible_reason, quantizers) if reason is not None]


def methods() -> pd.DataFrame:
    """The registry as a table: name, family, rates, device, paper, description."""
    import pandas as pd

    return pd.DataFrame([entry.record() for entry in METHODS.values()])


class Methods(ModuleType):
    """``rdtools.methods`` is this package, and calling it is `methods`."""

    __call__ = staticmethod(methods)


sys.modules[__name__].__class__ = Methods
