"""Learnt models: lossless, hardly ever longer, and what they save on rows of a known covariance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from golden_weights import natural
from rdtools.kernels.adaptive_coder_reference import PRIOR_ROWS
from scipy.stats import norm

from rdtools.coding import decode, encode, fit_adaptive, fit_column_gaussians, fit_coset_gaussians, scalar_code_length
from rdtools.coding.entropy.adaptive import MOST_INTEGERS_PER_BYTE, adaptive_code_length, most_columns, root_mean_squares
from rdtools.measure.point import same_weight
from rdtools.ops import coset_transitions
from rdtools.records import AdaptiveModel, CosetSymbols, GaussianModel, ScalarSymbols, UniformGrid


def scalar(values, step=0.5):
    symbols = fit_column_gaussians(ScalarSymbols(np.rint(values / step).astype(np.int32), UniformGrid(step), GaussianModel()))
    return symbols, scalar_code_length(symbols)[0]


def walks(values, step=0.5, states=8):
    """The nearest integers of the parities that the states have."""
    transitions, q, state = coset_transitions(states), np.empty(values.shape, dtype=np.int32), np.zeros(values.shape[1], dtype=np.int64)
    for k, row in enumerate(values):
        parity = state & 1
        q[k] = 2 * np.rint((2 * row / step - parity) / 2).astype(np.int32) + parity
        state = transitions[state, (q[k] >> 1) & 1]
    return fit_coset_gaussians(CosetSymbols(q, UniformGrid(step), GaussianModel(), states, len(values)), None)


def ar1(rng, m, n, rho):
    """Rows of variance 1 whose neighbours have the correlation ρ."""
    values = rng.standard_normal((m, n))
    for i in range(1, n):
        values[:, i] = rho * values[:, i - 1] + math.sqrt(1 - rho**2) * values[:, i]
    return values


@pytest.mark.parametrize("make", [scalar, walks])
def test_what_is_saved_is_the_mutual_information_of_the_columns(make, rng):
    """At high rate h(w_i) − h(w_i | w_<i) = −½ log2(1 − ρ²) bits for each column but the first.

    Of that a model which knows the Gaussian but for shrinking it, as after k rows, loses
    ``½ log2((1 − ρ_k²)/(1 − ρ²)) + ½ log2(e) (v/(1 − ρ_k²) − 1)`` with ``ρ_k = ρ k/(k + ν)`` and ``v = 1 − 2 ρ ρ_k + ρ_k²``; and learning
    costs ½ log2 m bits for each of n(n + 1)/2 numbers, twice granted. The mean of what is saved has a standard error of at most
    log2(e)/√(2 m n) bits for each integer, four of which are granted.
    """
    m, n, rho = 1500, 8, 0.8
    integers, plain = make(ar1(rng, m, n, rho), 0.125)
    found, bits = fit_adaptive(integers, 512, plain)
    promised = -0.5 * math.log2(1 - rho**2) * m * (n - 1)
    k = np.arange(m)
    shrunk = rho * k / (k + PRIOR_ROWS + n * 2.0 ** (found.model.strength / 2 - 4))
    model = 1 - shrunk**2
    lost = 0.5 * np.log2(model / (1 - rho**2)) + 0.5 * math.log2(math.e) * ((1 - 2 * rho * shrunk + shrunk**2) / model - 1)
    learning, noise = 2 * n * (n + 1) / 2 * 0.5 * math.log2(m), 4 * math.log2(math.e) * math.sqrt(m * n / 2)
    assert promised - (n - 1) * lost.sum() - learning - noise < plain - bits < promised + noise
    assert (n - 1) * lost.sum() + learning + noise < 0.35 * promised
    data = encode(natural(found, m, n))
    assert same_weight(decode(data.data), natural(found, m, n))
    assert 0 < 8 * data.payload_bytes - bits < 66


@pytest.mark.parametrize("make", [scalar, walks])
@pytest.mark.parametrize("case", ["white", "one row", "one column", "zeros", "outlier", "equal columns", "few"])
def test_learning_never_costs_more_than_a_byte(make, case, rng):
    values = rng.standard_normal((40, 24))
    values = {
        "white": values,
        "one row": values[:1],
        "one column": values[:, :1],
        "zeros": 0 * values,
        "outlier": values * np.where(np.arange(40) == 20, 1e6, 1.0)[:, None],
        "equal columns": np.repeat(values[:, :1], 24, axis=1),
        "few": 0.08 * values,
    }[case]
    symbols, plain = make(values)
    found, bits = fit_adaptive(symbols, 512, plain)
    before, after = (natural(c, *values.shape) for c in (symbols, found))
    assert bits <= plain
    assert len(encode(after).data) <= len(encode(before).data) + 1
    assert same_weight(decode(encode(after).data), after)
    np.testing.assert_array_equal(found.integers, symbols.integers)
    if case == "equal columns":  # which are known from the first one
        assert bits < 0.8 * plain


def test_groups_of_columns_decode_apart_and_lose_what_lies_between_them(rng):
    symbols, plain = scalar(ar1(rng, 600, 12, 0.9), 0.125)
    model = symbols.model
    sizes = [adaptive_code_length(symbols, AdaptiveModel(model.weight_std, model.noise_variance, None, width, 5)) for width in (12, 4, 1)]
    assert sizes[0] < sizes[1] < sizes[2]
    # two of eleven neighbours are in other groups
    assert sizes[1] - sizes[0] == pytest.approx(2 * 600 * -0.5 * math.log2(1 - 0.81), rel=0.2)
    found, _ = fit_adaptive(symbols, 4, plain)
    assert found.model.columns == 4
    assert same_weight(decode(encode(natural(found, 600, 12)).data), natural(found, 600, 12))


def test_few_rows_have_small_groups_and_few_bits_are_not_learnt_from(rng):
    assert (most_columns(1), most_columns(300), most_columns(10**6)) == (512, 1200, 4096)
    sparse = np.zeros((64, 64), dtype=np.int32)
    sparse[::8, :2] = 1
    symbols = fit_column_gaussians(ScalarSymbols(sparse, UniformGrid(1.0), GaussianModel()))
    bits = scalar_code_length(symbols)[0]
    found, _ = fit_adaptive(symbols, 512, bits)
    assert 8 * sparse.size > MOST_INTEGERS_PER_BYTE * bits * 0.5
    assert same_weight(decode(encode(natural(found, 64, 64)).data), natural(found, 64, 64))


@pytest.mark.parametrize("std", [0.05, 0.3, 0.999, 1.0, 7.0])
def test_root_mean_squares_are_those_of_rounded_gaussian_variables(std):
    """E[z²] by the Gaussian itself; the portable distribution function errs by 1.5e-7, times the sum of odd numbers up to 15, twice."""
    z = np.arange(-80, 81)
    exact = float((z**2 * (norm.cdf((z + 0.5) / std) - norm.cdf((z - 0.5) / std))).sum())
    assert root_mean_squares(np.array([std]))[0] ** 2 == pytest.approx(exact, abs=1.5e-7 * 128)


@pytest.mark.parametrize(("columns", "strength"), [(0, 1), (4097, 1), (1, 0), (5, 11), (5, -1)])
def test_models_that_cannot_be_are_refused(columns, strength):
    with pytest.raises(ValueError, match=rf"adaptive model of {columns} columns and strength {strength}, expected"):
        AdaptiveModel(1.0, 0.0, None, columns, strength)
    assert replace(AdaptiveModel(1.0), weight_std=2.0).kind == "adaptive"
