from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdtools.analysis import bench, bench_measure, bench_ops, bench_peers

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.transforms import hadamard_multiply


@pytest.mark.parametrize("op", sorted(bench.OPS))
def test_rows_and_figure_of_every_op(op, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "passes", lambda tests: True)
    out = tmp_path / "rows.csv"
    assert bench.main(["--op", op, "--size", "64", "--repeats", "2", "--threads", "1", "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert set(rows["op"]) == {op}
    assert rows["contestant"].str.startswith("rdtools").any()
    assert (op == "block") == rows["contestant"].str.startswith("rdtools").all()  # whose floors are all that it has beside it
    assert (rows["ratio_to_floor"] > 0).all()
    assert (rows["ratio_to_floor_q20"] <= rows["ratio_to_floor_q80"]).all()
    assert {"device", "threads", "commit", "numpy", "cpu_seconds", "floor_seconds"} <= set(rows.columns)
    assert out.with_suffix(".png").is_file()
    assert out.with_suffix(".pdf").is_file()
    assert "ratio_to_floor" in capsys.readouterr().out


def test_rows_of_other_ops_stay_in_the_file(tmp_path):
    """Those of the same op are replaced, whatever their size; the rest stays as it is, in the order of the ops."""
    rows = pd.DataFrame({"op": ["coding", "hadamard", "coding"], "rows": [1, 2, 3], "at_most": [None, 4.0, None]})
    place = tmp_path / "rows.csv"
    assert bench._beside_others(rows, place) is rows
    rows.to_csv(place, index=False, float_format="%.6g")
    table = bench._beside_others(pd.DataFrame({"op": ["coding", "block"], "rows": [4, 5], "at_most": [None, None]}), place)
    assert table.to_csv(index=False, float_format="%.6g").split() == ["op,rows,at_most", "hadamard,2,4", "coding,4,", "block,5,"]


def test_an_op_with_red_tests_is_not_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "passes", lambda tests: "tests/kernels/test_hadamard.py" not in tests)
    out = tmp_path / "rows.csv"
    arguments = ["--op", "hadamard", "--op", "gptq", "--size", "32", "--repeats", "1", "--threads", "1", "--out", str(out)]
    assert bench.main(arguments) == 1
    assert set(pd.read_csv(out)["op"]) == {"gptq"}
    assert "hadamard: not reported" in capsys.readouterr().err


@pytest.mark.parametrize(("body", "green"), [("assert True", True), ("assert False", False), (None, False)])
def test_green_means_that_the_tests_pass(body, green, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    if body is not None:
        (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    assert bench_measure.passes(("test_it.py",), tmp_path) is green


def test_a_slow_contestant_is_timed_once(monkeypatch):
    calls = []
    slow = bench_measure.Contestant("slow", "float32", lambda: calls.append("slow"))
    quick = bench_measure.Contestant("quick", "float32", lambda: calls.append("quick"))
    clock = iter(np.cumsum([0, 0.1, 0, 9, 0, 0.1] + [0, 0.1, 0, 0.1] * 20))
    monkeypatch.setattr(bench_measure.time, "perf_counter", lambda: next(clock))
    rows = list(bench_measure.measure(bench_measure.Case(2, 2, "none", lambda: None, [slow, quick]), seconds=5.0, repeats=3))
    assert (calls.count("slow"), calls.count("quick")) == (1, 4)
    assert [row["repeats"] for row in rows] == [1, 3]
    assert rows[0]["ratio_to_floor"] == pytest.approx(90)


def test_every_op_names_test_files_that_exist():
    checkout = Path(__file__).resolve().parents[2]  # an installed package has no tests beside it
    for op in bench.OPS.values():
        assert all((checkout / test).is_file() for test in op.tests)
    assert bench_measure.passes((), checkout / "nowhere")


def test_peers_decide_the_same_codes():
    """In float64, where ties are rare, the GPTQ loop on reversed columns, LDLQ and the sweep are one algorithm (2507.18553, Theorem 4)."""
    layer = bench_ops.DrawnLayer.draw(96)
    L = cholesky(layer.H).lower
    scale = torch.from_numpy(layer.scale).double()
    expected = layer.sweep(L, np.float64)
    W = torch.from_numpy(layer.W).double()
    T = bench_peers.gptq_factor(torch.from_numpy(np.ascontiguousarray(layer.H[::-1, ::-1])))
    different = (bench_peers.gptq_loop(W.flip(1), T, scale).flip(1).numpy() != expected).mean()
    different += (bench_peers.ldlq_loop(W, torch.from_numpy(L), scale).numpy() != expected).mean()
    assert different == 0
    assert 0 < layer.loss(expected) < 0.1


def test_butterfly_is_the_hadamard_multiplication(rng):
    x = rng.standard_normal((5, 32))
    assert (bench_peers.hadamard_loop(torch.from_numpy(x)).numpy() == hadamard_multiply(x)).all()


def test_peers_find_what_the_searches_find(rng):
    """Words and centroids as near, to rounding of float64, with all 1366 candidates of QuIP#'s table."""
    x, C = rng.standard_normal((500, 8)), rng.standard_normal((40, 8))
    words = bench_peers.e8p_candidates(torch.from_numpy(x)).numpy()
    expected = ops.e8p_nearest(x)[1]
    np.testing.assert_allclose(((x - words) ** 2).sum(1), ((x - expected) ** 2).sum(1), rtol=0, atol=1e3 * 2.0**-52)
    assert (bench_peers.centroid_products(torch.from_numpy(x), torch.from_numpy(C)).numpy() == ops.nearest_centroid(x, C)[0]).all()


def test_sums_of_products_are_the_rank_update(rng):
    x = rng.integers(-9, 9, (300, 7)).astype(np.float32)  # integers: no sum is rounded
    total = np.zeros((7, 7))
    ops.rank_update(total, x)
    assert (np.tril(bench_peers.moment_loop(torch.from_numpy(x)).numpy()) == total).all()


def test_coders_give_back_the_codes():
    """Ours and others', with integers of about three bits; the loss of a round trip is the share of integers that are wrong."""
    integers = bench_ops.drawn_integers(64).symbols.integers
    symbols, probabilities = bench_peers.shared_symbols(integers)
    entropy = -(probabilities[probabilities > 0] * np.log2(probabilities[probabilities > 0])).sum()
    assert 2 < entropy < 4
    assert (bench_peers.range_coder(symbols, probabilities) == symbols).all()
    assert (bench_peers.ans_by_columns(integers) == integers).all()
    (case,) = bench_ops.build_coding(64)
    assert [c.loss(c.run()) for c in case.contestants] == [0.0] * len(case.contestants)
    assert case.contestants[0].loss(integers + 1) == 1.0


def test_quantizations_are_as_good_as_their_rate_says():
    """At R bits the relative error is above 4⁻ᴿ GM/AM of the eigenvalues, and below 4⁻ᴿ · 2πe/12: the 0.2546 bit of successive
    cancellation without the gain GM/AM, 0.87 for 4n tokens, which leaves 13 % for the finite rate."""
    for case in bench_ops.build_quantize(64):
        ours = [c for c in case.contestants if c.name.startswith("rdtools")]
        assert len(ours) == 2
        eigenvalues = np.linalg.eigvalsh(bench_ops.DrawnLayer.draw(64).H)
        limit = 4.0**-3 * np.exp(np.log(eigenvalues).mean()) / eigenvalues.mean()
        for contestant in ours:
            assert limit < contestant.loss(contestant.run()) < 4.0**-3 * 2 * np.pi * np.e / 12
        assert case.floor()[0].shape == (64, 64)
