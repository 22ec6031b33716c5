"""Theory beside measurement: facts of layers, bounds, predictions, and one row for each layer, method and rate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rdtools.compare.activations import ActivationInputs as ActivationInputs
from rdtools.compare.bounds import BOUNDS as BOUNDS
from rdtools.compare.bounds import Bound as Bound
from rdtools.compare.facts import LayerFacts as LayerFacts
from rdtools.compare.facts import layer_facts as layer_facts
from rdtools.compare.facts import layer_status as layer_status
from rdtools.compare.rows import result_row as result_row
from rdtools.doors import behind

if TYPE_CHECKING:
    import pandas as pd


def compare(
    layers: Any, methods: str | Sequence[str], bits: float | Sequence[float] = (2, 3, 4), *, damping: float | None = None, seed: int = 0
) -> pd.DataFrame:
    """A table of methods and rates on layers at hand; parameters and errors as those of `rdtools.jobs.compare.compare`."""
    table: pd.DataFrame = behind("jobs.compare", "compare")(layers, methods, bits, damping=damping, seed=seed)
    return table


class Compare(ModuleType):
    """``rdtools.compare`` is this package, and calling it is `compare`."""

    __call__ = staticmethod(compare)


sys.modules[__name__].__class__ = Compare
