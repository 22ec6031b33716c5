from __future__ import annotations

import math

import numpy as np
import pytest

from rdtools.coding import decode, encode, fit_column_gaussians, octave_exponents, row_exponents_if_shorter, scalar_code_length
from rdtools.coding.entropy.fit import fit_gaussians, fit_weight_std
from rdtools.coding.entropy.gaussians import gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import count_integers
from rdtools.measure.point import same_weight
from rdtools.records import Basis, GaussianModel, QuantizedWeight, ScalarSymbols, UniformGrid


def test_fitted_deviation_is_the_true_one():
    rng = np.random.default_rng(4)
    steps = np.array([0.2, 0.5, 1.0, 2.0])
    integers = np.rint(rng.standard_normal((20_000, 4)) * 1.7 / steps).astype(np.int32)
    integers[0, 0] = 10**7  # an outlier that widens the root mean square a thousandfold
    fitted = fit_weight_std(count_integers(integers), steps)
    # a deviation from N samples has a relative error of 1/√(2N); the search adds 0.1 %
    assert fitted == pytest.approx(1.7, rel=4 / math.sqrt(2 * 80_000) + 2e-3)
    assert fitted == float(np.float32(fitted))
    assert 0 < fit_weight_std(count_integers(np.zeros_like(integers)), steps) < 0.1


def test_fitted_noise_is_the_true_one_and_kept_only_where_it_pays():
    """Integers of variance (σ/Δ_i)² + β: no longer than with σ alone, and as short as under their own Gaussian."""
    rng = np.random.default_rng(5)
    steps = 2.0 ** np.arange(-3, 4)
    for noise in (0.0, 0.3):
        true = np.sqrt((1.7 / steps) ** 2 + noise)
        integers = np.rint(rng.standard_normal((20_000, 7)) * true).astype(np.int32)
        counts = count_integers(integers)
        model = fit_gaussians(counts, steps)
        assert model.weight_std == float(np.float32(model.weight_std))
        length = gaussian_code_length(counts, gaussian_stds(model, steps))
        assert length <= gaussian_code_length(counts, np.sqrt((fit_weight_std(counts, steps) / steps) ** 2))
        # the likelihood is flat at its maximum: the search stops within a thousandth of a bit of the true Gaussian
        assert length <= gaussian_code_length(counts, true) + 1e-3 * integers.size


def test_rows_of_unequal_deviation_are_coded_by_laws_of_their_own():
    """Rows of four octaves: the length is that of Gaussians that know each row, but for the rounding of exponents."""
    rng = np.random.default_rng(3)
    stds = 2.0 ** np.linspace(0, 4, 128)
    integers = np.rint(rng.standard_normal((128, 512)) * stds[:, None]).astype(np.int32)
    exponents = octave_exponents(stds)
    plain = ScalarSymbols(integers, UniformGrid(1.0), GaussianModel())
    unequal, equal = fit_column_gaussians(plain, row_exponents=exponents), fit_column_gaussians(plain)
    assert (unequal.model.row_exponents == exponents).all()
    assert equal.model.row_exponents is None
    own = [ScalarSymbols(row[None], UniformGrid(0.5), GaussianModel(float(s) / 2)) for row, s in zip(integers, stds, strict=True)]
    known = sum(scalar_code_length(row)[0] for row in own)
    assert scalar_code_length(unequal)[0] == pytest.approx(known, rel=0.002)
    weight = QuantizedWeight(Basis(128, np.ones(512, dtype=bool)), unequal)
    assert same_weight(decode(encode(weight).data), weight)
    assert 8 * encode(weight).payload_bytes == pytest.approx(scalar_code_length(unequal)[0], rel=0.001)
    # equal rows are not worth their exponents
    assert row_exponents_if_shorter(rng.standard_normal((128, 64))) is None
    assert (row_exponents_if_shorter(rng.standard_normal((128, 512)) * stds[:, None]) != 0).any()
