"""Tasks of a notebook, each in at most two lines, as the surface promises."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_tiny_llama, quick_figures
from hypothesis.strategies import SearchStrategy

import rdtools as rd
from rdtools.errors import BadTokens, CorruptFile, ShapeMismatch, UsageError, WrongType

#: What a user wants → how it is typed, in at most two lines that bind `answer`.
TASKS = {
    "list layers": "answer = run.layers()",
    "a table of results": "answer = run.results",
    "plot rate over distortion": "answer = rd.plot.rate_distortion(run)",
    "spectrum of a layer": "spectrum = run['0.o_proj'].spectrum\nanswer = (spectrum.condition_number, spectrum.effective_rank)",
    "own weights and Hessian": "layer = rd.Layer.of(W, X.T @ X / len(X), n_tokens=len(X))\nanswer = rd.Layer.from_activations(W, X)",
    "compare methods": "answer = rd.compare(layer, ['gptq', 'watersic'], bits=[2, 3])",
    "choose a damping": "q = rd.quantizer('gptq', bits=3, damping=0.01).quantize(layer)\nanswer = q.measure()",
    "own calibration data": "answer = rd.collect(model, ids)",
    "dequantized weights as a tensor": "q = rd.quantizer('hptq+act-order', bits=3).quantize(layer)\nanswer = q.dequantize(torch.bfloat16)",
    "save and load": "q.save(tmp_path / 'o_proj.rdtq')\nanswer = rd.load(tmp_path / 'o_proj.rdtq')",
    "share a budget of bits": (
        "parts = [rd.theory.allocation.LayerBudget(l.statistics.weight_variance * l.spectrum.eigenvalues, 16) for l in run.values()]\n"
        "answer = rd.theory.allocation.allocate(parts, 3.0)"
    ),
    "which layers are sensitive": "answer = rd.compare(run, 'rtn', bits=3).sort_values('relative_distortion', ascending=False)['layer']",
    "put the weights into the model": (
        "q = rd.quantizer('gptq', bits=4).quantize(run['1.k_proj'])\n"
        "answer = model.get_submodule(q.key.name).weight.data.copy_(q.dequantize(torch.float32))"
    ),
    "verify a claim of one's own": (
        "mine = rd.claims.Claim('mine.trace', 'λ_max ≤ tr H', source, lambda e: e[rd.Layer].spectrum.eigenvalues[0],"
        " lambda e: e[rd.Layer].spectrum.eigenvalues.sum(), '≤', 'trace')\n"
        "answer = rd.verify(layer, mine)"
    ),
    "strategies for properties": "layers = rd.testing.layers(max_rows=4)\nanswer = rd.testing.spectra()",
}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What is at hand: a reported run of a tiny model, the model, ids, weights and inputs; bound names stay for later tasks."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tasks")
    make_tiny_llama(folder / "tiny")
    generator = np.random.default_rng(1)
    np.save(folder / "ids.npy", generator.integers(0, 64, (12, 16)))
    with quick_figures():
        rd.run_report(
            model=str(folder / "tiny"),
            tokens=folder / "ids.npy",
            methods=["hrtn", "hptq"],
            rates=[3],
            types=["o_proj", "k_proj"],
            workers=1,
            out=folder / "run",
        )
    return {
        "rd": rd,
        "torch": torch,
        "tmp_path": folder,
        "run": rd.open_run(folder / "run"),
        "model": AutoModelForCausalLM.from_pretrained(folder / "tiny", dtype=torch.float32),
        "ids": torch.from_numpy(np.load(folder / "ids.npy")),
        "W": generator.standard_normal((32, 8)),
        "X": generator.standard_normal((64, 8)),
        "source": rd.claims.Source("mine", "", "equation 1"),
    }


def _do(task, names):
    assert TASKS[task].count("\n") <= 1
    exec(TASKS[task], names)
    return names["answer"]


def test_fifteen_tasks_take_two_lines_each(names):
    """In the order of the table, as one session: what an earlier line binds a later one may use."""
    assert len(TASKS) == 15
    answers = {task: _do(task, names) for task in TASKS}
    run, layer, q = names["run"], names["layer"], names["q"]
    assert answers["list layers"]["layer"].tolist() == list(run)
    assert answers["list layers"]["rows"].tolist() == [run[name].weight.shape[0] for name in run]
    assert set(answers["a table of results"]["method"]) == {"hrtn", "hptq"}
    assert answers["plot rate over distortion"]._repr_png_()[:4] == b"\x89PNG"
    values = np.linalg.eigvalsh(run["0.o_proj"].hessian.matrix)
    np.testing.assert_allclose(answers["spectrum of a layer"], (values[-1] / values[0], values.sum() ** 2 / (values**2).sum()), rtol=1e-6)
    made = answers["own weights and Hessian"]
    assert made.hessian.n_tokens == layer.hessian.n_tokens == 64
    np.testing.assert_allclose(made.hessian.matrix, layer.hessian.matrix, rtol=0, atol=1e-14)
    table = answers["compare methods"]
    assert list(zip(table["method"], table["target_bpw"], strict=True)) == [("gptq", 2), ("gptq", 3), ("watersic", 2), ("watersic", 3)]
    assert (table["status"] == "ok").all()
    assert table["distortion"].tolist()[1] == rd.quantizer("gptq", bits=3).quantize(layer).measure().distortion
    damped = rd.GPTQ(rate_bits=3, damping=0.01).quantize(layer)
    assert (damped.damping, answers["choose a damping"].distortion) == (0.01, rd.measure(layer, damped).distortion)
    collected = answers["own calibration data"]
    np.testing.assert_array_equal(collected["0.o_proj"].hessian.matrix, run["0.o_proj"].hessian.matrix)
    assert answers["dequantized weights as a tensor"].dtype == torch.bfloat16
    loaded = answers["save and load"]
    assert loaded.shape == (32, 8)
    budget = answers["share a budget of bits"]
    assert budget.rates_bits.shape == (len(run),)
    assert set(answers["which layers are sensitive"]) == set(run)
    np.testing.assert_array_equal(answers["put the weights into the model"].numpy(), q.dequantize("float32"))
    verdicts = answers["verify a claim of one's own"]
    assert verdicts["status"].tolist() == ["holds"]
    tight = rd.tightness(verdicts).iloc[0]
    assert (tight["layers"], tight["violated"]) == (1, 0)
    assert tight["tightest"] == pytest.approx(verdicts["lhs"][0] / verdicts["rhs"][0], rel=1e-15)
    assert tight["least_slack"] == pytest.approx(verdicts["rhs"][0] - verdicts["lhs"][0], rel=1e-15)
    assert isinstance(answers["strategies for properties"], SearchStrategy)


def test_a_run_is_a_mapping_that_prints_in_one_line(names):
    run = names["run"]
    assert repr(run) == f"Run({str(run.path)!r}: tiny, 14 layers, 8 Hessians, 192 tokens; results: 2 methods × 1 rates)"
    assert run.get("no such layer") is None
    assert "1.o_proj" in run
    assert run["1.o_proj"].key.name == "model.layers.1.self_attn.o_proj"
    assert [layer.key.name for layer in run.values()] == list(run.keys()) == [name for name, _ in run.items()]
    assert "<td>192</td>" in run._repr_html_()


def test_records_print_in_one_line_and_as_tables(names):
    layer = rd.Layer.of(np.ones((3, 2)), np.diag([1.0, 0.0]), name="<b>", n_tokens=7)
    q = rd.quantizer("rtn", bits=2).quantize(layer)
    point = q.measure()
    assert repr(layer) == "Layer(<b>: 3×2, 7 tokens, 1 inputs that are always zero)"
    assert repr(q) == "QuantizedLayer(<b>: 3×2, 1.000 bpw of symbols, target 2, damping 0)"
    assert (
        repr(point) == f"RDPoint(total {point.total_bpw:.3f} bpw (1.000 of symbols), D {point.distortion:.4g}, SQNR {point.sqnr_db:.2f} dB)"
    )
    assert repr(q.weight) == "QuantizedWeight(3×2, ScalarSymbols)"
    for record in (layer, q, point, layer.spectrum):
        assert "\n" not in repr(record)
        assert len(repr(record)) < 300
        assert record._repr_html_().startswith("<table>")
        assert "<b>" not in record._repr_html_()
    assert "heldout" not in point._repr_html_()


def test_saved_weights_come_back_to_the_bit(names, tmp_path):
    layer = rd.Layer.of(np.random.default_rng(0).standard_normal((8, 6)), np.eye(6))
    q = rd.quantizer("watersic", bits=3).quantize(layer)
    q.save(tmp_path / "w.rdtq")
    assert 8 * (tmp_path / "w.rdtq").stat().st_size == round(q.measure().total_bpw * 48)
    loaded = rd.load(str(tmp_path / "w.rdtq"))
    np.testing.assert_array_equal(loaded.dequantize(), q.dequantize())
    assert loaded.measure(layer).distortion == q.measure().distortion
    for dtype in ("float16", np.float32):
        np.testing.assert_array_equal(q.dequantize(dtype), q.dequantize().astype(dtype))
    assert torch.equal(q.dequantize(torch.float32), torch.from_numpy(q.dequantize()).float())
    (tmp_path / "w.rdtq").write_bytes((tmp_path / "w.rdtq").read_bytes()[:-1])
    with pytest.raises(CorruptFile, match=r"w\.rdtq"):
        rd.load(tmp_path / "w.rdtq")
    with pytest.raises(ShapeMismatch, match=r"weights \(3, 6\) beside quantized ones \(8, 6\)"):
        loaded.measure(rd.Layer.of(np.ones((3, 6)), np.eye(6)))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda q: q.dequantize("int8"), WrongType, "dtype 'int8', expected a floating-point one"),
        (lambda q: q.dequantize(torch.int8), WrongType, "expected a floating-point one"),
        (lambda q: q.dequantize("bfloat16"), WrongType, "such as .*torch.bfloat16"),
        (lambda q: q.save(3), WrongType, "save: got int, expected the path"),
        (lambda q: rd.load(3), WrongType, "load: got int, expected the path"),
        (lambda q: rd.load("/"), UsageError, "expected a file that save wrote"),
        (lambda q: rd.quantizer(3, 3), WrongType, "expected one of rdtools.methods"),
        (lambda q: rd.HPTQ(rate_bits=3).quantize(q.layer, seed=None), UsageError, "seed None; expected an integer"),
        (lambda q: rd.compare(3, "gptq", 3), WrongType, "got int, expected a Layer"),
        (lambda q: rd.compare([], "gptq", 3), WrongType, "got nothing among the layers"),
        (lambda q: rd.compare([q], "gptq", 3), WrongType, "got QuantizedLayer among the layers"),
        (lambda q: rd.compare([q.layer, q.layer], "gptq", 3), UsageError, "two layers have one name"),
        (lambda q: rd.compare(q.layer, 3, 3), WrongType, "expected names such as"),
        (lambda q: rd.compare(q.layer, "gptq", "3"), WrongType, "bits '3', expected a number"),
        (lambda q: rd.plot.gap(3), WrongType, "got int, expected a table of rdtools.compare"),
        (lambda q: rd.plot.gap(pd.DataFrame({"layer": []})), UsageError, "no column 'method'"),
        (lambda q: rd.plot.spectrum(3), WrongType, "expected a Layer or several"),
        (lambda q: rd.plot.tightness(pd.DataFrame()), UsageError, "no column 'claim'"),
        (lambda q: rd.tightness(3), UsageError, "expected the table that rdtools.verify returns"),
        (lambda q: rd.verify(3), WrongType, "got int, expected a Layer"),
        (lambda q: rd.verify([3]), WrongType, "got list, expected a Layer"),
        (lambda q: rd.verify(q.layer, 3), WrongType, "got int among the claims"),
        (lambda q: rd.evaluate(3), WrongType, "evaluate: got int, expected the path of a run"),
        (lambda q: rd.evaluate("nowhere", methods=3), WrongType, "evaluate: methods 3, expected names such as"),
        (lambda q: rd.evaluate("nowhere", methods="gptq", rates="3"), WrongType, "evaluate: rates '3', expected a number"),
        (lambda q: rd.collect(3, [[1]]), WrongType, "got int as model, expected 'embedded'"),
        (lambda q: rd.collect("embedded", 3), WrongType, "got int as tokens"),
        (lambda q: rd.collect("embedded", [[0.5]]), BadTokens, "expected whole numbers"),
        (lambda q: rd.collect("embedded", {"ids": 1}), BadTokens, "a mapping with ids, expected 'input_ids'"),
        (lambda q: rd.collect("embedded", out=3), WrongType, "out 3, expected the path"),
        (lambda q: rd.CalibrationRequest(text=3), WrongType, "`text` int, expected the path"),
        (lambda q: rd.theory.waterfilling.distortion_rate(3, q.layer.spectrum), WrongType, "got a Spectrum, expected variances"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(call, error, sentence):
    layer = rd.Layer.of(np.ones((4, 2)), np.eye(2))
    with pytest.raises(error, match=sentence):
        call(rd.quantizer("rtn", bits=2).quantize(layer))


def test_ids_in_memory_are_those_of_a_file(names):
    """Whatever holds them: padding is left out, and weights that were changed in memory are those that are analysed."""
    model, ids = names["model"], names["ids"]
    ragged = rd.collect(model, [ids[0], ids[1][:5].tolist()])
    masked = torch.ones(2, 16, dtype=torch.int64)
    masked[1, 5:] = 0
    batches = torch.utils.data.DataLoader([{"input_ids": i, "attention_mask": m} for i, m in zip(ids[:2], masked, strict=True)])
    loaded = rd.collect(model, batches)
    assert ragged.hessians[0].n_tokens == loaded.hessians[0].n_tokens == 21
    np.testing.assert_array_equal(ragged["0.up_proj"].hessian.matrix, loaded["0.up_proj"].hessian.matrix)
    folder = ragged.path
    assert folder.is_dir()
    del ragged
    assert not folder.exists()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    out = names["tmp_path"] / "collected"
    changed = rd.collect(model, ids, out=out)
    assert changed["0.up_proj"].weight[0, 0] == pytest.approx(1 + loaded["0.up_proj"].weight[0, 0], abs=1e-6)
    assert rd.collect(model, ids, out=out).hessians == changed.hessians  # the run that is there
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] -= 1
    with pytest.raises(UsageError, match="holds other weights than the model that was given"):
        rd.collect(model, ids, out=out)


def test_jobs_speak_to_the_log(names, caplog):
    with caplog.at_level(logging.INFO, logger="rdtools"):
        rd.verify(names["run"]["0.o_proj"], "quip.lemma-2")
    assert caplog.records[0].message == "Verify …"
    assert caplog.records[-1].message.startswith("Verify: ")


def test_plots_of_tables_and_layers(names):
    layer = rd.Layer.of(np.random.default_rng(0).standard_normal((128, 4)), np.diag([4.0, 3.0, 2.0, 1.0]), name="0.q_proj")
    table = rd.compare(layer, "hptq", bits=3)
    bare, whole = (rd.plot.rate_distortion(table, layers) for layers in ((), layer))
    lines = [{line.get_label() for axis in figure.axes for line in axis.lines} for figure in (bare, whole)]
    assert "R(D), one variance" in lines[0]
    assert lines[0] < lines[1]
    drawn = rd.plot.spectrum(layer).axes[0].lines
    np.testing.assert_allclose(drawn[0].get_ydata(), np.array([4, 3, 2, 1]) / 2.5)
    np.testing.assert_allclose(drawn[1].get_ydata(), np.array([4, 3, 2, 1]) / 2.5)
    verdicts = rd.verify(layer, ["quip.lemma-2", "quip.feedback-helps", "quip.theorem-1-attained"])
    marks = rd.plot.tightness(verdicts).axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(marks, (verdicts["lhs"] / verdicts["rhs"])[:2])
    for figure in (rd.plot.gap(table), rd.plot.predicted(names["run"]), rd.plot.tightness(verdicts[2:])):
        assert figure._repr_png_()[:4] == b"\x89PNG"
