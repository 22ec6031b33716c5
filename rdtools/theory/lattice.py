"""Normalized second moments of lattices: the error of entropy-coded lattice quantization at high rate."""

from __future__ import annotations

import math

#: Normalized second moment (per dimension) of the Voronoi cell of the best known lattice in each dimension listed.
#: Conway and Sloane, Sphere Packings, Lattices and Groups, 3rd ed., chapter 21, table 2.3; closed forms where there are any.
NORMALIZED_SECOND_MOMENTS = {
    "Z": 1 / 12,
    "A2": 5 / (36 * math.sqrt(3)),
    "D4": 13 / (120 * math.sqrt(2)),
    "E8": 929 / 12960,
    "Leech": 0.065771,
}
