"""Records of a foreign file: its matrices, and what it spends on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import DataError
from rdtools.foreign.names import canonical
from rdtools.reprs import short_repr

Values = NDArray[np.floating]


@dataclass(frozen=True)
class StoredBits:
    """Bits that a file spends on a matrix; their sum is 8 × the bytes of its tensors.

    Attributes
    ----------
    codes : quantized integers or indices of codewords
    scales : scales, minima and zero points
    other : orders of columns, shapes, and bits of words that no integer fills
    """

    codes: int
    scales: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All bits."""
        return self.codes + self.scales + self.other


@dataclass(frozen=True, eq=False, repr=False)
class StoredMatrix:
    """A matrix of a foreign file.

    Attributes
    ----------
    label : file and tensor, for messages
    type : of what is stored, such as Q4_K, BF16 or int4 g128
    shape : of the decoded values
    bits : that the file spends on it
    readings : name → function that decodes, where the layout leaves a choice; the first is the one that the file states
    stated : the file states which reading is meant; else the original decides
    as_tensor : the values are laid out as the tensor of the original; else as (out_features, in_features)
    note : what a reader should know of its type; "" for nothing
    fallback : the type is one that the quantizer took because the one in the file's name does not fit the shape
    bias : reads the bias beside the matrix, under one of the readings; None without one
    bias_bits : that the file spends on it
    """

    label: str
    type: str
    shape: tuple[int, ...]
    bits: StoredBits
    readings: Mapping[str, Callable[[], Values]]
    stated: bool = True
    as_tensor: bool = False
    note: str = ""
    fallback: bool = False
    bias: Callable[[str], Values] | None = None
    bias_bits: int = 0
    __repr__ = short_repr


@dataclass(frozen=True, eq=False, repr=False)
class ForeignModel:
    """A foreign checkpoint.

    Attributes
    ----------
    path : as given
    format : name in `rdtools.foreign.formats.FORMATS`
    named_type : type in the name of the file or in its configuration; "" where none is
    matrices : by name in the file, in the names of Hugging Face
    """

    path: Path
    format: str
    named_type: str
    matrices: Mapping[str, StoredMatrix]
    _by_canonical: dict[str, list[str]] = field(init=False, repr=False, default_factory=dict)
    __repr__ = short_repr

    def __post_init__(self) -> None:
        for name in self.matrices:
            self._by_canonical.setdefault(canonical(name), []).append(name)

    def find(self, *names: str) -> StoredMatrix:
        """The matrix of a layer, by the first of these names that the file has, with any prefix of a module around the decoder.

        Raises
        ------
        DataError
            If there is none, or several differ in their prefix alone.
        """
        for name in names:
            exact = next((candidate for candidate in (name, f"{name}.weight") if candidate in self.matrices), None)
            if exact is not None:
                return self.matrices[exact]
            same = self._by_canonical.get(canonical(name), [])
            if len(same) == 1:
                return self.matrices[same[0]]
            if same:
                raise DataError(f"{self.path}: {' and '.join(same[:3])} may all be {names[0]}; leave it out with `layers`")
        raise DataError(
            f"{self.path}: no tensor for {names[0]}, which the run has; a file of another model or of a part of it: give "
            "the one made from the "
            "run's model, or choose with `layers` those that it has"
        )
