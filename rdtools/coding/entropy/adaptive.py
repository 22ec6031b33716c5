"""Gaussian models that the decoder learns from the rows that it has: what both sides know, ideal length, and whether learning pays.

See `rdtools.kernels.adaptive_coder_reference` for the model. It is lossless and without side information but for its strength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding.entropy.gaussians import Gaussians, gaussian_stds
from rdtools.coding.entropy.models import varint_bytes
from rdtools.normal import normal_cdf
from rdtools.ops import LearntModels, adaptive_length, adaptive_moment, coset_transitions, map_on_threads
from rdtools.ops.adaptive_coder import NO_TRELLIS
from rdtools.records import AdaptiveModel, CosetSymbols, Gains, GaussianModel, ScalarSymbols, UniformGrid

Codes = TypeVar("Codes", ScalarSymbols, CosetSymbols)

#: Standard deviation up to which the variance of an integer is a sum over its values, and how many; above it is σ² + 1/12.
_COARSE, _VALUES = 1.0, 8
#: Bounds of what plain models are taken to be, so that no number of a learnt one leaves 64 bits.
_SMALLEST, _LARGEST = 2.0**-20, 2.0**40
#: Strength that is tried first; from there on those next to the best.
_USUAL = 6
#: Integers that a file with learnt models has at most for each byte of payload: learning takes some thousand operations for each.
MOST_INTEGERS_PER_BYTE = 256
#: Bits that a group of columns may take beside its ideal length: numbers of words and of escaped integers, a checksum, and the end of the
#: words, up to two of them; and bits of the number of columns.
_GROUP_BITS, _HEAD_BITS = 8 * 9 + 66, 16


def most_columns(rows: int) -> int:
    """Columns that a group may have in a matrix of so many rows: its second moment is no larger than the weights, 2 MB apart."""
    return min(AdaptiveModel.MOST_COLUMNS, max(512, 4 * rows))


def groups(columns: int, model: AdaptiveModel) -> Iterator[tuple[int, int]]:
    """First and past-the-last columns of the groups that decode apart."""
    return ((first, min(first + model.columns, columns)) for first in range(0, columns, model.columns))


def root_mean_squares(stds: Float64Array) -> Float64Array:
    """Root mean square of a Gaussian variable rounded to integers, the same bits everywhere.

    ``E[q²] = 2 Σ_k (2k − 1) Φ(−(k − ½)/σ)``, and σ² + 1/12 from σ = 1 on, where it is that to 1e-7.
    """
    squares, coarse = stds * stds + 1.0 / 12.0, np.minimum(np.maximum(stds, _SMALLEST), _COARSE)
    total = np.zeros_like(coarse)
    for k in range(_VALUES, 0, -1):
        total = total + (4 * k - 2) * normal_cdf((0.5 - k) / coarse)
    return np.asarray(np.sqrt(np.where(stds < _COARSE, total, squares)))


def learnt_models(
    symbols: ScalarSymbols | CosetSymbols, model: AdaptiveModel, before: Sequence[ScalarSymbols | CosetSymbols] = ()
) -> Callable[[int, int], LearntModels]:
    """A function of first and past-the-last columns that gives what both sides know of their group; the integers are not looked at.

    Parameters
    ----------
    symbols : of the matrix
    model : that learns
    before : symbols of matrices with the same columns and Gaussian models, from whose rows the models go on to learn
    """
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, model.row_exponents)
    rows, gaussian = gaussians.lookup
    stds = np.clip(gaussian_stds(model, gaussians.steps), _SMALLEST, _LARGEST)
    roots = np.maximum(root_mean_squares(stds), _SMALLEST)
    walks = (coset_transitions(symbols.states), symbols.segment) if isinstance(symbols, CosetSymbols) else (NO_TRELLIS, 1)

    def of_group(first: int, stop: int) -> LearntModels:
        prior = (stop - first) * (1, 1.4142135623730951)[model.strength % 2] * 2.0 ** (model.strength // 2 - 4)
        plain = LearntModels(rows, gaussians.columns[first:stop], gaussian, stds, roots, prior, *walks)
        if not before:
            return plain
        moment = np.zeros((stop - first, stop - first))
        for known in before:
            moment += adaptive_moment(known.integers[:, first:stop], learnt_models(known, _as_learnt(known))(first, stop))
        return replace(plain, before=sum(len(known.integers) for known in before), moment=moment)

    return of_group


def _as_learnt(symbols: ScalarSymbols | CosetSymbols) -> AdaptiveModel:
    """The plain models of symbols, as an adaptive model has them."""
    plain = symbols.model
    assert isinstance(plain, GaussianModel)
    return AdaptiveModel(plain.weight_std, plain.noise_variance, plain.row_exponents)


def adaptive_code_length(symbols: ScalarSymbols | CosetSymbols, model: AdaptiveModel) -> float:
    """Ideal length of the integers under models learnt with a strength above 0, bits in all, escaped integers included."""
    of_group = learnt_models(symbols, model)

    def group_bits(span: tuple[int, int]) -> float:
        first, stop = span
        part, escaped = adaptive_length(symbols.integers[:, first:stop], of_group(first, stop))
        return part + 8.0 * float(varint_bytes(escaped.astype(np.int64)).sum())

    return sum(map_on_threads(group_bits, list(groups(symbols.integers.shape[1], model))), 0.0)


def _best(lengths: Callable[[int], float]) -> tuple[int, float]:
    """The strength of least length among those next to each other, and that length."""
    known = {_USUAL: lengths(_USUAL)}
    best = _USUAL
    while True:
        for strength in (best - 1, best + 1):
            if 0 < strength < AdaptiveModel.STRENGTHS.stop and strength not in known:
                known[strength] = lengths(strength)
        least = min(known, key=lambda strength: known[strength])
        if least == best:
            return best, known[best]
        best = least


def fit_adaptive(symbols: Codes, columns: int, plain_bits: float) -> tuple[Codes, float]:
    """The same integers under models that learn as strongly as is shortest, or not at all, and their length, bits in all.

    The strength is chosen on the first group of columns and serves all. Learning is off where it would not save what the groups store, and
    at 1/32 bit or less.

    Parameters
    ----------
    symbols : integers with a fitted `GaussianModel`
    columns : in a group, up to twice as many where there are no more, and fewer in a matrix of few rows
    plain_bits : length of the integers under that model
    """
    plain = symbols.model
    assert isinstance(plain, GaussianModel)
    m, r = symbols.integers.shape
    width = min(r if r <= 2 * columns else columns, most_columns(m))
    off = _as_learnt(symbols)
    if m * r == 0 or plain_bits == 0.0:
        return replace(symbols, model=off), plain_bits
    first = min(width, r)
    grid = UniformGrid(symbols.grid.step, None if symbols.grid.exponents is None else symbols.grid.exponents[:first])
    bare: ScalarSymbols | CosetSymbols = symbols
    if isinstance(bare, ScalarSymbols):
        bare = replace(bare, gains=Gains())
    head = replace(bare, integers=symbols.integers[:, :first], grid=grid)
    strength, bits = _best(lambda strength: adaptive_code_length(head, replace(off, columns=width, strength=strength)))
    model = replace(off, columns=width, strength=strength)
    if r > first:
        bits = adaptive_code_length(symbols, model)
    pays = 8 * m * r <= MOST_INTEGERS_PER_BYTE * bits and bits + _GROUP_BITS * -(-r // width) + _HEAD_BITS < plain_bits
    return (replace(symbols, model=model), bits) if pays else (replace(symbols, model=off), plain_bits)
