"""The channel that a trellis of cosets, or a lattice, is to a Gaussian column: what is coded and distorted at every step, by simulation.

Writes `rdtools/data/trellis_channel.csv`, and with --lattices `lattice_channel.csv`, the tables of `rdtools.theory.trellis_channel`. Of
N(0, 1) samples in walks of WALK, the nearest walk at step r, or the nearest points of a lattice as dense as a grid of step r, gives x̂;
columns are what it has more than the nearest point of a grid of step r on the same samples, whose moments are known exactly, and standard
errors over BATCHES. The entropy is the length under the best Gaussian model given the parity, codewords of a lattice included.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from rdtools.coding import codewords
from rdtools.ops import COSET_STATES, coset_trellis_sweep
from rdtools.quantizers.rounding.lattice_points import equal_rate_step, nearest_points
from rdtools.records import LatticeName
from rdtools.rounded import cell_probabilities
from rdtools.theory.trellis_channel import COLUMNS, LATTICE_TABLE, TABLE

BATCHES, WALK = 32, 2**17
#: log2 of the step over the standard deviation.
OCTAVES = np.arange(-3.0, 4.01, 0.25)


def _lengths(integers: NDArray[np.int64], std: float) -> NDArray[np.float64]:
    """``−log2 P(q | parity)`` of |q| = 0, 1, …, up to the largest, at a standard deviation in steps."""
    z = 0.5 * np.arange(int(integers.max()) + 1)
    # both boundaries on the side of the tail, where the distribution function keeps its digits
    return np.asarray(-np.log2(np.maximum(ndtr((0.5 - z) / std) - ndtr((-0.5 - z) / std), 1e-300)))


def lattice_batch(lattice: LatticeName, octave: float, x: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """As `batch` for vectors of a lattice, and bits of the codewords per sample, under their frequencies by weight."""
    r = 2.0**octave
    spacing = 0.5 * r / equal_rate_step(lattice)
    q = nearest_points(x / spacing, lattice, 2**30)
    words = codewords(lattice).sum(axis=1, dtype=np.int64)
    size = codewords(lattice).shape[1]
    counts = np.bincount((q & 1).reshape(-1, size).sum(axis=1), minlength=size + 1)
    share = counts / counts.sum()
    bits = -float(np.sum(share * np.log2(np.maximum(share, 1e-300) / np.maximum(np.bincount(words, minlength=size + 1), 1)))) / size
    point, grid = spacing * q, r * np.rint(x / r)
    return np.abs(q).astype(np.int64), np.array([np.mean(x * (point - grid)), np.mean((x - point) ** 2 - (x - grid) ** 2)]), bits


def batch(states: int, octave: float, x: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Magnitudes of the integers of a batch, and its correlation and distortion less those of rounding."""
    r = 2.0**octave
    q, _ = coset_trellis_sweep(x[:, None], np.ones((1, 1)), np.full(1, r), states, segment=len(x), residual=False)
    walk, grid = 0.5 * r * q[:, 0], r * np.rint(x / r)
    return np.abs(q[:, 0]).astype(np.int64), np.array([np.mean(x * (walk - grid)), np.mean((x - walk) ** 2 - (x - grid) ** 2)])


def rows(code: int | LatticeName, batches: int) -> Iterator[list[float]]:
    """Rows of the table of one code, but for its name."""
    seed, pair = (int(code[1]), equal_rate_step(code)) if isinstance(code, str) else (code, 1.0)
    rng = np.random.default_rng([seed, 20261128])
    samples = rng.standard_normal((batches, WALK))
    for octave in OCTAVES.tolist():
        lattice = [lattice_batch(code, octave, x) for x in samples] if isinstance(code, str) else []
        measured = [(q, moments) for q, moments, _ in lattice] or [batch(seed, octave, x) for x in samples]
        words = [bits for *_, bits in lattice] or [0.0] * batches
        integers = np.concatenate([q for q, _ in measured])
        counts = np.bincount(integers)
        r = 2.0**octave

        def mean_length(log_std: float, counts=counts, integers=integers) -> float:  # type: ignore[no-untyped-def]
            return float(counts @ _lengths(integers, float(np.exp(log_std)))) / len(integers)

        start = -np.log(r / pair)
        best = minimize_scalar(mean_length, bounds=(start - 1.5, start + 0.5), method="bounded", options={"xatol": 1e-5})
        lengths = _lengths(integers, float(np.exp(best.x)))
        # the same samples rounded, under the distribution that they really have
        cells = int(np.abs(samples).max() / r) + 2
        plain = -np.log2(np.maximum(cell_probabilities(r, cells + 1), 1e-300))
        bits = [
            word + lengths[q].mean() - plain[np.abs(np.rint(x / r)).astype(int)].mean()
            for (q, _), x, word in zip(measured, samples, words, strict=True)
        ]
        values = np.column_stack([bits, *np.array([moments for _, moments in measured]).T])
        errors = values.std(axis=0, ddof=1) / np.sqrt(batches) if batches > 1 else np.full(3, np.nan)
        yield [octave, batches * WALK, *values.mean(axis=0).tolist(), *errors.tolist()]


def main(argv: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, nargs="*", default=list(COSET_STATES))
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--lattices", action="store_true", help="the table of D4 and E8 in place of that of states")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    codes: list[int | LatticeName] = list(get_args(LatticeName)) if options.lattices else options.states
    with (options.out or (LATTICE_TABLE if options.lattices else TABLE)).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for code in codes:
            for row in rows(code, options.batches):
                writer.writerow([code, row[0], int(row[1]), *(f"{x:.6g}" for x in row[2:])])
            file.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
