"""Entropy models of integers, one class per kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.records.grids import check_array

CodeModelKind = Literal["fixed", "shared", "column", "histogram"]


@dataclass(frozen=True)
class Uniform:
    """All levels of a column are equally likely."""

    kind: ClassVar[CodeModelKind] = "fixed"


@dataclass(frozen=True)
class SharedHistogram:
    """One histogram of all integers."""

    kind: ClassVar[CodeModelKind] = "shared"


@dataclass(frozen=True)
class ColumnHistograms:
    """One histogram per column."""

    kind: ClassVar[CodeModelKind] = "histogram"


@dataclass(frozen=True, eq=False)
class GaussianModel:
    """Rounded Gaussian variables of variance ``(weight_std · 2^(row exponent / 8) / column step)² + noise_variance``.

    Attributes
    ----------
    weight_std : float32 value
    noise_variance : float32 value; what fed-back errors add to the variance of every column, in squared steps, or a ridge takes from it
    row_exponents : (m,) uint8; None for equal rows
    """

    weight_std: float = 0.0
    noise_variance: float = 0.0
    row_exponents: NDArray[np.uint8] | None = None
    kind: ClassVar[CodeModelKind] = "column"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight_std) and self.weight_std >= 0 and math.isfinite(self.noise_variance)):
            raise ValueError(
                f"Gaussian model of {self.weight_std} and {self.noise_variance}, expected finite numbers, the first at least 0"
            )
        check_array("row exponents", self.row_exponents, np.uint8, (None,))


EntropyModel = Uniform | SharedHistogram | ColumnHistograms | GaussianModel

#: Models by kind; each can be made without arguments.
ENTROPY_MODELS: dict[CodeModelKind, type[EntropyModel]] = {
    model.kind: model for model in (Uniform, SharedHistogram, GaussianModel, ColumnHistograms)
}
