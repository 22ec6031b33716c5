"""Entropy models of the points of D4 and E8: a codeword says the parities of the integers, a Gaussian each integer given its parity.

Both lattices are all integer vectors whose parities are a word of a binary code: D4 of the [4, 3] code of even weight, E8 (times √2) of the
[8, 4] extended Hamming code. A Gaussian vector of standard deviation s, in pairs of integers, has the codeword c with a probability
proportional to ``π₀^(N − |c|) (1 − π₀)^|c|``, π₀ being that of an even integer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Int64Array, panels
from rdtools.coding import format_v2 as v2
from rdtools.coding.entropy.fit import fit_gaussians
from rdtools.coding.entropy.gaussians import Gaussians, count_by_gaussian, gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import FrequencyTable
from rdtools.normal import cell_probability
from rdtools.records import GaussianModel, LatticeName, LatticePoints, power_of_eighths

#: Check bits of each unit vector of information bits.
_CHECKS: dict[LatticeName, tuple[tuple[int, ...], ...]] = {
    "D4": ((1,), (1,), (1,)),
    "E8": ((0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)),
}
#: Deviation that the codewords have over that of the integers given their parity: nearest points of columns below the step are fewer odd
#: ones than such a Gaussian has. Within 5 % of the best at every step of either lattice, and worth 0.02 bit at steps of two deviations.
_SPREAD = 1.4
#: Standard deviation in pairs of integers from which both parities are equally likely to 1e-8, and even integers that are summed below.
_COARSE, _TERMS = 1.0, 4


@cache
def codewords(lattice: LatticeName) -> NDArray[np.uint8]:
    """(K, N) words of the code by number: the information bits, lowest first, then the check bits.

    Examples
    --------
    >>> codewords("D4")[:4].tolist()
    [[0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1], [1, 1, 0, 0]]
    """
    checks = np.array(_CHECKS[lattice], dtype=np.uint8)
    bits = (np.arange(2 ** len(checks))[:, None] >> np.arange(len(checks)) & 1).astype(np.uint8)
    return np.hstack([bits, bits @ checks % 2]).astype(np.uint8)


def word_numbers(parities: NDArray[np.int32], lattice: LatticeName) -> Int64Array | None:
    """(vectors, r) numbers of the codewords of parities (vectors N, r); None for parities that are no codewords."""
    words = codewords(lattice)
    size, information = words.shape[1], len(_CHECKS[lattice])
    grouped = parities.reshape(-1, size, parities.shape[1]).astype(np.int64)
    numbers = np.einsum("vkr,k->vr", grouped[:, :information], 1 << np.arange(information))
    return numbers if np.array_equal(words[numbers].transpose(0, 2, 1), grouped) else None


def _word_probabilities(stds: Float64Array, lattice: LatticeName) -> Float64Array:
    """(K, words) probabilities, the same on every machine, of codewords whose pairs of integers have these K standard deviations."""
    spread = _SPREAD * stds
    # integers have twice the standard deviation of their pairs
    terms = cell_probability(2 * np.arange(_TERMS)[:, None], 2 * np.maximum(spread, v2.MIN_STD))
    even = np.where(spread < _COARSE, np.minimum(terms[0] + 2 * (terms[1] + terms[2] + terms[3]), 1.0), 0.5)[:, None]
    words = codewords(lattice)
    ones = words.sum(axis=1, dtype=np.int64)
    powers = np.ones((len(stds), len(words)))
    for bit in range(words.shape[1]):  # products, and sums, in a fixed order
        powers = powers * np.where(bit < ones, 1.0 - even, even)
    total = np.zeros(len(stds))
    for column in powers.T:
        total = total + column
    return np.asarray(powers / total[:, None])


def word_table(std: float, lattice: LatticeName) -> FrequencyTable:
    """Frequencies of the codewords of a vector whose pairs of integers have this standard deviation, the same on every machine."""
    (probabilities,) = _word_probabilities(np.array([std]), lattice)
    frequencies = np.maximum(1, np.floor(probabilities * 2**v2.PRECISION_BITS + 0.5)).astype(np.int64)
    return FrequencyTable(np.arange(len(probabilities)), frequencies)


def point_gaussians(symbols: LatticePoints) -> Gaussians:
    """The Gaussians of the integers, which are not looked at."""
    return Gaussians.of(symbols.integers.shape, symbols.grid, symbols.model.row_exponents)


def _word_steps(symbols: LatticePoints, gaussians: Gaussians) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Mean row exponents of the vectors, (vectors,), and, ascending, what these less columns' exponents are: of each the step, in units of
    the rows' deviations.
    """
    size = symbols.size
    vectors = len(symbols.integers) // size
    rows = gaussians.rows[: vectors * size].reshape(vectors, size).sum(axis=1) // size
    distinct = np.unique(np.unique(rows)[:, None] - np.unique(gaussians.columns))
    return rows, distinct, symbols.grid.step * power_of_eighths(-distinct)


def word_stds(symbols: LatticePoints, gaussians: Gaussians) -> tuple[Int64Array, Float64Array]:
    """(vectors, r) places of the standard deviations of the vectors, and these deviations."""
    rows, distinct, steps = _word_steps(symbols, gaussians)
    return np.searchsorted(distinct, rows[:, None] - gaussians.columns), gaussian_stds(symbols.model, steps)


def _word_counts(symbols: LatticePoints, gaussians: Gaussians) -> tuple[Int64Array, Float64Array]:
    """(K, words) how often each codeword occurs at each of K steps, and these steps, from some vectors after others."""
    rows, distinct, steps = _word_steps(symbols, gaussians)
    words, size = len(codewords(symbols.lattice)), symbols.size
    counts = np.zeros(len(steps) * words, dtype=np.int64)
    for some in panels(len(rows), size * len(gaussians.columns)):
        numbers = word_numbers(symbols.integers[size * some.start : size * some.stop] & 1, symbols.lattice)
        assert numbers is not None
        model = np.searchsorted(distinct, rows[some, None] - gaussians.columns)
        counts += np.bincount((model * words + numbers).ravel(), minlength=len(counts))
    return counts.reshape(len(steps), words), steps


def _word_bits(symbols: LatticePoints, gaussians: Gaussians) -> Callable[[GaussianModel], float]:
    """Bits of the codewords as a function of the model, but for what tables round."""
    counts, steps = _word_counts(symbols, gaussians)

    def bits(model: GaussianModel) -> float:
        probabilities = np.maximum(_word_probabilities(gaussian_stds(model, steps), symbols.lattice), 2.0**-v2.PRECISION_BITS)
        return -float((counts * np.log2(probabilities)).sum())

    return bits


def word_code_length(symbols: LatticePoints) -> float:
    """Ideal length of the codewords, bits in all."""
    counts, steps = _word_counts(symbols, point_gaussians(symbols))
    bits = 0.0
    for std, occurring in zip(gaussian_stds(symbols.model, steps).tolist(), counts, strict=True):
        frequencies = word_table(std, symbols.lattice).frequencies
        bits -= float(occurring @ np.log2(frequencies / frequencies.sum()))
    return bits


def point_code_length(symbols: LatticePoints) -> float:
    """Ideal length of the points under their model, bits in all, escapes included."""
    if symbols.integers.size == 0:
        return 0.0
    gaussians = point_gaussians(symbols)
    counts = replace(count_by_gaussian(symbols.integers, gaussians), steps_per_integer=0.5)
    return word_code_length(symbols) + gaussian_code_length(counts, gaussian_stds(symbols.model, gaussians.steps))


def fit_lattice_gaussians(symbols: LatticePoints, row_exponents: NDArray[np.uint8] | None) -> tuple[LatticePoints, float]:
    """The same points with the Gaussian models under which codewords and integers are shortest together, and their length, bits in all.

    Integers alone would not do: of a coarse step nearly all are −1, 0 and 1, which their parity says but for a sign.

    Parameters
    ----------
    symbols : integers and steps
    row_exponents : (m,) standard deviations of the rows in eighths of an octave, or None for equal rows
    """
    if symbols.integers.size == 0:
        return replace(symbols, model=GaussianModel(row_exponents=row_exponents)), 0.0
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, row_exponents)
    counts = replace(count_by_gaussian(symbols.integers, gaussians), steps_per_integer=0.5)
    model = fit_gaussians(counts, gaussians.steps, _word_bits(symbols, gaussians))
    fitted = replace(symbols, model=replace(model, row_exponents=row_exponents))
    return fitted, point_code_length(fitted)
