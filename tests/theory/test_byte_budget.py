"""Budgets of bytes over layers with given choices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rdtools.errors import RateUnreachable, TheoryError
from rdtools.theory.allocation import LayerBudget, allocate
from rdtools.theory.byte_budget import Choices, choose, choose_exactly, lower_hull
from rdtools.theory.waterfilling import distortion_rate


def _layers(rng, count, choices):
    return [Choices(rng.integers(5, 60, choices).astype(float), rng.exponential(size=choices)) for _ in range(count)]


def _sums(layers, chosen):
    return tuple(sum(getattr(layer, of)[k] for layer, k in zip(layers, chosen, strict=True)) for of in ("bits", "losses"))


def _brute(layers, budget, least=0.0):
    """Every combination."""
    sums = [_sums(layers, chosen) for chosen in product(*(range(len(layer.bits)) for layer in layers))]
    return min((loss for bits, loss in sums if least <= bits <= budget), default=None)


@pytest.mark.parametrize("seed", range(8))
def test_dynamic_programming_is_the_best_of_all_combinations(seed):
    rng = np.random.default_rng(seed)
    layers = _layers(rng, 4, 4)
    budget = float(rng.integers(sum(layer.bits.min() for layer in layers), 200))
    for least in (0.0, 0.95 * budget):
        best = _brute(layers, budget, least)
        if best is None:
            with pytest.raises(RateUnreachable, match="the nearest take"):
                choose_exactly(layers, budget, least=least, units=int(budget))
            continue
        bits, loss = _sums(layers, choose_exactly(layers, budget, least=least, units=int(budget)))
        assert loss == pytest.approx(best, rel=1e-12)
        assert least <= bits <= budget


@pytest.mark.parametrize("seed", range(8))
def test_hulls_are_one_step_from_the_best(seed):
    """best ≤ greedy ≤ best + the greatest step of a hull, and within the budget."""
    rng = np.random.default_rng(seed)
    layers = _layers(rng, 4, 4)
    budget = float(rng.integers(sum(layer.bits.min() for layer in layers), 200))
    bits, loss = _sums(layers, choose(layers, budget))
    best = _brute(layers, budget)
    step = max(float(np.max(-np.diff(layer.losses[lower_hull(layer)]), initial=0.0)) for layer in layers)
    assert bits <= budget
    assert best * (1 - 1e-12) <= loss <= best + step


def test_hull_is_convex_and_below_every_choice():
    rng = np.random.default_rng(0)
    layer = Choices(rng.uniform(1, 9, 60), rng.uniform(0, 5, 60))
    hull = lower_hull(layer)
    b, j = layer.bits[hull], layer.losses[hull]
    assert (np.diff(b) > 0).all()
    assert (np.diff(np.diff(j) / np.diff(b)) > 0).all()
    assert (np.interp(layer.bits, b, j) <= layer.losses * (1 + 1e-12)).all()
    assert b[0] == layer.bits.min()


def test_on_rate_distortion_curves_it_is_waterfilling():
    """With choices on D(R) of each layer the answer is that of one water level, within the step of the choices (second route)."""
    rng = np.random.default_rng(1)
    budgets = [LayerBudget(rng.lognormal(0, 2, 12), rows, s) for rows, s in ((40, 1.0), (10, 5.0), (25, 0.3))]
    rates, step = np.arange(0.01, 8, 0.01), 0.01
    layers = []
    for layer in budgets:
        weights = layer.rows * len(layer.variances)
        losses = layer.sensitivity * weights * distortion_rate(rates, layer.variances).distortion
        layers.append(Choices(weights * rates, losses))
    total = sum(layer.rows * 12 for layer in budgets)
    chosen = choose(layers, 2.5 * total)
    found = np.array([rates[k] for k in chosen])
    np.testing.assert_allclose(found, allocate(budgets, 2.5).rates_bits, atol=2 * step)
    assert _sums(layers, chosen)[0] == pytest.approx(2.5 * total, rel=1e-3)


def test_sums_of_many_layers_are_found_in_a_narrow_window():
    """600 equal layers whose bits are no multiples of a unit: up to 100 % of a budget that is met exactly, with one choice and with two."""
    one = Choices(np.array([1_000_001.0]), np.array([1.0]))
    assert choose_exactly([one] * 600, 600 * 1_000_001.0, least=600 * 1_000_001.0, units=2**12).sum() == 0
    two = Choices(np.array([1_000_001.0, 2_000_003.0]), np.array([2.0, 1.0]))
    budget = 300 * 3_000_004.0
    assert choose_exactly([two] * 600, budget, least=0.998 * budget, units=2**15).sum() in (299, 300)


def test_what_cannot_be_is_refused():
    layer = Choices(np.array([8.0, 16.0]), np.array([2.0, 1.0]))
    with pytest.raises(RateUnreachable, match="the cheapest choices of all layers take 16; expected at least as many"):
        choose([layer, layer], 15.0)
    with pytest.raises(RateUnreachable, match="no choices take from 30 to 31; the nearest take 24 and 32"):
        choose_exactly([layer, layer], 31.0, least=30.0)
    for bits, losses in (([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0]), ([np.inf], [1.0])):
        with pytest.raises(TheoryError, match="expected as many of each, at least one"):
            Choices(np.array(bits), np.array(losses))
