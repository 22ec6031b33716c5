"""Hessians of others, and of several runs."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from conftest import make_tiny_llama

from rdtools.cli.main import main
from rdtools.errors import RdtoolsError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.hessians import import_hessians, inspect_hessians, merge_runs
from rdtools.runs.packing import pack
from rdtools.runs.store import open_run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tiny model, runs over both halves of its tokens, and one over all."""
    folder = tmp_path_factory.mktemp("hessians")
    model = str(make_tiny_llama(folder / "model"))
    ids = np.random.default_rng(1).integers(0, 64, (12, 16))
    np.save(folder / "held.npy", np.random.default_rng(2).integers(0, 64, (4, 16)))
    for name, part in (("whole", ids), ("a", ids[:5]), ("b", ids[5:])):
        np.save(folder / f"{name}.npy", part)
        evaluation = EvaluationRequest(tokens=folder / "held.npy") if name != "b" else None
        collect(model, CalibrationRequest(tokens=folder / f"{name}.npy"), out=folder / name, evaluation=evaluation)
    return folder


def test_merged_hessians_of_two_halves_are_those_of_the_whole(home, tmp_path, capsys):
    assert main(["hessians", "merge", str(home / "a"), str(home / "b"), "--out", str(tmp_path / "m")]) == 0
    assert "8 Hessians of 192 tokens" in capsys.readouterr().out
    merged, whole = open_run(tmp_path / "m"), open_run(home / "whole")
    merged.check()
    for index in range(len(whole.hessians)):
        got, expected = merged.hessian(index), whole.hessian(index)
        assert np.abs(got.matrix - expected.matrix).max() <= 1e-12 * np.abs(expected.matrix).max()
        assert np.abs(got.mean - expected.mean).max() <= 1e-12 * np.abs(expected.mean).max() + 1e-15
        assert (got.n_tokens, got.dropped_tokens) == (expected.n_tokens, 0)
        assert merged.heldout(index).n_tokens == whole.heldout(index).n_tokens
    assert merged.manifest.calibration.runner == "merged"
    assert collect(str(home / "model"), CalibrationRequest(), out=tmp_path / "m").path == tmp_path / "m"
    with pytest.raises(RdtoolsError, match=r"its Hessians are merged, not captured; give neither `text` nor `tokens`"):
        collect(str(home / "model"), CalibrationRequest(tokens=home / "a.npy"), out=tmp_path / "m")


def test_runs_that_do_not_belong_together_are_not_merged(home, tmp_path):
    import shutil

    with pytest.raises(RdtoolsError, match="of the same calibration tokens, which would count twice; leave one of them out"):
        merge_runs([home / "a", home / "a"], out=tmp_path / "m")
    merge_runs([home / "a", home / "b"], out=tmp_path / "both")
    for again in ([tmp_path / "both", home / "b"], [home / "a", tmp_path / "both"]):  # a merged run knows what it was made of
        with pytest.raises(RdtoolsError, match=r"both.*of the same calibration tokens, which would count twice; leave one of them out"):
            merge_runs(again, out=tmp_path / "m")
    with pytest.raises(RdtoolsError, match="1 run to merge, expected two or more"):
        merge_runs([home / "a"], out=str(tmp_path / "m"))
    with pytest.raises(RdtoolsError, match="holds a run; choose another directory"):
        merge_runs([home / "a", home / "b"], out=home / "a")
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(home / "model")
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    other.save_pretrained(tmp_path / "other")
    collect(str(tmp_path / "other"), CalibrationRequest(tokens=home / "b.npy"), out=tmp_path / "run")
    with pytest.raises(RdtoolsError, match="other model files; runs of one model and one rdtools alone can be merged"):
        merge_runs([home / "a", tmp_path / "run"], out=tmp_path / "m")
    shutil.rmtree(tmp_path / "run")
    assert not (tmp_path / "m").exists()


def quip_files(run, folder):
    """What QuIP# would write of a run: covariance in float32 by rows of its lower triangle, mean, size, tokens."""
    folder.mkdir()
    parts = {"q_proj": "qkv", "o_proj": "o", "gate_proj": "up", "down_proj": "down"}
    for index, entry in enumerate(run.hessians):
        H, block, part = run.hessian(index), entry.name.split(".")[2], parts[entry.name.rpartition(".")[2]]
        flat = torch.from_numpy(pack(H.matrix - np.outer(H.mean, H.mean))).float()
        torch.save(
            {"flatH": flat, "mu": torch.from_numpy(H.mean).float(), "n": len(H.matrix), "ct": H.n_tokens}, folder / f"{block}_{part}.pt"
        )
    return folder


def test_hessians_of_quip_sharp_come_back_and_are_reported_on(home, tmp_path, capsys):
    whole = open_run(home / "whole")
    folder = quip_files(whole, tmp_path / "quip")
    out = tmp_path / "run"
    assert main(["hessians", "import", str(folder), str(out), "--model", str(home / "model")]) == 0
    assert "8 Hessians (full, QuIP#), 192 tokens" in capsys.readouterr().out
    run = open_run(out)
    for index, entry in enumerate(whole.hessians):
        got, expected = run.hessian(index), whole.hessian(index)
        assert (run.hessians[index].name, got.n_tokens, got.origin) == (entry.name, 192, "QuIP#")
        assert np.abs(got.matrix - expected.matrix).max() <= 4 * 2.0**-24 * np.abs(expected.matrix).max()
        assert np.abs(got.mean - expected.mean).max() <= 2.0**-24 * np.abs(expected.mean).max()
    assert main(["hessians", "inspect", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["origin"], row["kind"], row["tokens"]) for row in rows} == {("QuIP#", "full", 192)}
    assert len(rows) == 14  # one for each module
    whole_file = torch.load(folder / "0_o.pt")
    for broken, message in (
        ({"flatH": torch.ones(1)}, r"0_o.pt: flatH is \(1,\), expected 136 numbers for n = 16"),
        ({"ct": 0}, "ct is 0, expected a whole number from 1 on; of no tokens"),
        ({"mu": None}, "mu is NoneType, expected 16 numbers"),
        ({"flatH": torch.full((136,), torch.nan)}, "NaN"),
    ):
        torch.save(whole_file | broken, folder / "0_o.pt")
        with pytest.raises(RdtoolsError, match=message):
            import_hessians(folder, str(home / "model"), out=tmp_path / "none")
    torch.save(whole_file, folder / "0_o.pt")
    (folder / "1_down.pt").unlink()
    with pytest.raises(RdtoolsError, match=r"no Hessian of model.layers.1.mlp.down_proj; of another model, or unfinished"):
        import_hessians(folder, str(home / "model"), out=tmp_path / "none")
    torch.save(torch.nn.Linear(2, 2), folder / "1_down.pt")
    with pytest.raises(RdtoolsError, match=r"1_down.pt: not loaded .*could run code"):
        import_hessians(folder, str(home / "model"), out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_gptq_s_hessians_lose_their_factor(home, tmp_path):
    from safetensors.torch import save_file

    whole = open_run(home / "whole")
    scaled = {layer.name: torch.from_numpy(whole.hessian(layer.hessian).matrix * 2 * 16).float() for layer in whole.layers}
    torch.save(scaled, tmp_path / "h.pt")
    save_file({f"{name}.weight": matrix.contiguous() for name, matrix in scaled.items()}, tmp_path / "h.safetensors")
    with pytest.raises(RdtoolsError, match="does not say over how many tokens its sum is; give N as `samples`"):
        inspect_hessians(tmp_path / "h.pt")
    for name in ("h.pt", "h.safetensors"):
        run = import_hessians(tmp_path / name, str(home / "model"), out=tmp_path / f"run-{name}", samples=12, sample_tokens=16)
        for index in range(len(whole.hessians)):
            expected = whole.hessian(index).matrix
            assert np.abs(run.hessian(index).matrix - expected).max() <= 2.0**-23 * np.abs(expected).max()
        assert (run.hessians[0].n_tokens, run.hessians[0].origin) == (192, "GPTQ")
    torch.save({"x": torch.ones(3)}, tmp_path / "h.pt")
    with pytest.raises(RdtoolsError, match="no square matrix under the name of a module"):
        inspect_hessians(tmp_path / "h.pt", samples=1, sample_tokens=1)
    with pytest.raises(RdtoolsError, match="`samples` 0: expected at least 1"):
        inspect_hessians(tmp_path / "h.pt", samples=0, sample_tokens=1)


KINDS = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
KINDS |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def _squares(run):
    """Name in llama.cpp → mean squares of its inputs."""
    names = {layer.name: f"blk.{layer.name.split('.')[2]}.{KINDS[layer.name.rpartition('.')[2]]}.weight" for layer in run.layers}
    return {names[layer.name]: np.diagonal(run.hessian(layer.hessian).matrix) for layer in run.layers}


def old_imatrix(path, squares, calls):
    data = struct.pack("<i", len(squares))
    for name, values in squares.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values))
        data += (values * max(calls, 1)).astype("<f4").tobytes()
    path.write_bytes(data + struct.pack("<ii", calls, 4) + b"text")
    return path


def test_an_old_importance_matrix_is_the_diagonal_and_rows_say_so(home, tmp_path, capsys):
    whole = open_run(home / "whole")
    place, out = old_imatrix(tmp_path / "imatrix.dat", _squares(whole), 12), tmp_path / "run"
    with pytest.raises(RdtoolsError, match="the old format counts chunks and not tokens; give the tokens of a chunk"):
        inspect_hessians(place)
    run = import_hessians(place, str(home / "model"), out=out, sample_tokens=16)
    for index in range(len(whole.hessians)):
        got, diagonal = run.hessian(index), np.diagonal(whole.hessian(index).matrix)
        assert np.allclose(got.matrix, np.diag(diagonal), rtol=2.0**-22, atol=0)
        assert (got.n_tokens, got.diagonal, got.origin) == (192, True, "llama.cpp's importance matrix")
    table = inspect_hessians(out)
    assert set(table["kind"]) == {"diagonal"}
    assert main(["hessians", "inspect", str(out)]) == 0
    assert "8 Hessians (diagonal, llama.cpp's importance matrix)" in capsys.readouterr().out

    from rdtools.compare import result_row
    from rdtools.methods import quantizer

    layer = run["0.o_proj"]
    messages = {name: result_row(layer, q, q.quantize(layer)).message for name in ("rtn", "hptq") for q in [quantizer(name, 3.0)]}
    for name, fed_back in (("rtn", False), ("hptq", True)):
        assert "H is a diagonal (llama.cpp's importance matrix): D and R(D) leave correlations of inputs out" in messages[name]
        assert ("of which it is given none" in messages[name]) == fed_back


def test_importance_matrices_without_counts_or_truncated_are_refused(home, tmp_path):
    squares = _squares(open_run(home / "whole"))
    place = old_imatrix(tmp_path / "imatrix.dat", squares, 0)
    with pytest.raises(RdtoolsError, match=r"blk.0.attn_q.weight: a count of zero: no token reached this matrix"):
        import_hessians(place, str(home / "model"), out=tmp_path / "none", sample_tokens=16)
    whole = old_imatrix(place, squares, 3).read_bytes()
    for data, message in (
        (whole[:100], "are left; truncated or altered"),
        (struct.pack("<ii", 1, 2**31 - 1), "the name of entry 0 takes 2147483647 bytes, 0 are left"),
        (struct.pack("<i", 0), "no matrix of a Llama-like model in it"),
    ):
        place.write_bytes(data)
        with pytest.raises(RdtoolsError, match=message):
            import_hessians(place, str(home / "model"), out=tmp_path / "none", sample_tokens=16)
    old_imatrix(place, squares | {"blk.0.attn_k.weight": squares["blk.0.attn_k.weight"] * 2}, 3)
    with pytest.raises(RdtoolsError, match="read the same input, and their Hessians differ"):
        import_hessians(place, str(home / "model"), out=tmp_path / "none", sample_tokens=16)
    with pytest.raises(RdtoolsError, match="of no known format"):
        inspect_hessians(home / "model")
    assert not (tmp_path / "none").exists()


def test_an_importance_matrix_in_gguf_counts_its_tokens(home, tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf writes the file")
    whole = open_run(home / "whole")
    writer = gguf.GGUFWriter(tmp_path / "imatrix.gguf", "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text"])
    for name, values in _squares(whole).items():
        writer.add_tensor(f"{name}.in_sum2", (values * 192).astype(np.float32)[None])
        writer.add_tensor(f"{name}.counts", np.full((1, 1), 192 * (name != "blk.1.ffn_down.weight"), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(RdtoolsError, match=r"blk.1.ffn_down.weight: a count of zero"):
        inspect_hessians(tmp_path / "imatrix.gguf")

    from rdtools.foreign.imatrix import imatrix_hessians

    hessian = imatrix_hessians(tmp_path / "imatrix.gguf")["layers.0.self_attn.o_proj"]()
    assert hessian.n_tokens == 192
    assert np.allclose(np.diagonal(hessian.matrix), _squares(whole)["blk.0.attn_output.weight"], rtol=2.0**-22, atol=0)
