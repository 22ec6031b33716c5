"""Layers whose weights are off by noise of the size of bfloat16's rounding: the divergence below which nothing is meant."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.records import EffectiveLayer, InputMap
from rdtools.seeds import generator

#: Name of the row in tables.
NOISE = "bf16-noise"


def rounding_noise(weight: Float64Array, name: str, *, seed: int) -> EffectiveLayer:
    """A layer with every weight moved by a uniform part of a bfloat16 spacing: ``w + u 2^(⌊log₂|w|⌋ − 7)``, u in [−½, ½).

    That is what rounding to bfloat16 does to a weight that has not been rounded; zeros stay zero.

    Parameters
    ----------
    weight : (m, n)
    name : of the layer, for the draw
    seed : of the draw
    """
    _, exponent = np.frexp(weight)  # |w| = f 2^e, ½ ≤ f < 1
    spacing = np.where(weight == 0, 0.0, np.ldexp(1.0, exponent - 8))
    moved = weight + spacing * (generator(seed, "rounding noise", name).random(weight.shape) - 0.5)
    return EffectiveLayer(moved, InputMap(columns=weight.shape[1]))
