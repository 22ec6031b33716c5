from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from conftest import quick_figures

from rdtools.errors import BadActivations, ModelUnreadable, NotFiniteInput
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.model.capture import capture
from rdtools.model.checkpoint import open_checkpoint
from rdtools.model.inputs import SharedInput, check_weights, find_layers
from rdtools.model.pretrained import load_model
from rdtools.model.products import Block, Products
from rdtools.model.tokens import Tokens, load_tokens
from rdtools.records import Hessian
from tests.model.architectures import build


@pytest.fixture
def loaded(tiny_llama):
    checkpoint = open_checkpoint(tiny_llama)
    return load_model(checkpoint), checkpoint


def _groups(found):
    return [[layer.name.rpartition(".")[2] for layer in item.layers] for item in found.inputs]


def test_products_know_the_matrix_of_any_view_of_a_parameter():
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.arange(24.0).reshape(2, 3, 4))
    model.p = torch.nn.Parameter(torch.ones(5, 4))
    seen = []
    x, y = torch.ones(2, 7, 4), torch.ones(2, 7, 3)
    with torch.no_grad(), Products(model, lambda block, inputs: seen.append((block, tuple(inputs.shape)))):
        torch.nn.functional.linear(x, model.w[1])
        torch.nn.functional.linear(y, weight=model.w[1].T)
        y @ model.w[0]
        torch.matmul(x, model.p.T)
        torch.addmm(torch.zeros(4), y[0], model.w[1])
        torch.bmm(y, model.w)
        model.p[1:3] @ x.transpose(1, 2)
        x @ x.transpose(1, 2)  # no parameter
        torch.nn.functional.linear(x[..., :2], model.p[:, :2])  # part of the columns is no matrix of its own
        torch.nn.functional.linear(x, model.p * 2)
    stack = [(Block("w", (0, 3), True), (7, 3)), (Block("w", (3, 6), True), (7, 3))]
    assert seen == [
        (Block("w", (3, 6), False), (14, 4)),
        (Block("w", (3, 6), True), (14, 3)),
        (Block("w", (0, 3), True), (14, 3)),
        (Block("p", (0, 5), False), (14, 4)),
        (Block("w", (3, 6), True), (7, 3)),
        *stack,
        (Block("p", (1, 3), False), (14, 4)),
    ]


def test_layers_share_an_input_only_if_they_receive_the_same_values(loaded):
    """An activation that is changed in place between two layers is one object with two values."""
    model, checkpoint = loaded
    assert _groups(find_layers(*loaded))[2:4] == [["gate_proj", "up_proj"], ["down_proj"]]

    def forward(self, x):
        gate = self.gate_proj(x)
        return self.down_proj(torch.relu(gate) * self.up_proj(x.mul_(2)))

    mlp = model.model.layers[0].mlp
    mlp.forward = types.MethodType(forward, mlp)
    found = find_layers(model, checkpoint)
    assert _groups(found)[2:4] == [["gate_proj"], ["up_proj"]]
    hessians = {item.name.rpartition(".")[2]: h for item, h in capture(model, found.inputs[2:4], _random(16))}
    np.testing.assert_allclose(hessians["up_proj"].matrix, 4 * hessians["gate_proj"].matrix, rtol=1e-12)
    merged = SharedInput(*(sum((getattr(i, part) for i in found.inputs[2:4]), ()) for part in ("layers", "running", "blocks")))
    with pytest.raises(ModelUnreadable, match=r"up_proj and model\.layers\.0\.mlp\.gate_proj received the same values in a trial"):
        list(capture(model, [merged], _random(16)))


def _random(length, sequences=3):
    from rdtools.model.tokens import Tokens

    ids = np.random.default_rng(1).integers(0, 64, (sequences, length))
    return Tokens(ids, np.ones(ids.shape, bool), "test")


def test_inputs_without_information_are_not_shared(loaded):
    """All zeros in a trial say nothing about other tokens."""
    model, checkpoint = loaded
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight.zero_()
    assert _groups(find_layers(model, checkpoint))[:4] == [["q_proj"], ["k_proj"], ["v_proj"], ["o_proj"]]


@pytest.mark.parametrize("tied", [False, True])
def test_the_output_head_with_the_variance_of_its_softmax(loaded, tiny_tokens, tied):
    model, checkpoint = loaded
    if tied:
        model.model.embed_tokens.weight = model.lm_head.weight
    tokens = load_tokens(tiny_tokens)
    without, found = find_layers(model, checkpoint), find_layers(model, checkpoint, head=True)
    assert (without.head, without.head_parameters, without.parameters - without.analysed) == ("lm_head", 1024, 1024)
    assert (found.analysed, found.inputs[:-1]) == (found.parameters, without.inputs)
    [(item, hessian)] = capture(model, [found.inputs[-1]], tokens)
    assert (item.name, item.is_head, item.layers[0].shape) == ("lm_head", True, (64, 16))
    with torch.no_grad():
        x = model.model(torch.from_numpy(tokens.ids)).last_hidden_state.double().reshape(-1, 16)
        p = torch.softmax(x @ model.lm_head.weight.double().T, dim=1)
    np.testing.assert_allclose(hessian.matrix, (x.T @ x / len(x)).numpy(), rtol=0, atol=1e-6 * float((x**2).mean(0).max()))
    np.testing.assert_allclose(hessian.output_variances, (p * (1 - p)).mean(0).numpy(), rtol=1e-5)
    np.testing.assert_allclose(hessian.output_means, p.mean(0).numpy(), rtol=1e-5)


def test_a_token_that_is_not_finite_is_left_out_of_the_heads_variances_too(loaded, tiny_tokens, monkeypatch):
    model, checkpoint = loaded
    tokens = load_tokens(tiny_tokens)
    ids = np.where(tokens.ids == 63, 62, tokens.ids)
    ids[0, -1] = 63  # a masked nan is a nan in attention, so that its whole sequence is damaged
    monkeypatch.setattr("rdtools.model.capture.DROPPED_LIMIT", 0.1)
    with torch.no_grad():
        model.model.embed_tokens.weight[63] = torch.nan
        x = model.model(torch.from_numpy(ids)).last_hidden_state.double().reshape(-1, 16)
        p = torch.softmax(x @ model.lm_head.weight.double().T, dim=1)
    kept = p[p.isfinite().all(dim=1)]
    [(_, hessian)] = capture(model, [find_layers(model, checkpoint, head=True).inputs[-1]], Tokens(ids, tokens.mask, "one damaged"))
    assert (hessian.n_tokens, hessian.dropped_tokens) == (len(kept), len(p) - len(kept)) == (176, 16)
    np.testing.assert_allclose(hessian.output_variances, (kept * (1 - kept)).mean(0).numpy(), rtol=1e-5)


def test_a_head_whose_logits_overflow_is_refused_by_name(loaded, tiny_tokens):
    """Its inputs are finite, its weights too: only E[p(1 − p)] would be NaN."""
    model, checkpoint = loaded
    with torch.no_grad():
        model.lm_head.weight.copy_(model.lm_head.weight.abs() * 1e38 + 1e38)
    item = find_layers(model, checkpoint, head=True).inputs[-1]
    with pytest.raises(BadActivations, match=r"lm_head: \d+ of 192 tokens have NaN or infinite logits, at most 1% may; .*leave `head` out"):
        list(capture(model, [item], load_tokens(tiny_tokens)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-9, 0.3])
def test_no_hessian_holds_variances_that_cannot_be(value):
    with pytest.raises(NotFiniteInput, match=r"head: variance .* of output 1, expected E\[p\(1 − p\)\] from 0 to 1/4"):
        Hessian(np.eye(2), 3, name="head", output_variances=np.array([0.1, value]))


def test_a_run_keeps_the_head_and_what_share_was_analysed(tiny_llama, tiny_tokens, tmp_path):
    from rdtools.errors import UsageError

    request = CalibrationRequest(tokens=tiny_tokens)
    run = collect(str(tiny_llama), request, out=tmp_path / "with", head=True)
    assert run["lm_head"].weight.shape == (64, 16)
    assert run["lm_head"].hessian.output_variances.shape == run["lm_head"].hessian.output_means.shape == (64,)
    assert run["0.q_proj"].hessian.output_variances is None
    assert run.manifest.model.coverage == "Analysed: 100.0% of 4,864 parameters in linear maps"
    plain = collect(str(tiny_llama), request, out=tmp_path / "without")
    assert plain.manifest.model.coverage == (
        "Analysed: 78.9% of 4,864 parameters in linear maps; without the output head lm_head (21.1%; `head` adds it)"
    )
    with pytest.raises(UsageError, match="holds a run with other `head`; leave `head` out"):
        collect(str(tiny_llama), request, out=tmp_path / "without", head=True)


def test_experts_have_the_moments_of_the_tokens_that_reach_them(tmp_path):
    """From capture to rows: counts, weights that are slices of what the files hold, and a status where too few tokens come."""
    from rdtools.jobs.report import run_report

    model = build("mixtral", tmp_path / "model")
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(1, 48, (2, 9)))
    settings = {"model": str(tmp_path / "model"), "tokens": tmp_path / "ids.npy", "out": tmp_path / "run"}
    with quick_figures():
        done = run_report(**settings, methods=("rtn",), rates=(3.0,), workers=1)
    counts = done.table.set_index("layer")["n_tokens"]
    assert set(counts[~counts.index.str.contains("experts")]) == {18}
    for block, layer in enumerate(model.model.layers):
        for part in ("gate_proj", "up_proj", "down_proj"):
            assert sum(counts[f"model.layers.{block}.mlp.experts.{number}.{part}"] for number in range(4)) == 2 * 18
        for number, weight in enumerate(layer.mlp.experts.gate_up_proj.detach().double().numpy()):
            np.testing.assert_array_equal(done.run[f"{block}.experts.{number}.up_proj"].weight, weight[40:])
    assert set(done.table.loc[done.table["layer_type"].str.startswith("expert"), "status"]) == {"undersampled"}
    assert f"Analysed: {done.run.manifest.model.analysed / done.run.manifest.model.parameters:.1%}" in done.page.read_text()


def test_an_expert_that_no_token_reaches_is_undersampled(tmp_path):
    from rdtools.compare.facts import layer_status

    build("mixtral", tmp_path / "model")
    np.save(tmp_path / "ids.npy", np.full((1, 1), 7))  # one token goes to two experts of four
    run = collect(str(tmp_path / "model"), CalibrationRequest(tokens=tmp_path / "ids.npy"), out=tmp_path / "run")
    empty = [name for name in run if run[name].hessian.n_tokens == 0]
    assert len(empty) == 2 * 2 * 3
    for name in empty:
        assert layer_status(run[name]) == (
            "undersampled",
            "no token of the calibration data reached this layer: give more, or more varied, text",
        )


@pytest.mark.parametrize("name", ["gemma3", "mixtral", "llama4_text"])
def test_a_model_written_in_the_format_that_it_runs_in_is_read_by_name(tmp_path, name):
    """The remedy for weights that are not found in the files."""
    build(name, tmp_path).save_pretrained(tmp_path / "new", save_original_format=False)
    checkpoint = open_checkpoint(tmp_path / "new")
    model = load_model(checkpoint)
    found = find_layers(model, checkpoint)
    for shared in found.inputs:
        check_weights(model, checkpoint, shared)
        assert [layer.tensor for layer in shared.layers] == [layer.tensor for layer in shared.running]


def test_a_weight_that_is_not_in_the_files_is_named_with_a_remedy(loaded):
    model, checkpoint = loaded
    projection = model.model.layers[0].self_attn.o_proj
    projection.weight = torch.nn.Parameter(projection.weight.detach()[:, :8].clone())
    model.model.layers[0].self_attn.forward = types.MethodType(
        lambda self, hidden_states, **_: (self.o_proj(hidden_states[..., :8]), None), model.model.layers[0].self_attn
    )
    with pytest.raises(ModelUnreadable, match=r"runs as model\.layers\.0\.self_attn\.o_proj; .*save_original_format=False"):
        find_layers(model, checkpoint)
