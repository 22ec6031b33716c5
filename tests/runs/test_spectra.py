"""Spectra kept in a run: read back to the bit, never those of another Hessian, never computed twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from rdtools.claims import CLAIMS, verify
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import make_quantizers
from rdtools.moments import spectrum as spectrum_module
from rdtools.moments.spectrum import spectrum_of, spectrum_with_vectors
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.records import Hessian
from rdtools.runs import spectra
from rdtools.runs.spectra import SPECTRA, read_spectrum, write_spectrum
from rdtools.runs.store import open_run
from rdtools.sweep import run_sweep

SHA = "ab" * 32


def _spectrum(rng, dead=0):
    H = np.zeros((7 + dead, 7 + dead))
    H[:7, :7] = haar_moment(power_law(7, 1.0), rng)
    return spectrum_with_vectors(Hessian(H, 0))


def _same(first, second):
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


@pytest.mark.parametrize("dead", [0, 2])
def test_a_spectrum_comes_back_to_the_bit(rng, tmp_path, dead):
    written = _spectrum(rng, dead)
    assert read_spectrum(tmp_path, 3, hessian=SHA) is None
    write_spectrum(tmp_path, 3, written, hessian=SHA)
    back = read_spectrum(tmp_path, 3, hessian=SHA)
    _same(back, written)
    assert back.columns == 7 + dead
    assert isinstance(back.simple, bool)
    assert read_spectrum(tmp_path, 2, hessian=SHA) is None


def test_a_spectrum_of_another_hessian_or_version_is_none(rng, tmp_path, monkeypatch):
    write_spectrum(tmp_path, 0, _spectrum(rng), hessian=SHA)
    assert read_spectrum(tmp_path, 0, hessian="cd" * 32) is None
    monkeypatch.setattr(spectra, "SPECTRUM_VERSION", 2)
    assert read_spectrum(tmp_path, 0, hessian=SHA) is None


def test_every_damaged_byte_is_noticed(rng, tmp_path):
    """Whatever byte is altered, and wherever the file ends: no spectrum, or the very one where a byte between the parts is no part."""
    written = _spectrum(rng)
    write_spectrum(tmp_path, 0, written, hessian=SHA)
    (file,) = (tmp_path / SPECTRA).iterdir()
    data = file.read_bytes()
    for place in range(0, len(data), 3):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x11]) + data[place + 1 :])
        back = read_spectrum(tmp_path, 0, hessian=SHA)
        if back is not None:
            _same(back, written)
        file.write_bytes(data[:place])
        assert read_spectrum(tmp_path, 0, hessian=SHA) is None


def test_a_place_that_cannot_be_written_is_no_error(rng, tmp_path):
    (tmp_path / SPECTRA).write_text("a file where the folder should be")
    write_spectrum(tmp_path, 0, _spectrum(rng), hessian=SHA)
    assert read_spectrum(tmp_path, 0, hessian=SHA) is None


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    from conftest import make_tiny_llama

    folder = tmp_path_factory.mktemp("spectra")
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    path = collect(str(make_tiny_llama(folder / "tiny")), CalibrationRequest(tokens=folder / "tokens.npy"), out=folder / "run").path
    return path, run_sweep(open_run(path), _methods(), layers=_LAYERS)


_LAYERS = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"]


def _methods():
    return make_quantizers(["rtn-midrise", "watersic-mmse"], [3.0])


def _no_eigenvalues(monkeypatch):
    def fail(*_args, **_kwargs):
        pytest.fail("eigenvalues of a Hessian whose spectrum is there")

    monkeypatch.setattr(spectrum_module, "symmetric_eigenvalues", fail)
    monkeypatch.setattr(spectrum_module, "eigendecomposition", fail)


def test_no_command_decomposes_a_hessian_again(swept, monkeypatch):
    """A sweep writes one spectrum for each input that it works on; a fresh sweep and claims read it, and the rows are the same."""
    path, first = swept
    assert len(list((path / SPECTRA).glob("*.safetensors"))) == 1
    _no_eigenvalues(monkeypatch)
    again = run_sweep(open_run(path), _methods(), layers=_LAYERS, fresh=True)
    pd.testing.assert_frame_equal(first.table.drop(columns="wall_s"), again.table.drop(columns="wall_s"))
    layer = open_run(path)[_LAYERS[0]]
    assert spectrum_of(layer.hessian) is spectrum_with_vectors(layer.hessian)
    (claim,) = (claim for claim in CLAIMS if claim.name == "quip.lemma-2")
    assert "failed" not in {verdict.status for verdict in verify([layer], claims=[claim])}


def test_a_stale_spectrum_is_replaced(swept, monkeypatch):
    """That of another Hessian under the same number is not used, and the next sweep writes the right one."""
    path, first = swept
    run = open_run(path)
    index = next(entry.hessian for entry in run.layers if entry.name == _LAYERS[0])
    right = read_spectrum(path, index, hessian=run.hessians[index].sha256)
    write_spectrum(path, index, dataclasses.replace(right, eigenvalues=2 * right.eigenvalues), hessian=SHA)
    again = run_sweep(open_run(path), _methods(), layers=_LAYERS, fresh=True)
    pd.testing.assert_frame_equal(first.table.drop(columns="wall_s"), again.table.drop(columns="wall_s"))
    _same(read_spectrum(path, index, hessian=run.hessians[index].sha256), right)
