"""Layers too wide for eigenvalues: what a Cholesky factor gives is there and the same to the bit, and the rest says why it is not."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

import rdtools.widths
from rdtools.claims import CLAIMS, verify
from rdtools.compare.bounds import BOUNDS
from rdtools.compare.curves import FINITE_RATE, PREDICTIONS, SHANNON, UNIVERSAL, theory_curves
from rdtools.errors import TheoryError
from rdtools.linalg import symmetric_eigenvalues
from rdtools.methods import make_quantizers
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import compute_spectrum, eigendecomposition, spectrum_with_vectors
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.plot import spectrum as draw_spectrum
from rdtools.quantizers.rounding.error_correction import _support
from rdtools.records import Hessian
from rdtools.runs.spectra import read_spectrum, write_spectrum
from rdtools.sweep.task import quantize_layer
from rdtools.theory.bias_correction import explained_share
from rdtools.theory.high_rate import mean_log2
from rdtools.theory.mismatch import damping_penalty_bits

N = 12
REASON = rf"eigenvalues are not computed at this width \({N} active columns, more than {N - 1}\)"


@pytest.fixture
def moment(rng):
    H = np.zeros((N + 1, N + 1))  # the last column is dead, and counts for no width
    H[:N, :N] = haar_moment(power_law(N, 1.0), rng)
    return H


def _narrow(monkeypatch, widest):
    monkeypatch.setattr(rdtools.widths, "WIDEST_SPECTRUM", widest)


def test_the_widest_spectrum_is_that_of_32766_columns():
    """LAPACK's ``syevd`` asks for 2 n² + 6 n + 1 numbers of workspace, counted in 32 bits."""
    widest = rdtools.widths.WIDEST_SPECTRUM
    assert 2 * widest**2 + 6 * widest + 1 < 2**31 <= 2 * (widest + 1) ** 2 + 6 * (widest + 1) + 1


def test_the_factor_is_the_same_on_both_sides_of_the_switch(moment, monkeypatch, tmp_path):
    whole = compute_spectrum(moment)
    _narrow(monkeypatch, N)
    assert compute_spectrum(moment).has_eigenvalues
    _narrow(monkeypatch, N - 1)
    for H in (moment, torch.as_tensor(moment)):
        wide = spectrum_with_vectors(Hessian(H, 0))
        assert (wide.active, wide.rank, wide.columns, len(wide.eigenvalues), wide.simple) == (N, N, N + 1, 0, False)
        np.testing.assert_allclose(wide.cholesky_diagonal, whole.cholesky_diagonal, rtol=1e-12)
        assert mean_log2(wide) == pytest.approx(np.linalg.slogdet(moment[:N, :N])[1] / math.log(2) / N, rel=1e-12)
        assert all(math.isnan(value) for value in (wide.condition_number, wide.effective_rank, wide.eigenvector_max))
    assert "nan" in wide._repr_html_()
    write_spectrum(tmp_path, 0, wide, hessian="ab")
    assert read_spectrum(tmp_path, 0, hessian="ab").active == N
    singular = compute_spectrum(np.outer(v := np.arange(1.0, N + 1), v))
    assert (singular.rank, singular.damping > 0) == (N - 1, True)


def test_what_needs_the_spectrum_says_why_it_is_missing(moment, monkeypatch):
    _narrow(monkeypatch, N - 1)
    spectrum = compute_spectrum(moment)
    needs = (
        lambda: symmetric_eigenvalues(moment[:N, :N]),
        lambda: eigendecomposition(moment),
        lambda: damping_penalty_bits(spectrum, 0.1),
        lambda: explained_share(moment[:N, :N], np.zeros(N)),
        lambda: _support(moment[:N, :N]),
    )
    for decompose in needs:
        with pytest.raises(TheoryError, match=REASON):
            decompose()


def _layer(moment):
    return Layer.of(np.random.default_rng(3).standard_normal((32, N + 1)), moment, name="a.q_proj")


def test_rows_of_a_wide_layer_are_measured_without_bounds(moment, monkeypatch):
    quantizers = make_quantizers(["gptq", "watersic", "watersic-mmse"], [3.0])
    known = list(quantize_layer(_layer(moment), quantizers, seed=0))
    _narrow(monkeypatch, N - 1)
    wide = list(quantize_layer(_layer(moment), quantizers, seed=0))
    for before, now in zip(known[:2], wide[:2], strict=True):
        assert now["status"] == "ok"
        assert now["message"].startswith("eigenvalues are not computed at this width")
        assert now.get("high_rate_valid") in (None, False)
        spectral = {"hessian_incoherence", "top_eigenvalue_fraction", "critical_rate_bpw", "pred_gptq_gap_haar_bpw"}
        spectral |= {name for name in now if name.startswith(("rd_bound_", "rate_gap_"))}
        assert all(math.isnan(now[name]) for name in spectral)
        same = set(before) - spectral - {"message", "high_rate_valid", "wall_s"}
        assert same <= set(now)
        pd.testing.assert_series_equal(pd.Series(before)[sorted(same)], pd.Series(now)[sorted(same)])
    assert wide[2]["status"] == "failed"
    assert "eigenvalues are not computed" in wide[2]["message"]


def test_curves_and_figures_of_a_wide_layer_are_those_of_its_factor(moment, monkeypatch):
    _narrow(monkeypatch, N - 1)
    layer = _layer(moment)
    assert {point["curve"] for point in theory_curves(layer, np.linspace(0.0, 4.0, 3))} == {SHANNON, *PREDICTIONS, *FINITE_RATE}
    assert not {UNIVERSAL, *BOUNDS} & {SHANNON, *PREDICTIONS, *FINITE_RATE}
    lambdas, pivots = draw_spectrum(layer).axes[0].lines
    assert (len(lambdas.get_xdata()), len(pivots.get_xdata())) == (0, N)


def test_claims_on_a_wide_input_are_not_applicable(moment, monkeypatch):
    _narrow(monkeypatch, N - 1)
    claims = [claim for claim in CLAIMS if claim.name == "quip.lemma-2"]
    (verdict,) = verify([_layer(moment)], claims=claims)
    assert verdict.status == "not applicable"
    assert "eigenvalues are not computed at this width" in verdict.assumption
