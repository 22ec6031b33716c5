"""Trellis-coded successive cancellation run on iid normal weights under a layer's second moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate, NotApplicable
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.claims.evidence.normal_weights import HIGH_RATE_SHARE, HIGHEST_RATE_BITS
from rdtools.coding import decode, encode
from rdtools.coding.entropy.coset import coset_code_length
from rdtools.moments.layer import Layer
from rdtools.ops import coset_transitions, coset_trellis_sweep
from rdtools.quantizers import TrellisSIC
from rdtools.records import CosetSymbols
from rdtools.theory.finite_rate import FINITE_RATE_COLUMNS

#: Few enough for every layer; the formulas are the same for all of them.
STATES = 8
RATES = (2.0, 3.0, 4.0)
#: Runs of consecutive rows whose means are compared. A walk's errors depend on each other over some 5 ν rows, far fewer than a run has.
_RUNS = 32


@dataclass(frozen=True, eq=False)
class WalkPoint:
    """One file of `TrellisSIC` for iid normal weights of variance one.

    Attributes
    ----------
    steps : (r,) α
    distortion : per weight, of what the file decodes to
    rate_bits : per weight, under the file's own distributions
    """

    steps: Float64Array
    distortion: Estimate
    rate_bits: Estimate


@dataclass(frozen=True, eq=False)
class TrellisWalks:
    """Walks of a trellis of `STATES` states down the columns.

    Attributes
    ----------
    rows : of the weights
    parity_faults : integers that are odd where the state of their walk is even, or the other way round
    decoding_faults : integers that differ after writing and reading
    fine_distortion : mean of ``e_i² / (α_i² ℓ_ii²/12)`` over rows and columns, e = (W − Ŵ) L, where each column adds `HIGH_RATE_SHARE` of
        λ_min; None where that takes more than `HIGHEST_RATE_BITS`
    points : files at `RATES`
    """

    rows: int
    parity_faults: int
    decoding_faults: int
    fine_distortion: Estimate | None
    points: tuple[WalkPoint, ...]


def gather_trellis_walks(case: MomentCase) -> TrellisWalks:
    """Run the method at each rate, and one sweep with fine steps."""
    n, factor = case.columns, case.factor
    if factor is None:
        raise NotApplicable("H is singular")
    if n > FINITE_RATE_COLUMNS:
        raise NotApplicable(f"{n} active columns, for more than {FINITE_RATE_COLUMNS} the prediction is slow")
    W = case.generator("trellis").standard_normal((budget(n), n))
    layer, faults, unlike, points = Layer.of(W, case.matrix, name=case.name), 0, 0, []
    for rate in RATES:
        weight = TrellisSIC(rate_bits=rate, states=STATES, damping=0.0).quantize(layer, seed=case.seed).weight
        written, read = weight.symbols, decode(encode(weight).data).symbols
        assert isinstance(written, CosetSymbols)
        assert isinstance(read, CosetSymbols)
        unlike += int(np.count_nonzero(written.integers != read.integers))
        faults += _parity_faults(read)
        errors = (W - 0.5 * read.column_steps * read.integers) @ factor
        points.append(WalkPoint(read.column_steps, _mean_of_runs(np.square(errors).mean(axis=1)), _rate(read)))
    return TrellisWalks(len(W), faults, unlike, _fine_distortion(case, factor, W), tuple(points))


def _mean_of_runs(rows: Float64Array) -> Estimate:
    """Mean over rows that depend on those close by."""
    return Estimate.of(np.array([run.mean() for run in np.array_split(rows, _RUNS)]))


def _parity_faults(symbols: CosetSymbols) -> int:
    """Integers whose parity is not that of the state their walk is in."""
    transitions, segment = coset_transitions(symbols.states), symbols.segment
    walks = (symbols.integers[start : start + segment] for start in range(0, len(symbols.integers), segment))
    return sum(int(np.count_nonzero((walk - _states(transitions, walk % 4 // 2)) % 2)) for walk in walks)


def _states(transitions: NDArray[np.int32], bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """State before each row of a walk, (m, n), for the second bits of its integers.

    Runs of √m rows are followed side by side, first from every state that they may begin in, which gives the one in which each begins.
    """
    (m, n), states = bits.shape, len(transitions)
    length = max(1, math.isqrt(m))
    runs = -(-m // length)
    padded = np.zeros((runs * length, n), dtype=np.int64)
    padded[:m] = bits
    steps = padded.reshape(runs, length, n).swapaxes(0, 1)
    ends = np.broadcast_to(np.arange(states)[:, None, None], (states, runs, n))
    for step in steps:
        ends = transitions.ravel()[2 * ends + step]
    begin = np.zeros((runs, n), dtype=np.int64)
    for run in range(1, runs):
        begin[run] = ends[begin[run - 1], run - 1, np.arange(n)]
    answer = np.empty((length, runs, n), dtype=np.int32)
    for index, step in enumerate(steps):
        answer[index] = begin
        begin = transitions.ravel()[2 * begin + step]
    return answer.swapaxes(0, 1).reshape(-1, n)[:m]


def _rate(symbols: CosetSymbols) -> Estimate:
    """Bits per weight, from the lengths of runs of rows under the distributions of all."""
    exponents = symbols.model.row_exponents
    lengths = []
    for rows in np.array_split(np.arange(len(symbols.integers)), _RUNS):
        model = symbols.model if exponents is None else replace(symbols.model, row_exponents=exponents[rows])
        lengths.append(
            coset_code_length(replace(symbols, integers=symbols.integers[rows], model=model)) / (len(rows) * symbols.integers.shape[1])
        )
    return Estimate.of(np.array(lengths))


def _fine_distortion(case: MomentCase, factor: Float64Array, W: Float64Array) -> Estimate | None:
    width = math.sqrt(12 * HIGH_RATE_SHARE * float(case.spectrum.eigenvalues[-1]))
    steps = width / np.diagonal(factor)
    if 0.5 * math.log2(2 * math.pi * math.e) - float(np.log2(steps).min()) > HIGHEST_RATE_BITS:
        return None
    _, residual = coset_trellis_sweep(W, factor, steps, STATES, segment=len(W))
    return _mean_of_runs(np.square(np.asarray(residual)).mean(axis=1) / (width**2 / 12))
