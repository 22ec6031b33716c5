"""The file of a held-out moment, of which parts are read whenever they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from rdtools.errors import CorruptFile
from rdtools.moments.heldout import HeldoutMoment
from rdtools.runs.run_manifest import HessianEntry

Answer = TypeVar("Answer")


def heldout_of_file(path: Path, entry: HessianEntry) -> HeldoutMoment:
    """The moment of an input, with its mean where it was kept.

    Raises
    ------
    CorruptFile
        Now or whenever it is read.
    """

    def opened(look: Callable[[Any], Answer]) -> Answer:
        try:
            with safe_open(path, framework="numpy") as file:
                return look(file)
        except (SafetensorError, OSError) as error:
            raise CorruptFile(f"{path}: not a held-out moment of rdtools ({error}); collect it again") from error

    def read(first: int, last: int) -> NDArray[np.float64]:
        return opened(lambda file: np.asarray(file.get_slice("packed")[first:last]))

    mean = opened(lambda file: np.asarray(file.get_tensor("mean")) if "mean" in file.keys() else None)  # noqa: SIM118 - no mapping
    return HeldoutMoment(entry.columns, entry.n_tokens, read, f"{entry.name}, held out", mean)
