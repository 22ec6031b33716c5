"""Foreign files of a tiny Llama whose blocks are of every type of GGUF."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from foreign.writers import awq_tensors, gguf_name, gptq_tensors, integers, interleaved, plain, write_folder, write_gguf

from rdtools.cli.main import main
from rdtools.compare.foreign import best_beside
from rdtools.errors import RdtoolsError
from rdtools.foreign.gguf_types import TYPES
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.measure import measure_file
from rdtools.runs.foreign import read_foreign
from rdtools.runs.store import open_run

WIDTH, BLOCKS, HEADS, KV = 256, 4, 2, 1


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run of a random Llama with `BLOCKS` blocks, one Hessian of which is exact enough to be of full rank."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("foreign")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": BLOCKS}
        heads = {"num_attention_heads": HEADS, "num_key_value_heads": KV}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads, max_position_embeddings=32, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(folder / "model")
    np.save(folder / "ids.npy", np.random.default_rng(1).integers(0, 64, (24, 32)))
    return collect(str(folder / "model"), CalibrationRequest(tokens=folder / "ids.npy"), out=folder / "run")


@pytest.fixture
def run(original, tmp_path):
    shutil.copytree(original.path, tmp_path / "run")
    return open_run(tmp_path / "run")


def _distortion(layer, values) -> float:
    E = layer.weight - values
    return float(np.einsum("ij,jk,ik->", E, layer.hessian.matrix, E) / E.size)


def _quantized(gguf, name: str, weight: np.ndarray, kind: int, rng) -> np.ndarray:
    """Bytes of a matrix: by the library where it can, else random blocks."""
    library = gguf.GGMLQuantizationType(kind)
    part = name.rpartition(".")[2]
    rows = interleaved(weight, HEADS if part == "q_proj" else KV) if part in ("q_proj", "k_proj") else weight
    try:
        return gguf.quants.quantize(rows.astype(np.float32), library)
    except NotImplementedError:
        return rng.integers(0, 64, (len(rows), rows.shape[1] // TYPES[kind].block * TYPES[kind].bytes), dtype=np.uint8)


def test_every_type_of_gguf_costs_its_bytes_and_errs_as_the_library_decodes_it(run, tmp_path, monkeypatch):
    gguf = pytest.importorskip("gguf", reason="the package gguf decodes GGUF files")
    rng, kinds = np.random.default_rng(3), [number for number in TYPES if number != 28]  # the library writes no F64
    kind_of = {name: kinds[place % len(kinds)] for place, name in enumerate(run)}
    assert len(set(kind_of.values())) == len(kinds)
    tensors = {
        gguf_name(name): (_quantized(gguf, name, run[name].weight, kind, rng), gguf.GGMLQuantizationType(kind))
        for name, kind in kind_of.items()
    }
    path = write_gguf(tmp_path / "tiny.Q2_K.gguf", tensors, heads=(HEADS, KV))
    # random blocks are no weights of this model, and say nothing of the order of their rows
    monkeypatch.setattr("rdtools.compare.foreign.check_related", lambda *args: None)
    monkeypatch.setattr("rdtools.foreign.matching._SURE", 2.0)
    table = measure_file(path, run=run.path).table.set_index("layer")
    judge = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, kind in kind_of.items():
        row, tensor, layer = table.loc[name], judge[gguf_name(name)], run[name]
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        if row["reading"].endswith("interleaved"):
            values = values.reshape(-1, WIDTH // 4, 2, WIDTH).swapaxes(1, 2).reshape(values.shape)
        assert row["distortion"] == pytest.approx(_distortion(layer, values), rel=1e-6), TYPES[kind].name
        assert row["total_bpw"] * layer.weight.size == pytest.approx(8 * tensor.n_bytes, rel=1e-12)
        assert row["code_bpw"] + row["scale_bpw"] == pytest.approx(row["total_bpw"])
        assert row["named_type"] == "Q2_K"


def test_a_gptq_file_is_measured_listed_and_measured_again(run, tmp_path, capsys):
    group = np.repeat(np.arange(2), 128)
    coded = {name: integers(run[name].weight, 4, group) for name in run}
    config = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    folder = write_folder(tmp_path / "g", {name: gptq_tensors(*parts, group, 4) for name, parts in coded.items()}, config)
    assert main(["measure", str(folder), "--run", str(run.path), "--layers", "*.1.*_proj", "--types", "q_proj,o_proj", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["layer_type"] for row in printed] == ["q_proj", "o_proj"]
    for row in printed:
        layer, (q, z, s) = run[row["layer"]], coded[row["layer"]]
        values = plain(q, z, s, group)
        assert row["distortion"] == pytest.approx(_distortion(layer, values), rel=1e-9)
        assert row["total_bpw"] == pytest.approx(4 + 20 / 128 + 32 / layer.weight.shape[0])
        assert row["rate_gap_total_bpw"] == pytest.approx(row["total_bpw"] - row["rd_bound_rate_bpw"])
        assert row["weight_sqnr_db"] == pytest.approx(
            -10 * np.log10(np.square(layer.weight - values).sum() / np.square(layer.weight).sum())
        )
    assert main(["measure", str(folder), "--run", str(run.path), "--types", "o_proj"]) == 0
    told = capsys.readouterr().out
    assert "bpw stored in 4 matrices (int4 g128 × 4)" in told
    assert "has no table of methods yet; rdtools report writes it" in told
    table = read_foreign(run.path)
    assert list(table["layer_type"]) == ["q_proj", *["o_proj"] * BLOCKS]
    assert list(table["status"]) == ["ok", "undersampled", "ok", "ok", "ok"]  # 64 tokens have no more than 64 embeddings
    (run.path / "foreign.csv").write_bytes(b"x")
    with pytest.raises(RdtoolsError, match=r"foreign.csv: 1 bytes, expected .*delete foreign.json beside it, then measure the files again"):
        read_foreign(run.path)


def _biased_distortion(layer, values, bias) -> float:
    """E‖(W − Ŵ) x − b‖² term by term, from H and μ."""
    E, mean = layer.weight - values, layer.hessian.mean
    return _distortion(layer, values) + float((bias @ bias - 2 * bias @ (E @ mean)) / E.size)


def test_biases_of_every_format_are_a_part_of_what_a_file_delivers(run, tmp_path, rng):
    """The model has none: what a file adds to the outputs is an error, and its bits are counted; llama.cpp permutes them with rows."""
    import torch

    name = "model.layers.0.self_attn.q_proj"
    layer, group, bias = run[name], np.repeat(np.arange(2), 128), 0.1 * rng.standard_normal(WIDTH).astype(np.float32)
    coded, other = integers(layer.weight, 4, group), {"bias": torch.from_numpy(bias)}
    paths = {
        "gptq": write_folder(
            tmp_path / "g", {name: gptq_tensors(*coded, group, 4) | other}, {"quant_method": "gptq", "bits": 4, "group_size": 128}
        ),
        "awq": write_folder(tmp_path / "a", {name: awq_tensors(*coded) | other}, {"quant_method": "awq", "bits": 4}),
    }
    values, spent = plain(*coded, group), 32 / WIDTH
    plain_bpw = {"gptq": 4 + 20 / 128 + 32 / WIDTH, "awq": 4 + 20 / 128}
    for kind, path in paths.items():
        row = measure_file(path, run=run.path, layers=["*.0.*.q_proj"]).table.iloc[0]
        assert row["distortion"] == pytest.approx(_biased_distortion(layer, values, bias.astype(np.float64)), rel=1e-9), kind
        assert row["total_bpw"] == pytest.approx(plain_bpw[kind] + spent)
        assert "the file has another bias" in row["message"]
    gguf = pytest.importorskip("gguf", reason="the package gguf decodes GGUF files")
    kind = gguf.GGMLQuantizationType.F32
    tensors = {gguf_name(name): (interleaved(layer.weight, HEADS).astype(np.float32), kind)}
    tensors[gguf_name(name).replace("weight", "bias")] = (interleaved(bias[:, None], HEADS)[:, 0].copy(), kind)
    row = measure_file(write_gguf(tmp_path / "b.gguf", tensors, heads=(HEADS, KV)), run=run.path, layers=["*.0.*.q_proj"]).table.iloc[0]
    values = layer.weight.astype(np.float32).astype(np.float64)
    assert row["distortion"] == pytest.approx(_biased_distortion(layer, values, bias.astype(np.float64)), rel=1e-6)


def test_a_file_of_another_model_or_without_a_tensor_leaves_no_trace(run, tmp_path, rng):
    import torch

    def dense(change) -> dict:
        weights = {f"{name}.weight": run[name].weight for name in run}
        change(weights)
        return {name: torch.from_numpy(weight).float().contiguous() for name, weight in weights.items()}

    o_proj, up_proj = "model.layers.1.self_attn.o_proj.weight", "model.layers.3.mlp.up_proj.weight"
    for change, message in (
        (lambda w: w.update({o_proj: rng.standard_normal((WIDTH, WIDTH))}), r"o_proj.weight: its correlation .*another model, or damaged"),
        (lambda w: w.pop(up_proj), r"no tensor for model.layers.3.mlp.up_proj, .*choose with `layers` those that it has"),
        (
            lambda w: w.update({up_proj: w[up_proj][:99]}),
            r"holds \(99, 256\), model.layers.3.mlp.up_proj of the run is \(256, 256\)",
        ),
        (lambda w: w[up_proj].__setitem__((0, 0), np.nan), "1 decoded weights are NaN or infinite"),
    ):
        folder = write_folder(tmp_path / "d", {}, None, dense(change))
        with pytest.raises(RdtoolsError, match=message):
            measure_file(folder, run=run.path, layers=["*.1.*.o_proj", "*.3.*.up_proj"])
        assert not list(run.path.glob("foreign*"))
    same = write_folder(tmp_path / "d", {}, None, dense(lambda w: None))
    row = measure_file(same, run=run.path, layers=["*.0.*.up_proj"]).table.iloc[0]
    assert (row["stored_type"], row["total_bpw"], row["distortion"]) == ("F32", 32, 0)
    assert np.isnan(row["rate_gap_total_bpw"])
    assert "the decoded weights have no error" in row["message"]


def test_the_best_method_beside_is_interpolated_between_its_rates_and_never_beyond_the_file():
    def rows(method, points, **more):
        return [{"layer": "q", "method": method, "status": "ok", "total_bpw": r, "relative_distortion": d} | more for r, d in points]

    results = pd.DataFrame(
        [
            *rows("a", [(2, 2.0**-4), (4, 2.0**-8)]),
            *rows("b", [(3.5, 2.0**-6.5)]),
            *rows("above", [(3.1, 2.0**-20)]),
            *rows("failed", [(1, 2.0**-20)], status="failed"),
            *rows("activations", [(1, 2.0**-20)], activation_bits=4),
        ]
    )
    found = best_beside(results, "q", 3.0)
    assert (found.best_method, found.best_method_bpw) == ("a", 3.0)
    assert found.best_method_relative_distortion == pytest.approx(2.0**-6)
    found = best_beside(results[results["method"] != "above"], "q", 5.0)
    assert (found.best_method, found.best_method_bpw) == ("a", 4.0)
    assert best_beside(results, "q", 1.0) is None
    assert best_beside(results, "k", 3.0) is None
