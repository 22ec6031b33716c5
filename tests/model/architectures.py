"""Small random models of many architectures, and the inputs of their linear maps recorded by plain module hooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.pytorch_utils import Conv1D

_SIZES = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_HEAD = {"head_dim": 8}
_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_SHARED = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1}
_MLA = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "head_dim": 8}
_MLA |= {"num_key_value_heads": 4}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4}
_DBRX = {
    "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
}
_VISION = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
_ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}

#: Model type → settings beside the common sizes. Of models that read images, the text and the vision part.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "afmoe": _EXPERTS | _HEAD,
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "biogpt": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "codegen": _GPT | {"rotary_dim": 4},
    "cohere": {},
    "cohere2": {},
    "dbrx": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64} | _DBRX,
    "deepseek_v2": _EXPERTS | _SHARED | _MLA,
    "deepseek_v3": _EXPERTS | _SHARED | _MLA,
    "diffllama": {},
    "dots1": _EXPERTS | _SHARED,
    "ernie4_5": _HEAD,
    "ernie4_5_moe": _EXPERTS | {"moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1, "moe_num_shared_experts": 1},
    "exaone4": {},
    "falcon": {},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 64} | _HEAD,
    "flex_olmo": _EXPERTS,
    "gemma": _HEAD,
    "gemma2": _HEAD,
    "gemma3": {"text_config": _SIZES | _HEAD, "vision_config": _VISION},
    "gemma3_text": _HEAD,
    "glm": _HEAD,
    "glm4_moe": _EXPERTS | _SHARED | _HEAD,
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {},
    "gpt_oss": _EXPERTS | _HEAD | {"sliding_window": 16},
    "gptj": _GPT | {"rotary_dim": 4},
    "granite": {},
    "granitemoe": _EXPERTS,
    "granitemoehybrid": _EXPERTS | _MAMBA | {"shared_intermediate_size": 24, "layer_types": ["mamba", "attention"]},
    "granitemoeshared": _EXPERTS | {"shared_intermediate_size": 24},
    "helium": _HEAD,
    "hunyuan_v1_moe": _EXPERTS | _HEAD | {"moe_topk": 2},
    "jamba": _EXPERTS
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
    | {"mamba_dt_rank": 4, "mamba_d_state": 4, "use_mamba_kernels": False},
    "jetmoe": _EXPERTS | {"kv_channels": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": _EXPERTS | {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama": {},
    "llama4_text": _EXPERTS | _HEAD | {"intermediate_size_mlp": 40, "interleave_moe_layer_step": 1, "moe_layers": [1]},
    "llava": {
        "text_config": _SIZES | {"model_type": "llama"},
        "vision_config": _VISION | {"model_type": "clip_vision_model", "projection_dim": 32},
        "image_token_index": 47,
    },
    "mamba": {"state_size": 4, "time_step_rank": 4},
    "mamba2": {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2},
    "minicpm3": _MLA,
    "minimax": _EXPERTS | _HEAD,
    "mistral": {"sliding_window": 4},
    "mistral3": {
        "text_config": _SIZES | {"model_type": "mistral"},
        "vision_config": _VISION | {"model_type": "pixtral", "head_dim": 16},
        "image_token_index": 47,
    },
    "mixtral": _EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "nemotron": {},
    "nemotron_h": {
        **{"hybrid_override_pattern": "M*", "mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 4},
        **_HEAD,
    },
    "olmo2": {},
    "olmoe": _EXPERTS,
    "openai-gpt": _GPT,
    "opt": {"ffn_dim": 40, "word_embed_proj_dim": 32},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "phimoe": _EXPERTS,
    "qwen2": {},
    "qwen2_moe": _EXPERTS | {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    "qwen2_vl": {
        "text_config": _SIZES | {"rope_parameters": _ROPE},
        "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
    },
    "qwen3": _HEAD,
    "qwen3_moe": _EXPERTS | _HEAD,
    "qwen3_next": _EXPERTS
    | _HEAD
    | {"shared_expert_intermediate_size": 24, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    | {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"lru_width": 32, "attention_window_size": 16, "block_types": ["recurrent", "attention"]} | _HEAD,
    "rwkv": {"context_length": 64},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"d_model": 32, "ffn_dim": 40, "num_layers": 2, "attention_heads": 4},
}
#: Parts through which no text token passes, so that there is nothing to analyse them with.
VISION = {
    "gemma3": ("model.vision_tower.", "model.multi_modal_projector."),
    "llava": ("model.vision_tower.", "model.multi_modal_projector."),
    "mistral3": ("model.vision_tower.", "model.multi_modal_projector."),
    "qwen2_vl": ("model.visual.",),
}

#: Called with the name of a linear map, its weight (m, n) and an input (…, n).
Record = Callable[[str, torch.Tensor, torch.Tensor], None]


def build(name: str, folder: Path) -> nn.Module:
    """A random model of a type, and the same model saved into a folder."""
    config = AutoConfig.for_model(name, **{**_SIZES, **ARCHITECTURES[name]})
    auto = AutoModelForImageTextToText if name in VISION else AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto.from_config(config, dtype=torch.float32, experts_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:  # the usual 0.02 leaves experts nearly equal and inputs nearly constant
                    parameter.normal_(0.0, 0.2)
    model.save_pretrained(folder)
    return model.eval()


def _pairs(experts: Any, hidden: torch.Tensor, index: torch.Tensor, name: str, record: Record) -> None:
    """Inputs of experts that are given tokens (k, n) and the numbers of the experts that each is sent to."""
    hidden = hidden.reshape(-1, hidden.shape[-1])
    up_first = experts.gate_up_proj if hasattr(experts, "gate_up_proj") else experts.up_proj
    for number in range(len(up_first)):
        x = hidden[(index.reshape(len(hidden), -1) == number).any(dim=1)]
        up, down = up_first[number], experts.down_proj[number]
        if getattr(experts, "is_transposed", False):
            up, down = up.T, down.T
        y = x @ up.T
        bias = getattr(experts, "gate_up_proj_bias", None)
        y = y if bias is None else y + bias[number]
        if hasattr(experts, "gate_up_proj"):
            half = len(up) // 2
            both = (up[:half], up[half:]) if getattr(experts, "is_concatenated", True) else (up[::2], up[1::2])
            for part, weight in zip(("gate_proj", "up_proj"), both, strict=True):
                record(f"{name}.{number}.{part}", weight, x)
            inner = experts._apply_gate(y) if hasattr(experts, "_apply_gate") else experts.act_fn(y[:, :half]) * y[:, half:]
        else:
            record(f"{name}.{number}.up_proj", up, x)
            inner = experts.act_fn(y)
        record(f"{name}.{number}.down_proj", down, inner)


def _llama4(experts: Any, name: str, given: torch.Tensor, record: Record) -> None:
    for number, x in enumerate(given.reshape(len(experts.gate_up_proj), -1, given.shape[-1])):
        x = x[x.abs().sum(dim=1) > 0]
        gate, up = experts.gate_up_proj[number].T.chunk(2)
        record(f"{name}.{number}.gate_proj", gate, x)
        record(f"{name}.{number}.up_proj", up, x)
        record(f"{name}.{number}.down_proj", experts.down_proj[number].T, (x @ up.T) * experts.act_fn(x @ gate.T))


def _dbrx(experts: Any, name: str, hidden: torch.Tensor, index: torch.Tensor, record: Record) -> None:
    hidden, mlp = hidden.reshape(-1, hidden.shape[-1]), experts.mlp
    w1, v1, w2 = (getattr(mlp, part).reshape(experts.num_experts, -1, hidden.shape[-1]) for part in ("w1", "v1", "w2"))
    for number in range(experts.num_experts):
        x = hidden[(index == number).any(dim=1)]
        record(f"{name}.{number}.mlp.w1", w1[number], x)
        record(f"{name}.{number}.mlp.v1", v1[number], x)
        record(f"{name}.{number}.mlp.w2", w2[number].T, mlp.activation_fn(x @ w1[number].T) * (x @ v1[number].T))


def _parallel(module: Any, name: str, inputs: torch.Tensor, sizes: Any, record: Record) -> None:
    before, _, last = name.rpartition(".")
    before = before if before.endswith("experts") else f"{before}.experts"
    for number, x in enumerate(inputs.split(list(sizes))):
        record(f"{before}.{number}.{last}", module.weight[number], x)


def _recurrent(module: Any, name: str, activations: torch.Tensor, record: Record) -> None:
    heads = activations.reshape(-1, module.num_attention_heads, module.block_width)
    for part in ("input_gate_weight", "recurrent_gate_weight"):
        for number, weight in enumerate(getattr(module, part)):
            record(f"{name}.{number}.{part}", weight.T, heads[:, number])


def watch(model: nn.Module, record: Record) -> None:
    """Record the inputs of every linear map of a model in all later forward passes, by hooks on its modules."""
    for name, module in model.named_modules():
        kind = type(module).__name__

        def hook(module: Any, args: Any, kwargs: Any, name: str = name, kind: str = kind) -> None:
            x, *rest = (*args, *kwargs.values())
            if isinstance(module, nn.Linear):
                record(name, module.weight, x)
            elif isinstance(module, Conv1D):
                record(name, module.weight.T, x)
            elif kind == "Llama4TextExperts":
                _llama4(module, name, x, record)
            elif kind == "DbrxExperts":
                _dbrx(module, name, x, rest[0], record)
            elif kind.endswith("ParallelExperts"):
                _parallel(module, name, x, rest[0], record)
            elif kind == "RecurrentGemmaRglru":
                _recurrent(module, name, x, record)
            elif "Router" in kind and isinstance(getattr(module, "weight", None), nn.Parameter):
                record(name, module.weight, x)
            elif hasattr(module, "down_proj") and isinstance(module.down_proj, nn.Parameter):
                _pairs(module, x, rest[0], name, record)

        module.register_forward_pre_hook(hook, with_kwargs=True)
        if kind in ("MambaMixer", "JambaMambaMixer"):  # the delta projection multiplies by the weight of a module that is not called
            given = module.x_proj if kind == "MambaMixer" else module.dt_layernorm

            def after(_given: Any, _args: Any, y: torch.Tensor, name: str = name, mixer: Any = module) -> None:
                record(f"{name}.dt_proj", mixer.dt_proj.weight, y[..., : mixer.time_step_rank])

            given.register_forward_hook(after)


def linear_parameters(model: nn.Module, outside: tuple[str, ...]) -> int:
    """Number of weights in linear maps, those of `outside` apart."""
    total = 0
    for name, module in model.named_modules():
        if name.startswith(outside) and outside:
            continue
        if isinstance(module, nn.Linear | Conv1D):
            total += module.weight.numel()
        elif "xpert" in type(module).__name__ or "Router" in type(module).__name__ or type(module).__name__ == "RecurrentGemmaRglru":
            total += sum(p.numel() for part, p in module.named_parameters(recurse=False) if p.ndim >= 2 and "bias" not in part)
    return total


def second_moments(model: nn.Module, sequences: list[np.ndarray]) -> dict[str, tuple[torch.Tensor, torch.Tensor, int]]:
    """Weight, E[x xᵀ] in float64 and number of vectors of every linear map, over sequences that are run alone."""
    sums: dict[str, list[Any]] = {}

    def record(name: str, weight: torch.Tensor, x: torch.Tensor) -> None:
        x = x.detach().double().reshape(-1, x.shape[-1])
        known = sums.setdefault(name, [weight.detach(), 0.0, 0])
        known[1] = known[1] + x.T @ x
        known[2] += len(x)

    watch(model, record)
    with torch.no_grad():
        for ids in sequences:
            model(torch.from_numpy(ids)[None], use_cache=False)
    return {name: (weight, total / max(count, 1), count) for name, (weight, total, count) in sums.items()}
