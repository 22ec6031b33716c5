from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers.reassembly.outlier_layers import moments_of, outliers, rounded
from tolerances import rounding

from rdtools.errors import UsageError
from rdtools.quantizers.reassembly.reassembler import Reassembler
from rdtools.quantizers.rounding.error_correction import error_correction, trained_correction
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


def test_q6_training_ends_at_the_closed_form(case):
    W, mapped, moments = case
    for bits in (4, 8):
        coded = rounded(mapped, bits)
        least = loss(W, coded + error_correction(W, coded, moments, RANK).matrix, moments)
        trained = trained_correction(W, coded, moments, RANK, np.random.default_rng(0), steps=1000)
        assert least * (1 - rounding(1e4)) <= loss(W, coded + trained.matrix, moments) < 1.01 * least


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
