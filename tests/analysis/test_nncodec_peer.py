from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import nncodec_peer, nncodec_worker

from rdtools.moments.layer import Layer

FIGURES = Path(__file__).resolve().parents[2] / "figures"


def test_gaps_are_those_of_the_stream_and_the_decoded_weights(rng):
    """Under H = I a gap is rate + ½ log2(D/σ²), of which the gap in mean square alone is the same."""
    layer = Layer.of(rng.standard_normal((64, 16)), np.eye(16))
    row = nncodec_peer.coded_rows(layer, -20, np.round(layer.weight), 256)
    distortion = float(np.mean((layer.weight - np.round(layer.weight)) ** 2))
    assert row["total_bpw"] == 2.0
    assert row["distortion"] == pytest.approx(distortion, rel=1e-12)
    expected = 2.0 + 0.5 * np.log2(distortion / np.mean(layer.weight**2))
    assert row["gap_to_rd_bound_bpw"] == pytest.approx(expected, rel=1e-9)
    assert row["gap_in_mean_square_bpw"] == pytest.approx(expected, rel=1e-9)


def test_the_worker_writes_what_is_decoded_and_how_long_it_was(tmp_path, monkeypatch, rng):
    """With a codec that rounds to 2^qp and takes a byte per weight."""

    def compress(weights, *, qp, **_):
        ((name, weight),) = weights.items()
        return [name, np.round(weight / 2.0**qp) * 2.0**qp, *range(weight.size - 2)]

    codec = types.SimpleNamespace(nnc=types.SimpleNamespace(compress=compress, decompress=lambda stream: {stream[0]: stream[1]}))
    monkeypatch.setitem(sys.modules, "nncodec", codec)
    weight = rng.standard_normal((4, 8))
    np.savez(tmp_path / "in.npz", q=weight)
    assert nncodec_worker.main([str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "-3", "0"]) == 0
    with np.load(tmp_path / "out.npz") as coded:
        assert (coded["q|0"] == np.round(weight)).all()
        assert int(coded["q|-3|bytes"]) == weight.size
        assert np.abs(coded["q|-3"] - weight).max() <= 1 / 16


def test_the_rows_of_the_repository_say_what_the_gallery_claims():
    """It is near R(D) of the mean square, and far from that under H."""
    rows = pd.read_csv(FIGURES / "nncodec.csv")
    assert (rows["gap_in_mean_square_bpw"] < 0.3).all()
    means = rows.groupby("qp")["gap_to_rd_bound_bpw"].mean()
    assert (means > 0.7).all()
