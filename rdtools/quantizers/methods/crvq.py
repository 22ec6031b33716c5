"""CRVQ: additive codebooks with more of them for critical channels; AQLM is the same without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import codec_of, round_to_bfloat16
from rdtools.errors import RateUnreachable, UsageError
from rdtools.quantizers.base import SettledQuantizer, Solution
from rdtools.quantizers.grids.levels import check_step
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.prepared_input import PreparedInput
from rdtools.quantizers.problem import Problem
from rdtools.quantizers.rounding.channel_order import ChannelOrder, Importance, channel_importance, channel_order
from rdtools.quantizers.rounding.codebook_updates import Update
from rdtools.quantizers.rounding.codebooks import Training, train_codebooks
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS
from rdtools.quantizers.settings import check_choice
from rdtools.records import AdditiveCodes
from rdtools.records.additive_codes import GROUP, StoredOrder
from rdtools.records.error_models import CriticalGroups, ErrorModel, NoErrorModel
from rdtools.records.stored import round_to_stored
from rdtools.seeds import generator
from rdtools.transforms import RotationChoice


def _ordered_moment(shared: PreparedInput, order: NDArray[np.int64]) -> Float64Array:
    """The damped moment, rows and columns in this order, zeros in place of those that there are not."""
    known = order < len(shared.order)
    if known.all():
        return np.asarray(shared.moment_in(order, shared.added))
    ordered = np.zeros((len(order), len(order)))
    ordered[np.ix_(known, known)] = shared.moment_in(order[known], shared.added)
    return ordered


@dataclass(frozen=True, kw_only=True)
class CRVQ(SettledQuantizer):
    """Sums of codewords for groups of eight columns of a row, further ones in the groups of the critical channels.

    Row i has ``s_i Σ_b C_b[code]`` on a group, over `basic` codebooks of 2^bits words, and over `extended` further ones of
    2^extended_bits in the critical groups. The rate is that of the codes, ``(basic · bits + λ · extended · extended_bits)/8``, so
    that it decides λ, the share of critical channels, in whole groups: 1.06 bits are 2 % with codebooks of 8 bits, one and three.
    Codebooks and scales are stored in 16 bits, and counted in `total_bpw`. Columns are filled up to a multiple of eight with zeros,
    whose codes are counted.

    AQLM M×e is M basic codebooks of e bits and no extended ones.

    Distortion: with `epochs` = 0, where codes are chosen without H, ``σ² Σ_j c_j H_jj/n``, c being the error of the codebooks that
    channel j has; see `rdtools.theory.critical_channels.relaxed_distortion`.

    Attributes
    ----------
    rate_bits : of the codes, per weight
    basic, bits : codebooks of every group, and bits of their codes, 1 to 16
    extended, extended_bits : further codebooks of critical groups, and bits of their codes
    channel_order : "sorted", "natural_rest" or "stratified_rest"; see `channel_order`
    importance : "residual", "spqr", "magnitude" or "random"; see `channel_importance`
    update : of codebooks and scales, "solve" by least squares or "adam"
    epochs, steps, tolerance, beam, iterations, learning_rate : see `Training`
    rotation : of inputs; None, "hadamard", "haar", "kronecker", or "auto" (Hadamard where it exists)
    damping : relative to the mean diagonal of H; None for none unless H is singular
    backend : None, "numba" or "reference"

    References
    ----------
    CRVQ, arXiv 2412.09282; AQLM, arXiv 2401.06118; without fine-tuning of blocks.

    Examples
    --------
    >>> from rdtools.moments.layer import Layer
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 32)), np.eye(32) + 0.5)
    >>> q = CRVQ(rate_bits=1.25, bits=4, extended_bits=4).quantize(layer)
    >>> q.weight.symbols.critical, q.symbol_rate_bits
    (2, 1.25)
    """

    basic: int = 1
    bits: int = 8
    extended: int = 3
    extended_bits: int = 8
    channel_order: ChannelOrder = "stratified_rest"
    importance: Importance = "residual"
    update: Update = "solve"
    epochs: int = 50
    steps: int = 10
    tolerance: float = 0.01
    beam: int = 1
    iterations: int = 100
    learning_rate: float = 1e-4
    rotation: RotationChoice | None = None

    @classmethod
    def published(cls, rate_bits: float, **others: Any) -> CRVQ:
        """The method as released, but for its fine-tuning: all channels sorted, 100 steps of Adam an epoch; `others` in place of these."""
        published: dict[str, Any] = {"channel_order": "sorted", "update": "adam", "steps": 100}
        return cls(rate_bits=rate_bits, **(published | others))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("CRVQ: channel_order", self.channel_order, get_args(ChannelOrder))
        check_choice("CRVQ: importance", self.importance, get_args(Importance))
        check_choice("CRVQ: update", self.update, get_args(Update))
        if not (self.basic >= 1 and self.extended >= 0 and self.basic + self.extended <= 255):
            raise UsageError(f"CRVQ: {self.basic} basic and {self.extended} extended codebooks, expected at least 1 and 0, at most 255")
        if not (1 <= self.bits <= 16 and 1 <= self.extended_bits <= 16):
            raise UsageError(f"CRVQ: codes of {self.bits} and {self.extended_bits} bits, expected 1 to 16")
        if not (self.epochs >= 0 and self.steps >= 1 and self.beam >= 1 and self.iterations >= 1):
            raise UsageError(
                f"CRVQ: {self.epochs} epochs, {self.steps} steps, a beam of {self.beam}, {self.iterations} iterations; expected at least "
                "0, 1, 1 and 1"
            )
        if not (0 <= self.tolerance < 1 and 0 < self.learning_rate < np.inf):
            raise UsageError(f"CRVQ: tolerance {self.tolerance}, learning_rate {self.learning_rate}; expected 0 to 1, and a number above 0")

    @property
    def preparation(self) -> Preparation:
        """Settings of `prepare`: methods that agree in them may share its answer."""
        return Preparation(rotation=self.rotation, damping=self.damping)

    @property
    def _rates(self) -> tuple[float, float]:
        """Without critical channels, and with nothing else."""
        basic = self.basic * self.bits / GROUP
        return basic, basic + self.extended * self.extended_bits / GROUP

    def check_reachable(self, name: str) -> None:
        """Refuse a rate that the method cannot have on any layer; see `Quantizer.check_reachable`."""
        low, high = self._rates
        if self.extended == 0 and abs(self.rate_bits - low) > RATE_TOLERANCE_BITS:
            raise RateUnreachable(f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its codes have {low:g}; ask for that")
        if self.extended > 0 and not low < self.rate_bits <= high + RATE_TOLERANCE_BITS:
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: its codes have above {low:g} bits, with no critical "
                f"channel, up to {high:g}, with no other; ask for a rate between"
            )

    def _critical_groups(self, rows: int, groups: int, name: str) -> int:
        """Critical groups of a layer for the rate; refuses layers that are too small.

        Raises
        ------
        RateUnreachable
        """
        low, high = self._rates
        critical = round((self.rate_bits - low) / (high - low) * groups) if self.extended else 0
        reached = low + (high - low) * critical / max(groups, 1)
        if groups and (abs(reached - self.rate_bits) > RATE_TOLERANCE_BITS or (self.extended and critical == 0)):
            below = int(np.floor((self.rate_bits - low) / (high - low) * groups))
            near = sorted({min(max(k, 1), groups) for k in (below, below + 1)})
            raise RateUnreachable(
                f"{name}: {self.rate_bits:g} bits per weight cannot be reached: critical channels come in groups of {GROUP}, "
                f"{(self.rate_bits - low) / (high - low):.2%} of {GROUP * groups} columns are no whole number of groups; "
                f"rates near it: {', '.join(f'{low + (high - low) * k / groups:.6g}' for k in near)}"
            )
        for count, bits in ((groups, self.bits), (critical, self.extended_bits)):
            if 0 < count * rows < 2**bits:
                raise RateUnreachable(
                    f"{name}: {self.rate_bits:g} bits per weight cannot be reached: a codebook of {2**bits} words for {count * rows} "
                    f"vectors, {rows} rows times {count} groups of {GROUP} columns; take fewer bits per code, or a larger layer"
                )
        return critical

    def _order(
        self, target: Float64Array, energies: Float64Array, factor: Float64Array, critical: int, draws: np.random.Generator
    ) -> tuple[NDArray[np.int64], StoredOrder]:
        """Order of the columns, those that fill the last group up being the least important."""
        r = target.shape[1]
        scores = np.full(-(-r // GROUP) * GROUP, -1.0)
        if critical or self.channel_order != "natural_rest":
            scores[:r] = channel_importance(
                target, energies, factor, self.importance,
                words=2**self.bits, iterations=self.iterations, generator=draws, backend=self.backend,
            )  # fmt: skip
        return channel_order(scores, self.channel_order, critical)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer."""
        name = f"{problem.key.name}: CRVQ"
        if problem.weight_std > 0:
            check_step(problem.weight_std, name)
        m, r = problem.target.shape
        critical = self._critical_groups(m, -(-r // GROUP), name)
        book_bits = [self.bits] * self.basic + [self.extended_bits] * (self.extended if critical else 0)
        draws = generator(problem.seed, "codebooks", problem.key.name)
        shared = problem.prepared_input
        columns = self._order(problem.target, shared.energies + shared.added, shared.factor, critical, draws) if r else None
        order, stored = columns or (np.zeros(0, dtype=np.int64), "natural")
        training = Training(
            update=self.update, epochs=self.epochs, steps=self.steps, tolerance=self.tolerance, iterations=self.iterations,
            beam=self.beam, rate=self.learning_rate,
        )  # fmt: skip
        trained = train_codebooks(
            (np.pad(problem.target, ((0, 0), (0, len(order) - r))) if len(order) > r else problem.target)[:, order],
            lambda: _ordered_moment(shared, order),
            book_bits,
            critical,
            self.basic,
            training,
            draws,
            backend=self.backend,
        )
        symbols = AdditiveCodes(
            codes=trained.codes,
            codebooks=tuple(round_to_stored(book, "float16", name=f"{name}: codebook") for book in trained.codebooks),
            scales=round_to_bfloat16(trained.scales),
            order=order,
            stored=stored,
            basic=self.basic,
            critical=critical,
        )
        rate = codec_of(symbols).length_bits(symbols) / max(problem.target.size, 1)
        return Solution(symbols, rate, self._error_model(order, critical, r))

    def _error_model(self, order: NDArray[np.int64], critical: int, columns: int) -> ErrorModel:
        if self.epochs > 0:
            return NoErrorModel(reason="codes are chosen with the Hessian, which does part of the allocation; no formula is known for that")
        if critical and self.extended_bits != self.bits:
            return NoErrorModel(reason="errors of codebooks of unequal bits on top of each other are not tabulated")
        mask = np.isin(np.arange(columns), order[: GROUP * critical])
        return CriticalGroups(bits=self.bits, basic=self.basic, extended=self.extended, critical=mask)
