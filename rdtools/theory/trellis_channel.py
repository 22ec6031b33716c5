"""The channel that a trellis of cosets, or a lattice, is to a Gaussian column, at any step: a table by simulation beside exact sums.

No closed form is known. `rdtools/data/trellis_channel.csv` has, for each number of states and step r over the standard deviation, what
entropy, correlation and distortion are more than those of rounding to the grid of step r; `analysis/trellis_channel.py` makes it. As r → 0
all three go to 0, distortion as ``−(1 − 1/γ) r²/12`` with γ the granular gain; as r → ∞ nothing leaves zero in either.

Checked on 10⁷ other samples for each entry with 4, 8, 64, 256 and 1024 states: all within 4.1 standard errors of the difference, their root
mean square 1.1; the farthest entropy by 0.0017 bit, the farthest correlation by 0.004, at steps of about four standard deviations.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError

TABLE = Path(__file__).resolve().parents[1] / "data" / "trellis_channel.csv"
#: The same for lattices, whose step is that of a scalar quantizer of the same rate at high rate.
LATTICE_TABLE = TABLE.with_name("lattice_channel.csv")
COLUMNS = ("states", "log2_step", "samples", "bits", "correlation", "distortion", "bits_stderr", "correlation_stderr", "distortion_stderr")
#: Spacing of `trellis_channel` in octaves.
SPACING = 1 / 32
#: Below, correlation is that of rounding to far less than its simulation can say: the density hardly changes within a step.
_FINE = -1.0


@cache
def simulated(code: int | str) -> Float64Array:
    """Rows of the table of a number of states, or of a lattice by name, columns `COLUMNS`; the first is nan for a lattice.

    Raises
    ------
    TheoryError
        For a code that is not in the table.
    """
    with (LATTICE_TABLE if isinstance(code, str) else TABLE).open() as file:
        entries = [list(row.values())[1:] for row in csv.DictReader(file) if row[COLUMNS[0]] == str(code)]
    rows = [[float("nan") if isinstance(code, str) else float(code), *map(float, row)] for row in entries]
    if not rows:
        raise TheoryError(f"trellis channel: {code} states, which the table does not have")
    return np.array(rows)


@cache
def trellis_channel(states: int | str) -> Float64Array:
    """(K, 4) log2 r in even steps, then entropy, correlation, and distortion over r², less those of rounding.

    Interpolated monotonically between the simulated steps; beyond them the first and the last row hold. It is the `channel` of
    `rdtools.theory.finite_rate.sic_at_finite_rate`.

    Raises
    ------
    TheoryError

    Examples
    --------
    With 256 states the distortion at high rate is 1.33 dB below r²/12.

    >>> float(np.round(10 * np.log10(1 + 12 * trellis_channel(256)[0, 3]), 2))
    -1.33
    """
    rows = simulated(states)
    octaves = rows[:, 1]
    scaled = np.column_stack([rows[:, 3], np.where(octaves < _FINE, 0.0, rows[:, 4]), rows[:, 5] / 4.0**octaves])
    knots = np.arange(octaves[0], octaves[-1] + SPACING / 2, SPACING)
    return np.column_stack([knots, PchipInterpolator(octaves, scaled, axis=0)(knots)])


def granular_gain_db(states: int | str) -> float:
    """``−10 log10(12 D/r²)`` as r → 0: how much less a trellis or lattice distorts than rounding at the same step; at most 1.53 dB.

    Examples
    --------
    >>> round(granular_gain_db(8), 1)
    1.1
    """
    return float(-10 * np.log10(1 + 12 * trellis_channel(states)[0, 3]))
