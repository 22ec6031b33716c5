"""Rows of the table in README.md that no other test has, and the table itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import rdtools as rd
from rdtools.cli.main import main
from rdtools.errors import CorruptFile, RateUnreachable
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import make_quantizers
from rdtools.runs.seal import UNSEALED, sealed
from rdtools.runs.store import open_run

ROOT = Path(__file__).resolve().parents[2]
TABLE = (Path(__file__).parent / "README.md").read_text()


def test_every_row_of_the_table_has_a_test_that_exists():
    rows = re.findall(r"^\| (\d+) \|.*\|$", TABLE, re.MULTILINE)
    assert [int(row) for row in rows] == [n for n in range(1, 39) if n not in (12, 26, 38)]
    names = re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)
    assert len(names) >= len(rows)
    for file, name in names:
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), (file, name)


@pytest.mark.parametrize("weights", ["zero rows", "constant"])
def test_zero_rows_and_constant_weights(weights, rng):
    """Row 3: finite numbers, and nothing lost on the rows of zeros; or a refusal that names the rates."""
    W = rng.standard_normal((8, 16))
    W[::2] = 0
    if weights == "constant":
        W[:] = 0.5
    x = rng.standard_normal((64, 16))
    layer = rd.Layer.of(W, x.T @ x / 64)
    for quantizer in make_quantizers(["rtn", "gptq", "hptq", "watersic"], [3.0]):
        try:
            quantized = quantizer.quantize(layer)
        except RateUnreachable:  # of a constant, whose integers take fewer bits
            continue
        point = rd.measure(layer, quantized)
        assert np.isfinite(point.distortion)
        assert point.distortion >= 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 7)])
def test_tiny_layers_are_quantized_or_refused(shape, rng):
    """Row 11."""
    m, n = shape
    x = rng.standard_normal((4 * n + 1, n))
    layer = rd.Layer.of(rng.standard_normal((m, n)), x.T @ x / len(x))
    measured = []
    for quantizer in make_quantizers(["rtn", "gptq", "watersic"], [3.0]):
        with contextlib.suppress(RateUnreachable):  # of one weight, which no entropy coder has a rate for
            measured.append(rd.measure(layer, quantizer.quantize(layer)).distortion)
    assert len(measured) >= 2
    assert np.isfinite(measured).all()


class _Bomb:
    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.fixture
def run(tiny_llama, tiny_tokens, tmp_path):
    return collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")


def test_a_pickle_in_place_of_a_hessian_is_not_loaded(run, tmp_path):
    """Row 16, with a manifest that lists it."""
    data = pickle.dumps(_Bomb(tmp_path / "trace"))
    (run.path / "hessians/0000.safetensors").write_bytes(data)
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["hessians"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (run.path / "manifest.json").write_bytes(sealed(json.dumps(manifest | {"sha256": UNSEALED}).encode()))
    with pytest.raises(CorruptFile, match=r"0000\.safetensors: not a Hessian of rdtools"):
        open_run(run.path).hessian(0)
    assert not (tmp_path / "trace").exists()


def test_a_hessian_outside_the_run_is_not_read(run, tmp_path):
    """Row 17: the same file, behind a link."""
    (run.path / "hessians").rename(tmp_path / "elsewhere")
    (run.path / "hessians").symlink_to(tmp_path / "elsewhere")
    opened = open_run(run.path)
    for read in (opened.check, lambda: opened.hessian(0)):
        with pytest.raises(CorruptFile, match=r"0000\.safetensors: a symbolic link that leads out of the run"):
            read()


def test_a_disk_too_small_for_the_hessians_is_said_before_the_capture(tiny_llama, tiny_tokens, tmp_path, monkeypatch, capsys):
    """Row 20: two blocks of 16, 16, 16 and 24 columns take 4n(n + 1) bytes each."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2 * 4 * (3 * 16 * 17 + 24 * 25) - 1))
    argv = ["report", "--model", str(tiny_llama), "--tokens", str(tiny_tokens), "--out", str(tmp_path / "run")]
    assert main(argv) == 74
    assert "8 Hessians take 1.13e-05 GB, 1.13e-05 GB are free" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors.rdtools-part"))
    assert not (tmp_path / "run" / "hessians").exists()


def test_no_wall_clock_and_no_locale():
    """Row 35: durations are of a clock that nobody sets, stamps are in UTC, and no locale is set."""
    for folder in ("rdtools", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"\btime\.time\(|datetime\.(now|today)\(\)|utcnow|setlocale", path.read_text()), path
