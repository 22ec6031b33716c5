from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers.reassembly.outlier_layers import moments_of, outliers, rounded
from tolerances import rounding

from rdtools.errors import UsageError
from rdtools.quantizers.reassembly.reassembler import Reassembler
from rdtools.quantizers.rounding.error_correction import error_correction
from rdtools.records import InputMoments
from rdtools.testing import generators
from rdtools.theory.correction_target import correction_target
from rdtools.theory.low_rank import low_rank_correction

RANK = 4


def loss(weight, coded, moments):
    """E‖W x − Ŵ x̂‖²."""
    return float(
        np.vdot(weight @ moments.reference, weight) - 2 * np.vdot(weight @ moments.cross, coded) + np.vdot(coded @ moments.actual, coded)
    )


@pytest.fixture(scope="module", params=[False, True], ids=["independent", "similar"])
def case(request):
    x, _, W = outliers(3, similar=request.param, columns=64, rows=48, tokens=2000)
    chain = Reassembler(threshold=0.25).reassemble(x, W).input_map
    return W, chain.weight(W), moments_of(chain, x)


@given(generators(), st.integers(0, 4))
def test_the_closed_form_is_that_of_the_theory(generator, rank):
    """Low-rank correction with x̂ in the place of x, for the best real weight beside x̂; E‖·‖² of tokens."""
    n, m = 6, 5
    x = generator.standard_normal((60, n))
    q = np.rint(2 * x) / 2
    moments = InputMoments.quantized(x.T @ x / 60, q.T @ q / 60, x.T @ q / 60)
    W = generator.standard_normal((m, n))
    coded = rounded(W, 3)
    found = error_correction(W, coded, moments, rank)
    target = correction_target(W, np.zeros_like(W), moments)
    expected = low_rank_correction(target, coded, InputMoments.plain(moments.actual), rank)
    condition = np.linalg.cond(moments.actual)
    assert loss(W, coded + found.matrix, moments) == pytest.approx(
        loss(W, coded + expected.matrix, moments), rel=rounding(5000, condition=condition), abs=rounding(5000) * loss(W, 0 * W, moments)
    )
    tokens = np.mean(np.sum((x @ W.T - q @ (coded + found.matrix).T) ** 2, axis=1))
    assert loss(W, coded + found.matrix, moments) == pytest.approx(tokens, abs=rounding(5000) * loss(W, 0 * W, moments))


def test_equal_copies_of_a_channel_are_no_obstacle(case):
    """Σ_x̂ is singular; no other correction of the rank is better, and one of full rank leaves nothing that x̂ explains."""
    W, mapped, moments = case
    coded = rounded(mapped, 4)
    assert np.linalg.matrix_rank(moments.actual) < len(moments.actual)
    best = error_correction(W, coded, moments, RANK)
    least, rng = loss(W, coded + best.matrix, moments), np.random.default_rng(0)
    for scale in (1e-3, 1e-1):
        other = (best.left + scale * rng.standard_normal(best.left.shape)) @ best.right
        assert loss(W, coded + other, moments) > least
    full = coded + error_correction(W, coded, moments, min(coded.shape)).matrix
    left = W @ moments.cross - full @ moments.actual
    assert np.abs(left).max() < 1e-9 * np.abs(W @ moments.cross).max()


def trained_correction(weight, coded, moments, rank, *, steps):
    """B A by gradient descent, as the paper trains it: Adam with a learning rate that falls linearly to 0, and ``B A/k``.

    A starts uniform in ±1/√n′ (Kaiming's with √5), B at 0. The gradient is that of the mean loss over all tokens, which moments have
    exactly, so that a step is a pass over the calibration set. Activations are in units of their root mean square, and B in those of their
    cross moment with the error, so that the learning rate has no unit.
    """
    K = weight @ moments.cross - coded @ moments.actual
    n, generator = len(moments.actual), np.random.default_rng(0)
    scale = np.sqrt(np.mean(np.diagonal(moments.actual)))
    size = np.sqrt(np.mean((K / scale**2) ** 2))
    A, B = generator.uniform(-1, 1, (rank, n)) / np.sqrt(n), np.zeros((len(K), rank))
    gram, cross = moments.actual / scale**2, K / (scale**2 * size)
    parameters, first, second = (A, B), (np.zeros_like(A), np.zeros_like(B)), (np.zeros_like(A), np.zeros_like(B))
    for step in range(1, steps + 1):
        residual = (B @ A / rank) @ gram - cross  # half the derivative of the loss by B A/k
        gradients = (B.T @ residual / rank, residual @ A.T / rank)
        rate = 0.02 * (1 - (step - 1) / steps)
        for x, g, mean, square in zip(parameters, gradients, first, second, strict=True):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            x -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return size * B @ A / rank


def test_q6_training_ends_at_the_closed_form(case):
    W, mapped, moments = case
    for bits in (4, 8):
        coded = rounded(mapped, bits)
        least = loss(W, coded + error_correction(W, coded, moments, RANK).matrix, moments)
        trained = trained_correction(W, coded, moments, RANK, steps=1000)
        assert least * (1 - rounding(1e4)) <= loss(W, coded + trained, moments) < 1.01 * least


def test_q6_what_merging_the_correction_into_the_weights_costs(case):
    """Q(W + B A): with 8-bit weights between the corrected and the uncorrected loss. With 4-bit weights, B A fitted beside Q(W) makes it
    worse than none: most of what it corrects is the rounding error of Q(W), and that is another one once W + B A is rounded. Fitted beside
    W it corrects the activations alone, and is within a hundredth of none, or better.
    """
    W, mapped, moments = case
    for bits in (4, 8):
        coded = rounded(mapped, bits)
        plain, beside = loss(W, coded, moments), error_correction(W, coded, moments, RANK).matrix
        best, merged = loss(W, coded + beside, moments), loss(W, rounded(mapped + beside, bits), moments)
        alone = loss(W, rounded(mapped + error_correction(W, mapped, moments, RANK).matrix, bits), moments)
        assert best < alone < (plain if bits == 8 else 1.01 * plain)
        if bits == 8:
            assert best < merged < plain
        else:
            assert merged > 1.3 * plain


def test_impossible_ranks_are_refused(case):
    W, mapped, moments = case
    for rank in (-1, 65):
        with pytest.raises(UsageError, match=f"correction of rank {rank} for a weight"):
            error_correction(W, mapped, moments, rank)
