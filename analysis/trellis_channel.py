"""The channel that a trellis of cosets is to a Gaussian column: entropy, correlation and distortion at every step, by a seeded simulation.

Writes `rdtools/data/trellis_channel.csv`, the table of `rdtools.theory.trellis_channel`. Of N(0, 1) samples in walks of WALK, the nearest
walk at step r gives x̂; columns are what it has more than the nearest point of a grid of step r on the same samples, whose moments are known
exactly, and standard errors over BATCHES. The entropy is the length under the best Gaussian model given the parity.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from rdtools.ops import COSET_STATES, coset_trellis_sweep
from rdtools.rounded import cell_probabilities
from rdtools.theory.trellis_channel import COLUMNS, TABLE

BATCHES, WALK = 32, 2**17
#: log2 of the step over the standard deviation.
OCTAVES = np.arange(-3.0, 4.01, 0.25)


def _lengths(integers: NDArray[np.int64], std: float) -> NDArray[np.float64]:
    """``−log2 P(q | parity)`` of |q| = 0, 1, …, up to the largest, at a standard deviation in steps."""
    z = 0.5 * np.arange(int(integers.max()) + 1)
    # both boundaries on the side of the tail, where the distribution function keeps its digits
    return np.asarray(-np.log2(np.maximum(ndtr((0.5 - z) / std) - ndtr((-0.5 - z) / std), 1e-300)))


def batch(states: int, octave: float, x: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Magnitudes of the integers of a batch, and its correlation and distortion less those of rounding."""
    r = 2.0**octave
    q, _ = coset_trellis_sweep(x[:, None], np.ones((1, 1)), np.full(1, r), states, segment=len(x), residual=False)
    walk, grid = 0.5 * r * q[:, 0], r * np.rint(x / r)
    return np.abs(q[:, 0]).astype(np.int64), np.array([np.mean(x * (walk - grid)), np.mean((x - walk) ** 2 - (x - grid) ** 2)])


def rows(states: int, batches: int) -> Iterator[list[float]]:
    """Rows of the table of one code."""
    rng = np.random.default_rng([states, 20261128])
    samples = rng.standard_normal((batches, WALK))
    for octave in OCTAVES.tolist():
        found = [batch(states, octave, x) for x in samples]
        integers = np.concatenate([q for q, _ in found])
        counts = np.bincount(integers)
        r = 2.0**octave

        def mean_length(log_std: float, counts=counts, integers=integers) -> float:  # type: ignore[no-untyped-def]
            return float(counts @ _lengths(integers, float(np.exp(log_std)))) / len(integers)

        best = minimize_scalar(mean_length, bounds=(-np.log(r) - 1.5, -np.log(r) + 0.5), method="bounded", options={"xatol": 1e-5})
        lengths = _lengths(integers, float(np.exp(best.x)))
        # the same samples rounded, under the distribution that they really have
        cells = int(np.abs(samples).max() / r) + 2
        plain = -np.log2(np.maximum(cell_probabilities(r, cells + 1), 1e-300))
        bits = [lengths[q].mean() - plain[np.abs(np.rint(x / r)).astype(int)].mean() for (q, _), x in zip(found, samples, strict=True)]
        values = np.column_stack([bits, *np.array([moments for _, moments in found]).T])
        errors = values.std(axis=0, ddof=1) / np.sqrt(batches) if batches > 1 else np.full(3, np.nan)
        yield [states, octave, batches * WALK, *values.mean(axis=0).tolist(), *errors.tolist()]


def main(argv: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, nargs="*", default=list(COSET_STATES))
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args(argv)
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for states in options.states:
            for row in rows(states, options.batches):
                writer.writerow([int(row[0]), row[1], int(row[2]), *(f"{x:.6g}" for x in row[3:])])
            file.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
