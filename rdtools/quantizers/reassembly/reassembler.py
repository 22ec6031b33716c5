"""Channel reassembly: outlier channels split into copies, similar channels merged to make room for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.coding import round_to_bfloat16
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.linalg import as_float64, check_weight
from rdtools.quantizers.grids.row import row_grid
from rdtools.quantizers.reassembly.matching import Metric, channel_distances, matched_groups, most_merges
from rdtools.quantizers.reassembly.thresholds import distinct_thresholds
from rdtools.quantizers.settings import check_choice
from rdtools.records import ActivationGrid, InputMap
from rdtools.records.link import Link
from rdtools.transforms.links import Merge, Select, Split

Assembly = Literal["merge", "prune", "none"]

#: Four bits for a token, from its least to its largest activation.
MINMAX = ActivationGrid(4, symmetric=False)
#: A channel so many times as large as the median one is likely the extreme of its token even after all splitting that is allowed.
_MASSIVE = 1e3


@dataclass(frozen=True, eq=False)
class Reassembly:
    """The input map that was chosen, and how.

    Attributes
    ----------
    input_map : Merge or Select, then Split
    threshold : θ, in units of the largest channel maximum
    copies : r, channels added by splitting
    split_channels : channels that are split
    error : mean squared output error per weight on the sample, weights and activations rounded; nan for a threshold that was given
    tried : thresholds that were tried
    """

    input_map: InputMap
    threshold: float
    copies: int
    split_channels: int
    error: float = float("nan")
    tried: int = 0

    @property
    def expansion(self) -> float:
        """``γ = r/n``, by which disassembly alone widens the layer."""
        return self.copies / self.input_map.inputs


def map_note(input_map: InputMap, moment: Float64Array) -> str:
    """Sentences that a reader of a result behind this map has to know; empty for none.

    Parameters
    ----------
    input_map : that was chosen
    moment : (n, n) E[x xᵀ]
    """
    notes = []
    if input_map.copies is None:
        notes.append("no channel is split: activations are rounded as they are")
    sizes = np.sqrt(np.diagonal(moment))
    usual, j = float(np.median(sizes)), int(sizes.argmax())
    if sizes[j] > _MASSIVE * usual:
        ratio = f"{sizes[j] / usual:.3g} times the median root mean square" if usual > 0 else "alone in being used by most tokens"
        notes.append(f"channel {j} has {ratio}: even split it may set the step of every token")
    return "; ".join(notes)


@dataclass(frozen=True, kw_only=True)
class Reassembler:
    """Settings of channel reassembly, with one verb.

    Attributes
    ----------
    threshold : θ in units of the largest channel maximum: channels above it are split into ``⌈m/θ⌉`` copies. None to search the one of
        least output error on a sample
    assembly : "merge" similar channels until the layer is as wide as before, "prune" the channels of least ``E x² ‖w‖²`` instead, or
        "none", which leaves it wider
    metric : of the matching, "paper" or "released"; see `channel_distances`
    balance : merge channels one-to-one, in place of several into one
    rescale : multiply every merged channel by ``max(1, ‖w‖/median ‖w‖)``, and divide its weights by it: what is merged does not widen the
        grids of the rows
    staggered : shift the copies of a channel by fractions of a step; see `rdtools.transforms.links.Split`
    weight_bits : of the rows' min-max grids that the search rounds weights to
    grid : that activations are rounded to
    search_tokens : tokens of the sample that the search measures errors on; maxima are those of all
    max_expansion : largest r/n that the search looks at
    points : thresholds that it tries at most

    Raises
    ------
    UsageError

    References
    ----------
    QLLM, arXiv 2310.08041. There and in its released code the search walks an even grid of thresholds and measures errors behind the local
    non-linearity; here it looks at the thresholds at which a copy is added, evenly thinned, and at the outputs of the layer, as the paper
    does for down projections. Rescaling, one-to-one matching, pruning as here and staggered copies are of this project.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((64, 8)) * [1, 1, 1, 9, 1, 1, 1, 1]
    >>> Reassembler(threshold=0.4).reassemble(x, np.eye(8)).input_map
    InputMap(8: Merge(8 → 6) · Split(6 → 8))
    """

    threshold: float | None = None
    assembly: Assembly = "merge"
    metric: Metric = "paper"
    balance: bool = False
    rescale: bool = True
    staggered: bool = False
    weight_bits: int = 4
    grid: ActivationGrid = MINMAX
    search_tokens: int = 512
    max_expansion: float = 0.2
    points: int = 100

    def __post_init__(self) -> None:
        check_choice("assembly", self.assembly, get_args(Assembly))
        check_choice("metric", self.metric, get_args(Metric))
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(
                f"threshold {self.threshold}: expected 0 < threshold ≤ 1, in units of the largest channel maximum, or None to search it"
            )
        if not 0 < self.max_expansion <= 1 or self.points < 1:
            raise UsageError(f"max_expansion {self.max_expansion} with {self.points} points, expected 0 < max_expansion ≤ 1 and at least 1")

    def reassemble(
        self,
        inputs: ArrayLike,  # (tokens, n)
        weight: ArrayLike,  # (m, n)
        *,
        moment: Float64Array | None = None,  # (n, n)
        name: str = "layer",
    ) -> Reassembly:
        """The input map of a layer.

        Parameters
        ----------
        inputs : sample of activations
        weight : all matrices of the input, one above the other: they share the map
        moment : E[x xᵀ] that channels are matched by, of more tokens than the sample; None for that of the sample
        name : for messages

        Raises
        ------
        UsageError
            For a threshold so low that fewer channels are left to be merged or pruned than were added.
        ShapeMismatch, UnsupportedDtype, NotFiniteInput
            Also for activations that are infinite or NaN: a maximum over them means nothing.
        """
        x = as_float64(inputs, name=f"{name}: sample of activations")
        if x.ndim != 2 or len(x) == 0:
            raise ShapeMismatch(f"{name}: sample of activations {x.shape}, expected (tokens, n), at least one token")
        W = check_weight(weight, columns=x.shape[1], name=name)
        H = x.T @ x / len(x) if moment is None else moment
        m = np.abs(x).max(axis=0)
        top = float(m.max())
        if top == 0:
            return Reassembly(InputMap(columns=len(m)), 1.0, 0, 0)
        distances = channel_distances(H, W, self.metric) if self.assembly == "merge" else np.outer(np.diagonal(H), (W**2).sum(axis=0))
        if self.threshold is not None:
            return self._at(m, distances, W, self.threshold * top, name)
        return self._searched(m, distances, x[: self.search_tokens], W, name)

    def _at(self, maxima: Float64Array, distances: Float64Array, weight: Float64Array, threshold: float, name: str) -> Reassembly:
        split = Split.within(maxima, threshold, staggered=self.staggered)
        counts, n = split.counts, len(maxima)
        r = split.outputs - n
        try:
            links = self._links(counts, r, distances, weight)
        except UsageError as error:
            raise UsageError(f"{name}: threshold {threshold / maxima.max():g} of the largest maximum: {error}") from error
        return Reassembly(InputMap(links, columns=n), threshold / float(maxima.max()), r, int((counts > 1).sum()))

    def _links(self, counts: NDArray[np.int64], r: int, distances: Float64Array, weight: Float64Array) -> list[Link]:
        if r == 0:
            return []
        n = len(counts)
        if self.assembly == "none":
            return [Split(counts, self.staggered)]
        if self.assembly == "prune":
            single = np.flatnonzero(counts == 1)
            if r > len(single):
                raise UsageError(
                    f"reassembly: {r} channels to prune, expected at most {len(single)} that are not split; raise the threshold"
                )
            kept = np.ones(n, dtype=bool)
            kept[single[np.argsort(np.diagonal(distances)[single], kind="stable")[:r]]] = False
            return [Select(kept), Split(counts[kept], self.staggered)]
        groups = matched_groups(distances, counts, r, balance=self.balance)
        first = np.ones(n, dtype=bool)
        first[[channel for group in groups for channel in group[1:]]] = False
        merge = Merge(groups, n)
        if self.rescale:
            norms = np.sqrt((merge.weight(weight) ** 2).sum(axis=0))
            merged = np.flatnonzero(first)[:, None] == np.array([group[0] for group in groups])
            factors = np.maximum(norms @ merged / max(float(np.median(norms)), np.finfo(np.float64).tiny), 1.0)
            merge = Merge(groups, n, round_to_bfloat16(factors))
        return [merge, Split(counts[first], self.staggered)]

    def _searched(self, maxima: Float64Array, distances: Float64Array, inputs: Float64Array, weight: Float64Array, name: str) -> Reassembly:
        """The candidate of least error on the sample, the one with the fewest copies of equals."""
        exact = inputs @ weight.T
        thresholds = distinct_thresholds(maxima, int(self.max_expansion * len(maxima)))
        if len(thresholds) > self.points:
            thresholds = thresholds[np.unique(np.linspace(0, len(thresholds) - 1, self.points).round().astype(int))]
        best: Reassembly | None = None
        least, tried = np.inf, 0
        for threshold in thresholds:
            counts = Split.within(maxima, float(threshold)).counts
            if int(counts.sum()) - len(maxima) > self._room(counts):
                break
            candidate = self._at(maxima, distances, weight, float(threshold), name)
            error = self._error(candidate.input_map, inputs, weight, exact)
            tried += 1
            if error < least:
                best, least = candidate, error
        assert best is not None  # the first threshold splits nothing
        return Reassembly(best.input_map, best.threshold, best.copies, best.split_channels, least, tried)

    def _room(self, counts: NDArray[np.int64]) -> float:
        """The largest number of channels that can be taken away for copies of others."""
        if self.assembly == "none":
            return float("inf")
        return most_merges(counts, balance=self.balance) if self.assembly == "merge" else int((counts == 1).sum())

    def _error(self, input_map: InputMap, inputs: Float64Array, weight: Float64Array, exact: Float64Array) -> float:
        mapped = input_map.weight(weight)
        rows = row_grid(mapped, 2**self.weight_bits, grid="asymmetric", name="reassembly")
        q = self.grid.quantize(input_map.apply(inputs), input_map.shifts)
        return float(np.mean((exact - q @ rows.values(rows.nearest(mapped)).T) ** 2) / weight.shape[1])
