from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tolerances import STANDARD_ERRORS, rounding

from rdtools.theory.lattice import NORMALIZED_SECOND_MOMENTS
from rdtools.units import SCALAR_LOSS_BITS

PRINTED = {"A2": 0.227, "D4": 0.194, "E8": 0.146, "Leech": 0.084}


def _loss_bits(name):
    """Bits above R(D) at high rate with entropy coding: ½ log2(2πe G)."""
    return 0.5 * math.log2(2 * math.pi * math.e * NORMALIZED_SECOND_MOMENTS[name])


@pytest.mark.parametrize("name", PRINTED)
def test_printed_losses(name):
    assert round(_loss_bits(name), 3) == PRINTED[name]


def test_integers_are_the_scalar_quantizer_and_better_cells_lose_less():
    assert _loss_bits("Z") == pytest.approx(SCALAR_LOSS_BITS, rel=rounding(10))
    losses = [_loss_bits(name) for name in NORMALIZED_SECOND_MOMENTS]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] > 0


def _nearest_d(x):
    """Nearest point of D_n: round, and if the sum is odd, round the worst coordinate the other way."""
    z = np.rint(x)
    odd = z.sum(axis=1) % 2 != 0
    error = x - z
    worst = np.abs(error).argmax(axis=1)
    step = np.where(np.take_along_axis(error, worst[:, None], axis=1)[:, 0] >= 0, 1.0, -1.0)
    z[odd, worst[odd]] += step[odd]
    return z


def _squared_error(name, x):
    if name == "A2":
        basis = np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]])
        k = np.rint(x @ np.linalg.inv(basis))
        near = [k + np.array(d) for d in itertools.product((-1, 0, 1), repeat=2)]
        return np.min([((x - n @ basis) ** 2).sum(axis=1) for n in near], axis=0), math.sqrt(3) / 2
    plain = ((x - _nearest_d(x)) ** 2).sum(axis=1)
    if name == "D4":
        return plain, 2.0
    return np.minimum(plain, ((x - 0.5 - _nearest_d(x - 0.5)) ** 2).sum(axis=1)), 1.0


@pytest.mark.parametrize(("name", "n"), [("A2", 2), ("D4", 4), ("E8", 8)])
def test_second_moments_by_sampling(name, n):
    """G = E‖x − Q(x)‖² / (n V^{2/n}) with x uniform over many cells."""
    x = np.random.default_rng(0).uniform(-200, 200, (200_000, n))
    error, volume = _squared_error(name, x)
    scale = n * volume ** (2 / n)
    band = STANDARD_ERRORS * error.std() / math.sqrt(len(error)) / scale
    # a wall of the box cuts cells in a share n/200 of its volume, whose errors are those of whole cells all the same
    assert error.mean() / scale == pytest.approx(NORMALIZED_SECOND_MOMENTS[name], abs=band)
