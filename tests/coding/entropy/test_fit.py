from __future__ import annotations

import math

import numpy as np
import pytest

from rdtools.coding import decode, encode, fit_column_laws, octave_exponents, paying_row_exponents, scalar_code_length
from rdtools.coding.entropy.fit import fit_laws, fit_weight_std
from rdtools.coding.entropy.laws import law_code_length, law_stds
from rdtools.coding.entropy.models import count_codes
from rdtools.measure.point import same_weight
from rdtools.records import Basis, GaussianModel, QuantizedWeight, ScalarCodes, UniformGrid


def test_fitted_deviation_is_the_true_one():
    rng = np.random.default_rng(4)
    steps = np.array([0.2, 0.5, 1.0, 2.0])
    codes = np.rint(rng.standard_normal((20_000, 4)) * 1.7 / steps).astype(np.int32)
    codes[0, 0] = 10**7  # an outlier that widens the root mean square a thousandfold
    fitted = fit_weight_std(count_codes(codes), steps)
    # a deviation from N samples has a relative error of 1/√(2N); the search adds 0.1 %
    assert fitted == pytest.approx(1.7, rel=4 / math.sqrt(2 * 80_000) + 2e-3)
    assert fitted == float(np.float32(fitted))
    assert 0 < fit_weight_std(count_codes(np.zeros_like(codes)), steps) < 0.1


def test_fitted_noise_is_the_true_one_and_kept_only_where_it_pays():
    """Codes of variance (σ/Δ_i)² + β: no longer than with σ alone, and as short as under their own law."""
    rng = np.random.default_rng(5)
    steps = 2.0 ** np.arange(-3, 4)
    for noise in (0.0, 0.3):
        true = np.sqrt((1.7 / steps) ** 2 + noise)
        codes = np.rint(rng.standard_normal((20_000, 7)) * true).astype(np.int32)
        counts = count_codes(codes)
        model = fit_laws(counts, steps)
        assert model.weight_std == float(np.float32(model.weight_std))
        length = law_code_length(counts, law_stds(model, steps))
        assert length <= law_code_length(counts, np.sqrt((fit_weight_std(counts, steps) / steps) ** 2))
        # the likelihood is flat at its maximum: the search stops within a thousandth of a bit of the true law
        assert length <= law_code_length(counts, true) + 1e-3 * codes.size


def test_rows_of_unequal_deviation_are_coded_by_laws_of_their_own():
    """Rows of four octaves: the length is that of laws that know each row, but for the rounding of exponents."""
    rng = np.random.default_rng(3)
    deviations = 2.0 ** np.linspace(0, 4, 128)
    integers = np.rint(rng.standard_normal((128, 512)) * deviations[:, None]).astype(np.int32)
    exponents = octave_exponents(deviations)
    plain = ScalarCodes(integers, UniformGrid(1.0), GaussianModel())
    unequal, equal = fit_column_laws(plain, row_exponents=exponents), fit_column_laws(plain)
    assert (unequal.model.row_exponents == exponents).all()
    assert equal.model.row_exponents is None
    own = [ScalarCodes(row[None], UniformGrid(0.5), GaussianModel(float(s) / 2)) for row, s in zip(integers, deviations, strict=True)]
    known = sum(scalar_code_length(codes)[0] for codes in own)
    assert scalar_code_length(unequal)[0] == pytest.approx(known, rel=0.002)
    weight = QuantizedWeight(Basis(128, np.ones(512, dtype=bool)), unequal)
    assert same_weight(decode(encode(weight).data), weight)
    assert 8 * encode(weight).payload_bytes == pytest.approx(scalar_code_length(unequal)[0], rel=0.001)
    # equal rows are not worth their exponents
    assert paying_row_exponents(rng.standard_normal((128, 64))) is None
    assert (paying_row_exponents(rng.standard_normal((128, 512)) * deviations[:, None]) != 0).any()
