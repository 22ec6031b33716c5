"""Entropy-coded lattice quantization at high rate: what shaping the cell buys."""

from __future__ import annotations

import math

from rdtools.errors import TheoryError

#: Normalized second moment (per dimension) of the Voronoi cell of the best known lattice in each dimension listed.
#: Conway and Sloane, Sphere Packings, Lattices and Groups, 3rd ed., chapter 21, table 2.3; closed forms where there are any.
NORMALIZED_SECOND_MOMENTS = {
    "Z": 1 / 12,
    "A2": 5 / (36 * math.sqrt(3)),
    "D4": 13 / (120 * math.sqrt(2)),
    "E8": 929 / 12960,
    "Leech": 0.065771,
}


def lattice_loss_bits(name: str) -> float:
    """``½ log2(2πe G)``: bits above the rate–distortion function at high rate with entropy coding, G the normalized second moment.

    0.2546 for the integers, 0 in the limit of large dimension. A dithered lattice attains it at any rate for its own noise; without
    dither it holds where cells are small beside the density's scale.

    Parameters
    ----------
    name : "Z", "A2", "D4", "E8" or "Leech"

    Raises
    ------
    TheoryError
        For another name.

    References
    ----------
    Zamir, Lattice Coding for Signals and Networks (2014), chapter 5; constants as at `NORMALIZED_SECOND_MOMENTS`.

    Examples
    --------
    >>> [round(lattice_loss_bits(name), 3) for name in ("Z", "A2", "D4", "E8", "Leech")]
    [0.255, 0.227, 0.194, 0.146, 0.084]
    """
    if name not in NORMALIZED_SECOND_MOMENTS:
        raise TheoryError(f"lattice {name!r}: expected one of {', '.join(NORMALIZED_SECOND_MOMENTS)}")
    return 0.5 * math.log2(2 * math.pi * math.e * NORMALIZED_SECOND_MOMENTS[name])
