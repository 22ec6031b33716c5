"""Entropy models of integers, one class per kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.records.grids import check_array

CodeModelKind = Literal["fixed", "shared", "column", "histogram", "adaptive"]


class EntropyModel:
    """Base of the models: what all of them are asked, whatever their kind; `rdtools.coding.formats.integer_models` has all else by kind."""

    kind: ClassVar[CodeModelKind]
    #: True if probabilities follow from the steps of the columns.
    gaussian: ClassVar[bool] = False
    row_exponents: NDArray[np.uint8] | None = None
    #: Of learning; 0 for none.
    strength: int = 0

    @property
    def learns(self) -> bool:
        """True if the decoder learns the model from the rows that it has."""
        return self.strength > 0


@dataclass(frozen=True)
class Uniform(EntropyModel):
    """All levels of a column are equally likely."""

    kind: ClassVar[CodeModelKind] = "fixed"


@dataclass(frozen=True)
class SharedHistogram(EntropyModel):
    """One histogram of all integers."""

    kind: ClassVar[CodeModelKind] = "shared"


@dataclass(frozen=True)
class ColumnHistograms(EntropyModel):
    """One histogram per column."""

    kind: ClassVar[CodeModelKind] = "histogram"


@dataclass(frozen=True, eq=False)
class GaussianModel(EntropyModel):
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
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight_std) and self.weight_std >= 0 and math.isfinite(self.noise_variance)):
            raise ValueError(
                f"Gaussian model of {self.weight_std} and {self.noise_variance}, expected finite numbers, the first at least 0"
            )
        check_array("row exponents", self.row_exponents, np.uint8, (None,))


@dataclass(frozen=True, eq=False)
class AdaptiveModel(GaussianModel):
    """Gaussian models that the decoder learns, starting from those of `GaussianModel`; see `rdtools.kernels.adaptive_coder_reference`.

    Columns are coded in groups that decode apart. Within a group rows are decoded in order, and the second moment of the rows so far says
    mean and variance of each integer given those to its left. Nothing is sent for it.

    Attributes
    ----------
    columns : in a group, 1 to MOST_COLUMNS; 0 beside a strength of 0
    strength : 1 to 10, of the shrinkage of the second moment to its diagonal, which counts as ``p 2^(strength/2 − 4)`` rows in a group of p
        columns; 0 for no learning, with the integers coded as under a `GaussianModel`
    """

    columns: int = 0
    strength: int = 0
    kind: ClassVar[CodeModelKind] = "adaptive"

    #: A second moment takes n² numbers, and its factor n³ operations for each block of rows.
    MOST_COLUMNS: ClassVar[int] = 4096
    STRENGTHS: ClassVar[range] = range(11)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learns <= self.columns <= self.MOST_COLUMNS * self.learns or self.strength not in self.STRENGTHS:
            raise ValueError(
                f"adaptive model of {self.columns} columns and strength {self.strength}, expected 1 to {self.MOST_COLUMNS} columns and "
                "1 to 10, or 0 and 0"
            )


#: Models by kind; each can be made without arguments.
ENTROPY_MODELS: dict[CodeModelKind, type[EntropyModel]] = {
    model.kind: model for model in (Uniform, SharedHistogram, GaussianModel, ColumnHistograms, AdaptiveModel)
}
