"""Range coder of integers whose Gaussian models the decoder learns from the rows that it has, written like the theory.

Integers of a row are taken in units of their plain models, ``u_i = q_i/ρ_i`` with ``ρ_i² = E[q_i²]``, clipped. Before each block of rows
both sides form the second moment C of the rows so far, shrink it to its diagonal by ``λ = ν/(k + ν)``, and factor it as ``U diag(d) Uᵀ``,
U unit lower triangular. The integer of column i is then coded under a Gaussian of mean ``ρ_i Σ_{t<i} U_it e_t`` and standard deviation
``σ_i √d_i``, e being the row's innovations and σ_i the standard deviation of its plain model. Nothing is sent but ν.

What is summed over rows are products of integers, exact in float64 in any order. Everything else is IEEE + − × ÷ √ in the order written
here, one rounding each, so that the bits of every mean and frequency are the same on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._range_coder import ESCAPES, PARITY, PRECISION, RIGHT, WORDS, RangeDecoder, RangeEncoder

from rdtools.arrays import Float64Array
from rdtools.normal import normal_cdf

#: Places of the plain models by exponents of rows less those of columns, σ and ρ of each.
Gaussians = tuple[NDArray[np.int64], Float64Array, Float64Array]

#: A unit of u is so many steps; u is clipped to CLIP, innovations to CLIP standard deviations, means to MOST_MEAN. A row whose mean
#: square is above HEAVY is scaled down to it in C, so that no row dominates.
UNITS, CLIP, MOST_MEAN, HEAVY = 64, 4, 8.0, 2.0
#: Rows that C begins with, of the plain models; a block has an INVERSE_SHARE-th of the columns or a GROWTH-th of the rows before it.
PRIOR_ROWS, INVERSE_SHARE, GROWTH = 32, 128, 20
#: Window of a model in standard deviations; standard deviation above which low bits are equally likely, how many at most; least one.
WINDOW, FINE_STD, MAX_SHIFT, MIN_STD = 6.0, 512.0, 20, 1e-30


def row_blocks(rows: int, columns: int, before: int = 0) -> Iterator[tuple[int, int]]:
    """First and past-the-last rows of the blocks that are coded under one C each, after so many rows of other matrices.

    Examples
    --------
    >>> list(row_blocks(20, 512)), list(row_blocks(20, 512, before=200))
    ([(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)], [(0, 10), (10, 20)])
    """
    first = 0
    while first < rows:
        stop = min(rows, first + max(1, columns // INVERSE_SHARE, (before + first) // GROWTH))
        yield first, stop
        first = stop


def factor(sums: Float64Array, rows: int, prior: float) -> tuple[Float64Array, Float64Array]:
    """``Uᵀ``, whose strict upper triangle is used, and d of the shrunk second moment of so many rows.

    Parameters
    ----------
    sums : (p, p) ``Σ_k û_k û_kᵀ``, integers of UNITS² each
    rows : in the sums
    prior : ν, rows that the diagonal counts for
    """
    p = len(sums)
    count = float(rows + PRIOR_ROWS)
    shrunk = rows / (rows + prior) / (count * UNITS**2)
    a = sums * shrunk
    a[np.diag_indices(p)] = (np.diagonal(sums) / UNITS**2 + PRIOR_ROWS) / count
    d = np.empty(p)
    for t in range(p):
        d[t] = a[t, t]
        scaled = a[t, t + 1 :] / d[t]
        a[t + 1 :, t + 1 :] -= np.outer(a[t, t + 1 :], scaled)
        a[t, t + 1 :] = scaled
    return a, d


def in_units(integers: Float64Array, roots: Float64Array) -> Float64Array:
    """û: ``UNITS q/ρ``, rounded and clipped."""
    return np.clip(np.floor(UNITS * (integers / roots) + 0.5), -UNITS * CLIP, UNITS * CLIP)


def weighed(units: Float64Array) -> Float64Array:
    """û of a row as it enters C: scaled down where its mean square is above HEAVY."""
    energy, most = float((units * units).sum()), HEAVY * UNITS**2 * len(units)
    return units if energy <= most else np.floor(units * np.sqrt(most / energy) + 0.5)


class Model:
    """A Gaussian of an integer ``q/unit`` of known parity: which symbols it has, and where each begins.

    With b low bits equally likely the symbols are ``k >> b`` from ``center − half`` to ``center + half``, then an escape symbol.
    """

    def __init__(self, mean: float, std: float, offset: float) -> None:
        self.mean, self.std, self.offset, self.shift = mean - offset, max(std, MIN_STD), offset, 0
        while self.std > FINE_STD * 2.0**self.shift and self.shift < MAX_SHIFT:
            self.shift += 1
        self.half = (int(np.floor(WINDOW * min(self.std, FINE_STD * 2.0**self.shift))) + 1 >> self.shift) + 1
        self.center = int(np.floor((self.mean + 0.5) / 2.0**self.shift))

    def start(self, symbol: int) -> int:
        """The lower end of a symbol in 2⁻²⁴: ``⌊(2²⁴ − K) Φ⌋ + place`` at its lower boundary; the outermost have the tails."""
        if symbol == 0:
            return 0
        if symbol > 2 * self.half:
            return (1 << PRECISION) - (symbol == 2 * self.half + 1)
        boundary = (self.center - self.half + symbol) * 2.0**self.shift - 0.5
        cdf = float(normal_cdf(np.array([(boundary - self.mean) / self.std]))[0])
        return int(np.floor(((1 << PRECISION) - (2 * self.half + 2)) * cdf)) + symbol


class _Learner:
    """The state that encoder and decoder share before the next integer of a row."""

    def __init__(
        self,
        shape: tuple[int, int],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        gaussians: Gaussians,
        prior: float,
        before: int,
        moment: Float64Array | None,
    ) -> None:
        gaussian, stds, roots = gaussians
        index = gaussian[rows[:, None] - columns]
        self.shape, self.prior, self.stds, self.roots = shape, prior, stds[index], roots[index]
        self.before, self.sums = before, np.zeros((shape[1], shape[1])) if moment is None else moment.copy()
        self.starts = {first for first, _ in row_blocks(*shape, before)}

    def begin(self, row: int) -> None:
        """Learn what is new, and begin a row."""
        if row in self.starts:
            self.upper, self.d = factor(self.sums, self.before + row, self.prior)
            self.conditional_stds = np.sqrt(self.d)
        self.row, self.means, self.units = row, np.zeros(self.shape[1]), np.zeros(self.shape[1])

    def model(self, i: int, offset: float) -> Model:
        """The model of the integer of column i."""
        mean = min(max(float(self.means[i]), -MOST_MEAN), MOST_MEAN)
        return Model(mean * float(self.roots[self.row, i]), float(self.stds[self.row, i] * self.conditional_stds[i]), offset)

    def note(self, i: int, value: float) -> None:
        """Take in the integer, in steps, of column i."""
        self.units[i] = in_units(np.array([value]), self.roots[self.row, i : i + 1])[0]
        most = CLIP * self.conditional_stds[i]
        innovation = min(max(self.units[i] / UNITS - self.means[i], -most), most)
        self.means[i + 1 :] += self.upper[i, i + 1 :] * innovation

    def end(self) -> None:
        """Take in the row."""
        units = weighed(self.units)
        self.sums += np.outer(units, units)


def _state(transitions: NDArray[np.int32], state: int, q: int) -> int:
    return int(transitions[state, (q >> 1) & 1]) if len(transitions) else 0


def _parts(
    integers: NDArray[np.int32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],
    segment: int,
    before: int,
    moment: Float64Array | None,
) -> tuple[list[tuple[int, int]], list[int], int]:
    """Beginnings and lengths of the parts that the coder's interval is narrowed to, of 2²⁴; escaped integers; the outcome."""
    m, p = integers.shape
    learner = _Learner((m, p), rows, columns, gaussians, prior, before, moment)
    walks, state = len(transitions) > 0, [0] * p
    parts: list[tuple[int, int]] = []
    escaped: list[int] = []
    for r in range(m):
        learner.begin(r)
        for i, q in enumerate(integers[r].tolist()):
            s = 0 if r % segment == 0 else state[i]
            if walks and (q - s) % 2:
                return parts, escaped, PARITY
            k = q >> 1 if walks else q
            model = learner.model(i, 0.5 * (s % 2) if walks else 0.0)
            symbol = (k >> model.shift) - model.center + model.half
            inside = 0 <= symbol <= 2 * model.half
            symbol = symbol if inside else 2 * model.half + 1
            left = model.start(symbol)
            parts.append((left, model.start(symbol + 1) - left))
            if inside and model.shift:
                parts.append(((k & ((1 << model.shift) - 1)) << (PRECISION - model.shift), 1 << (PRECISION - model.shift)))
            elif not inside:
                escaped.append(q)
            learner.note(i, 0.5 * q if walks else float(q))
            state[i] = _state(transitions, s, q)
        learner.end()
    return parts, escaped, RIGHT


def adaptive_length(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[float, NDArray[np.int32], int]:
    """Ideal length of a block in bits, escaped integers apart; these in order; RIGHT or PARITY. Arguments as of `adaptive_encode`."""
    parts, escaped, outcome = _parts(integers, rows, columns, gaussians, prior, transitions, segment, before, moment)
    bits = sum(PRECISION - float(np.log2(part)) for _, part in parts)
    return bits, np.array(escaped, dtype=np.int32), outcome


def adaptive_encode(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], int]:
    """Words of a block, its escaped integers in order, and RIGHT, or PARITY for integers that are no walks.

    Parameters
    ----------
    integers : (m, p) int32
    rows, columns : (m,) and (p,) int64; an integer in row r and column i has the plain model ``gaussian[rows[r] − columns[i]]``
    gaussians : places, and σ and ρ of the plain models, in steps
    prior : ν
    transitions : of a trellis of cosets, whose states give parities, a step being two integers; none, (0, 2), for integers a step apart
    segment : rows of a walk of the trellis
    before, moment : rows of other matrices that C begins with, and `adaptive_moment` (p, p) of their integers; None for none
    """
    parts, escaped, outcome = _parts(integers, rows, columns, gaussians, prior, transitions, segment, before, moment)
    if outcome != RIGHT:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int32), outcome
    coder = RangeEncoder()
    for left, part in parts:
        coder.narrow(left, part)
    return coder.words(), np.array(escaped, dtype=np.int32), RIGHT


def adaptive_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    prior: float,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    before: int = 0,
    moment: Float64Array | None = None,
) -> tuple[NDArray[np.int32], int]:
    """The integers (m, p) that `adaptive_encode` made words of, and RIGHT, or what is wrong with the words."""
    m, p = len(rows), len(columns)
    integers = np.zeros((m, p), dtype=np.int32)
    coder, escapes = RangeDecoder(words), 0
    learner = _Learner((m, p), rows, columns, gaussians, prior, before, moment)
    walks, state = len(transitions) > 0, [0] * p
    for r in range(m):
        learner.begin(r)
        for i in range(p):
            s = 0 if r % segment == 0 else state[i]
            model = learner.model(i, 0.5 * (s % 2) if walks else 0.0)
            if coder.quantile >= 1 << PRECISION:
                return integers, WORDS
            symbol = bisect_right(range(2 * model.half + 2), coder.quantile, key=model.start) - 1
            left = model.start(symbol)
            coder.narrow(left, model.start(symbol + 1) - left)
            if symbol > 2 * model.half:
                if escapes == len(escaped):
                    return integers, ESCAPES
                q = int(escaped[escapes])
                escapes += 1
                if walks and (q - s) % 2:
                    return integers, PARITY
            else:
                k = (symbol - model.half + model.center) << model.shift
                if model.shift:
                    if coder.quantile >= 1 << PRECISION:
                        return integers, WORDS
                    low = coder.quantile >> (PRECISION - model.shift)
                    coder.narrow(low << (PRECISION - model.shift), 1 << (PRECISION - model.shift))
                    k |= low
                q = 2 * k + s % 2 if walks else k
                if not -(2**31) <= q < 2**31:
                    return integers, WORDS
            integers[r, i] = q
            learner.note(i, 0.5 * q if walks else float(q))
            state[i] = _state(transitions, s, q)
        learner.end()
    if escapes != len(escaped):
        return integers, ESCAPES
    return integers, coder.outcome
