"""Minutes that rows will take, estimated from rows of the same method that were timed: those of the run, else a short calibration."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
from scipy.optimize import nnls

from rdtools.compare import layer_facts
from rdtools.compare.curves import theory_curves
from rdtools.devices import HOST
from rdtools.methods import entry_of, format_method, infeasible_reason
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import RTN, Quantizer
from rdtools.runs.journal import Record
from rdtools.sweep.engines.local import one_thread
from rdtools.sweep.plan import curve_rates
from rdtools.sweep.task import quantize_layers

#: Rows that were timed: (m, n, seconds).
Timings = list[tuple[int, int, float]]
#: Name, among the methods, of the bounds, predictions and curves of a layer.
THEORY = "bounds and curves"
#: Its row takes next to nothing beyond what all rows of a layer share.
_PLAIN = RTN(rate_bits=4.0)
#: Shapes (m, n) of the calibration. The first loads the kernels and is not counted; the others tell apart what is done per column, per
#: weight and per n³. Powers of two alone would hide what rotations of other orders cost.
_SHAPES = ((64, 64), (64, 64), (64, 192), (256, 192), (64, 384))


@dataclass(frozen=True)
class MethodTime:
    """Estimated time of the rows of a method.

    Attributes
    ----------
    method : name, or THEORY for what a layer needs beside its rows
    rows : to be made, of layers for THEORY
    minutes : that they take with all workers at work; None where nothing was timed
    source : "rows" of the method in this run, or a "calibration" on small layers; None where nothing was timed
    """

    method: str
    rows: int
    minutes: float | None
    source: Literal["rows", "calibration"] | None


def method_times(
    todo: Counter[tuple[str, int, int]],
    *,
    workers: int,
    timed: dict[str, Timings],
    calibrated: dict[str, Timings],
) -> list[MethodTime]:
    """Estimates for each method, in order of appearance; seconds per row as `row_seconds` gives them.

    Parameters
    ----------
    todo : number of rows of each method and shape (m, n)
    workers : processes that share them evenly
    timed : rows of each method that the run has
    calibrated : what `calibrate` has timed, for the others
    """
    times = []
    for method in dict.fromkeys(name for name, _, _ in todo):
        counts = {(m, n): count for (name, m, n), count in todo.items() if name == method}
        timings = timed.get(method) or calibrated.get(method)
        minutes = None
        if timings:
            minutes = sum(count * row_seconds(timings, m, n) for (m, n), count in counts.items()) / 60 / workers
        source: Literal["rows", "calibration"] | None = "rows" if timed.get(method) else "calibration" if timings else None
        times.append(MethodTime(method, sum(counts.values()), minutes, source))
    return times


def row_seconds(timings: Timings, rows: int, columns: int) -> float:
    """Seconds of a row of a method on a layer of a shape: the median of those of this shape, else scaled from others.

    ``t ≈ c₀ + c₁ n + c₂ m n + c₃ n³`` with c ≥ 0 by least squares of the relative errors: what is done once, per column (entropy models,
    steps), per weight (search, coding), and for the Hessian (factor, rotations, plans). A sweep and the measurement take m n², which these
    terms stand for where m and n are of one size: beyond the shapes timed this is an estimate, better for the sum than for each method.

    Parameters
    ----------
    timings : at least one
    rows, columns : m, n

    Examples
    --------
    >>> row_seconds([(64, 32, 1.0), (64, 32, 3.0), (128, 32, 6.0)], 64, 32)
    2.0
    >>> round(row_seconds([(64, 64, 1.0), (256, 64, 4.0), (64, 256, 4.0)], 256, 256), 6)
    16.0
    """
    if same := [seconds for m, n, seconds in timings if (m, n) == (rows, columns)]:
        return median(same)
    terms, target = (np.array([_terms(m, n) for m, n in shapes]) for shapes in ([(m, n) for m, n, _ in timings], [(rows, columns)]))
    seconds, scale = np.array([max(seconds, 1e-9) for *_, seconds in timings]), terms.max(axis=0)
    coefficients, _ = nnls(terms / scale / seconds[:, None], np.ones(len(seconds)))
    return float(target[0] / scale @ coefficients)


def _terms(m: int, n: int) -> tuple[float, ...]:
    return 1.0, float(n), float(m * n), float(n) ** 3


def timed_rows(records: Iterable[Record], device: str) -> dict[str, Timings]:
    """Rows of a journal by method, those that came about where the method works if this is the device of a job."""
    timings = dict[str, Timings]()
    for record in records:
        row = record.value
        if record.kind != "row" or row["status"] != "ok":
            continue
        works_on = device if (entry := entry_of(row["method"])[0]) is not None and entry.device == "any" else HOST
        if (row.get("device") or HOST).partition(":")[0] == works_on.partition(":")[0]:
            timings.setdefault(row["method"], []).append((row["rows"], row["columns"], row["wall_s"]))
    return timings


def calibrate(quantizers: Iterable[Quantizer], heldout: bool, *, clock: Callable[[], float] = time.process_time) -> dict[str, Timings]:
    """Time the theory, and each method once, on each of a few small layers, in this process and on one thread.

    A method that needs activations, or that these layers are no good for, is left out.

    Parameters
    ----------
    quantizers : of each method the middle one of its feasible rates is timed
    heldout : measure on a held-out moment, too
    clock : seconds of CPU time, so that other work on the machine does not count
    """
    rates: dict[str, list[Quantizer]] = {}
    for quantizer in quantizers:
        if infeasible_reason(quantizer) is None:
            rates.setdefault(format_method(quantizer), []).append(quantizer)
    chosen, timings = [some[len(some) // 2] for some in rates.values()], dict[str, Timings]()
    with one_thread():
        for number, (m, n) in enumerate(_SHAPES):
            generator = np.random.default_rng(0)
            layer = Layer.of(generator.standard_normal((m, n)), haar_moment(power_law(n, 1.0), generator))
            moment = HeldoutMoment.of(layer.hessian.matrix) if heldout else None
            for name, seconds in _timed(layer, chosen, moment, clock):
                if number > 0:
                    timings.setdefault(name, []).append((m, n, seconds))
    return timings


def _timed(
    layer: Layer, chosen: Sequence[Quantizer], heldout: HeldoutMoment | None, clock: Callable[[], float]
) -> Iterator[tuple[str, float]]:
    """Seconds of the theory of a layer, and of each method whose row comes about on it."""
    started = clock()
    facts = layer_facts(layer, heldout)
    rates = np.array(curve_rates(max(quantizer.rate_bits for quantizer in (_PLAIN, *chosen))))
    for _ in theory_curves(layer, rates, facts):
        pass
    for quantizer in (_PLAIN, *chosen):  # the first row works out the predictions that all rows share
        ((_, _, row),) = quantize_layers([(layer, [quantizer])], seed=0, facts=[facts])
        ended = clock()
        if row["status"] == "ok":
            yield THEORY if quantizer is _PLAIN else row["method"], ended - started
        started = ended
