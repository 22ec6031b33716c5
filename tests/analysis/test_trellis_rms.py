"""Recorded scales and errors of the trellises, and those that others measured."""

from __future__ import annotations

import numpy as np
import pytest
from rdtools.analysis.trellis_rms import best_rms, main, relative_error
from tolerances import STANDARD_ERRORS

from rdtools.errors import UsageError
from rdtools.ops import trellis_quantize, trellis_values
from rdtools.quantizers.methods.qtip import TRELLIS_RMS


def _normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("k", "paper"), [(1, 0.2803), (2, 0.0733), (3, 0.0198), (4, 0.0055)])
def test_a_random_table_does_what_the_paper_says(k, paper):
    """QTIP, arXiv 2406.11235, table 2, of 4096 sequences: L = 12, T = 256.

    Its error, of the plain mean, is that of the power of normal sequences, √(2/256) of it a sequence; ours that of the ratio, and that of
    the table, for which another stands.
    """
    source = _normal((512, 256), k, np.float32)
    ours, other = (relative_error(source, _normal((2**12, 1), seed, np.float32).astype(np.float64), k, 1.0) for seed in (10, 11))
    paper_error = paper * (2 / 256 / 4096) ** 0.5
    spread = np.hypot(ours.standard_error, paper_error) + abs(ours.relative_error - other.relative_error)
    assert abs(ours.relative_error - paper) <= STANDARD_ERRORS * spread + 0.00005


@pytest.mark.parametrize(
    ("code", "state_bits", "rms", "known", "sequences"),
    [
        ("1mad", 12, 1.0, 0.0764, 24),
        ("3inst", 12, 1.1, 0.0748, 24),
        ("3inst", 12, 1.0, 0.0788, 24),
        ("1mad", 16, 1.0, 0.0697, 24),
        ("3inst", 16, 1.24, 0.0697, 24),
        ("hyb", 16, 0.9, 0.0722, 24),
    ],
)
def test_computed_codes_do_what_others_measured(code, state_bits, rms, known, sequences):
    """Two bits, T = 256, with the code published with the paper; the error of the known number is that of the power of its sequences."""
    source = _normal((256 if state_bits == 12 else 24, 256), 5, np.float32)
    ours = relative_error(source, trellis_values(code, state_bits), 2, rms)
    known_error = known * (2 / 256 / sequences) ** 0.5
    assert abs(ours.relative_error - known) <= STANDARD_ERRORS * np.hypot(ours.standard_error, known_error)


@pytest.mark.parametrize(("code", "paper"), [("1mad", 0.069), ("3inst", 0.069), ("hyb", 0.071)])
def test_recorded_errors_are_those_of_the_paper(code, paper):
    """QTIP, table 1, two bits, L = 16, T = 256, to the digits it prints and a tenth of one for its sample."""
    assert abs(TRELLIS_RMS[code, 16, 2][1] - paper) <= 0.00055


@pytest.mark.parametrize(("code", "state_bits", "k"), list(TRELLIS_RMS))
def test_recorded_errors_are_measured_again(code, state_bits, k):
    """And no code is below Shannon's limit 4^−k of a normal source."""
    rms, error = TRELLIS_RMS[code, state_bits, k]
    source = _normal((128 if state_bits == 12 else 16, 256), 100 + k, np.float32)
    ours = relative_error(source, trellis_values(code, state_bits), k, rms)
    assert abs(ours.relative_error - error) <= STANDARD_ERRORS * ours.standard_error
    assert min(ours.relative_error, error) > 4.0**-k


@pytest.mark.parametrize(
    ("code", "state_bits", "k", "S"), [("1mad", 12, 1, 48), ("3inst", 12, 2, 48), ("hyb", 12, 4, 48), ("3inst", 16, 3, 4)]
)
def test_the_recorded_rms_is_the_best(code, state_bits, k, S):
    """Found again from few sequences: the recorded one is as good there to the error of the difference, and what is far off is worse."""
    values, source = trellis_values(code, state_bits), _normal((S, 256), 7, np.float32)
    rms = TRELLIS_RMS[code, state_bits, k][0]
    found = best_rms(source, values, k).input_rms

    def errors(s):
        return ((source - trellis_quantize(source * np.float32(s), values, k)[1] / s) ** 2).mean(axis=1)

    difference = errors(rms) - errors(found)
    assert difference.mean() <= STANDARD_ERRORS * difference.std(ddof=1) / S**0.5 + 1e-12
    for far in (0.8 * rms, 1.25 * rms):
        difference = errors(far) - errors(rms)
        assert difference.mean() > 0


def test_relative_error_does_not_see_a_gain():
    """Source and rms may be exchanged by powers of two; and a table that is the grid of the source has none."""
    source, values = _normal((8, 32)), trellis_values("1mad", 8)
    error = relative_error(source, values, 2, 1.0)
    assert relative_error(source * 4, values, 2, 0.25).relative_error == error.relative_error
    reconstruction = trellis_quantize(source, values, 2)[1]
    assert error.relative_error == pytest.approx(((source - reconstruction) ** 2).sum() / (source**2).sum(), rel=1e-12)
    assert relative_error(reconstruction, values, 2, 1.0).relative_error == 0.0


def test_wrong_input_is_refused():
    values = trellis_values("hyb", 6)
    with pytest.raises(UsageError, match="S > 1"):
        relative_error(np.zeros((1, 16)), values, 2, 1.0)
    with pytest.raises(UsageError, match="positive rms"):
        relative_error(np.zeros((2, 16)), values, 2, 0.0)


def test_an_entry_of_the_table_is_printed(capsys):
    assert main(["3inst", "5", "1"]) == 0
    entry = capsys.readouterr().out
    assert entry.startswith('("3inst", 5, 1): (')
    rms, error = eval(entry.partition(":")[2].partition("),")[0] + ")")
    assert 0.7 < rms < 2
    assert 0.25 < error < 0.4
