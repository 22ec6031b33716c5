"""What QuIP# and QTIP share: both sides rotated, one scale, blocks of columns rounded together with feedback."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import round_to_float32
from rdtools.errors import RateUnreachable, UsageError
from rdtools.hessians.layer import Layer
from rdtools.ops import choose_backend
from rdtools.quantizers.grid import check_step
from rdtools.quantizers.problem import Problem, prepare
from rdtools.quantizers.rate_search import check_rate
from rdtools.quantizers.scale_search import search_scale, spread_rows
from rdtools.quantizers.settings import check_damping, check_rotation
from rdtools.records import LatticeCodes, QuantizedLayer, QuantizedWeight, TrellisCodes
from rdtools.transforms import RotationChoice

Float64Array = NDArray[np.float64]
Preset = Literal["best", "published"]
Codes = LatticeCodes | TrellisCodes
#: Codes, and the values that they stand for.
Rounded = tuple[Codes, Float64Array]


def check_preset(preset: str) -> None:
    """Refuse a preset that there is not.

    Raises
    ------
    UsageError
    """
    if preset not in ("best", "published"):
        raise UsageError(f"preset {preset!r}: expected 'best' or 'published'")


def pad_problem(weight: Float64Array, factor: Float64Array, row_multiple: int, column_multiple: int) -> tuple[Float64Array, Float64Array]:
    """Weight and factor with rows and columns added up to whole blocks: zero weights on inputs of their own and mean energy.

    The added columns neither give nor take feedback; their codes are part of the file.
    """
    m, n = weight.shape
    rows, columns = -(-m // row_multiple) * row_multiple, -(-n // column_multiple) * column_multiple
    if (rows, columns) == (m, n):
        return weight, factor
    padded = np.zeros((rows, columns))
    padded[:m, :n] = weight
    L = np.zeros((columns, columns))
    L[:n, :n] = factor
    extra = np.arange(n, columns)
    L[extra, extra] = np.sqrt(np.sum(factor**2) / max(n, 1))
    return padded, L


@dataclass(frozen=True, kw_only=True)
class VectorQuantizer(ABC):
    """Settings that quantizers of vectors share.

    Attributes
    ----------
    rate_bits : one of the rates that the method has codes for
    preset : "published", the settings of the paper, or "best", those that measure best: the scale of least loss on a sample of rows
    rotation : of inputs and outputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for the preset's: 0.01 as published, else none unless H is singular
    backend : None, "numba" or "reference"
    """

    rate_bits: float
    preset: Preset = "best"
    rotation: RotationChoice | None = "auto"
    damping: float | None = None
    backend: str | None = None

    #: Rows on which the scale is searched.
    sample_rows: ClassVar[int] = 128
    #: Columns that are rounded together, and rows with them.
    block: ClassVar[int]
    row_block: ClassVar[int] = 1
    #: The rates that there are.
    rates: ClassVar[tuple[int, ...]]
    #: Name without the preset.
    base_name: ClassVar[str]

    def __post_init__(self) -> None:
        check_rate(self.rate_bits)
        check_preset(self.preset)
        check_rotation(self.rotation)
        check_damping(self.damping)

    @property
    def method(self) -> str:
        """Name in result tables."""
        suffix = {None: "-unrotated", "auto": ""}.get(self.rotation, f"+{self.rotation}")
        return self.base_name + "-published" * (self.preset == "published") + suffix

    @property
    def bits(self) -> int:
        """Per weight."""
        return int(self.rate_bits)

    @property
    @abstractmethod
    def error(self) -> float:
        """Mean squared error on normal weights of mean square 1, at the scale that is best for them."""

    @property
    @abstractmethod
    def _input_rms(self) -> float:
        """Root mean square, in units of the codebook, that weights are brought to: as published, or best for normal targets."""

    @abstractmethod
    def _round(self, weight: Float64Array, factor: Float64Array, moment: Float64Array | None, scale: float) -> Rounded:
        """Codes of a padded problem, and the values that they stand for; `moment` is ``L Lᵀ`` for a method that refines."""

    @property
    def _refines(self) -> bool:
        return False

    @property
    def _trial(self) -> VectorQuantizer:
        """The method as it is tried in the search for a scale."""
        return self

    def _solve(self, weight: Float64Array, factor: Float64Array, std: float) -> Codes:
        input_rms = self._input_rms
        moment = factor @ factor.T if self._refines else None
        if self.preset == "best" and std > 0:
            sample = spread_rows(weight, self.sample_rows, together=self.row_block)

            def loss(rms: float) -> float:
                _, values = self._trial._round(sample, factor, moment, round_to_float32(std / rms))
                return float(np.linalg.norm((sample - values) @ factor))

            input_rms = search_scale(loss, input_rms)
        codes, _ = self._round(weight, factor, moment, round_to_float32(std / input_rms))
        return codes

    @property
    def preparation(self) -> tuple[Hashable, ...]:
        """Settings that `prepare` depends on."""
        return ("both sides", False, self.rotation, self._damping, "natural")

    @property
    def _damping(self) -> float | None:
        return 0.01 if self.damping is None and self.preset == "published" else self.damping

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer.

        Parameters
        ----------
        name : of the method, or of the layer and the method, for the message

        Raises
        ------
        RateUnreachable
        """
        if self.rate_bits not in self.rates:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its codes have "
                f"{', '.join(map(str, self.rates[:-1]))} or {self.rates[-1]} bits; ask for one of these"
            )

    def prepare(self, layer: Layer, *, seed: int = 0) -> Problem:
        """Make a layer ready; the answer serves every rate."""
        return prepare(layer, rotation=self.rotation, row_rotation=self.rotation, damping=self._damping, seed=seed)

    def quantize(self, layer: Layer, *, seed: int = 0, problem: Problem | None = None) -> QuantizedLayer:
        """Quantize one layer.

        Parameters
        ----------
        layer : weight and Hessian
        seed : of the run; rotations are drawn from it and the layer's name
        problem : what `prepare` gave for this layer and seed, to be used again at another rate

        Raises
        ------
        RateUnreachable, UnsupportedOrder, NotPositiveSemidefinite, ScaleOutOfRange, BackendUnavailable
        """
        self.check_reachable(f"{layer.key.name}: {self.method}")
        problem = self.prepare(layer, seed=seed) if problem is None else problem
        factor = problem.factor
        assert factor is not None  # `prepare` factors unless told not to
        std = problem.weight_std
        if std > 0:
            check_step(std, f"{problem.key.name}: {self.method}")
        weight, factor = pad_problem(problem.target, factor, self.row_block, self.block)
        codes = self._solve(weight, factor, std)
        return QuantizedLayer(
            weight=QuantizedWeight(problem.basis, codes),
            method=self.method,
            target_rate_bits=self.rate_bits,
            code_rate_bits=self.rate_bits * weight.size / layer.weight.size,
            damping=problem.damping,
            seed=problem.seed,
            backend=choose_backend(self.backend),
        )
