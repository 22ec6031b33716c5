"""Names of matrices: of Hugging Face, without what stands around the decoder, and of llama.cpp."""

from __future__ import annotations

import re

#: Parts of a block in GGUF files of Llama-like models → module of Hugging Face.
_GGUF_BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GGUF_OUTSIDE = {"output": "lm_head", "token_embd": "model.embed_tokens"}


def canonical(name: str) -> str:
    """Name of a tensor or module from its block on, without ``.weight``.

    Examples
    --------
    >>> canonical("model.language_model.layers.3.mlp.up_proj.weight"), canonical("model.embed_tokens.weight")
    ('layers.3.mlp.up_proj', 'embed_tokens')
    """
    stem = name.removesuffix(".weight")
    block = re.search(r"(?:^|\.)((?:layers|h|blocks)\.\d+\..+)$", stem)
    return block.group(1) if block else stem.rpartition(".")[2]


def from_gguf(name: str) -> str | None:
    """Name in Hugging Face of a matrix of a GGUF file; None for a tensor that is no linear map of a Llama-like model.

    Examples
    --------
    >>> from_gguf("blk.3.attn_q.weight"), from_gguf("output.weight"), from_gguf("blk.3.attn_norm.weight")
    ('model.layers.3.self_attn.q_proj.weight', 'lm_head.weight', None)
    """
    stem = name.removesuffix(".weight")
    if stem == name:
        return None
    block = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if block and block.group(2) in _GGUF_BLOCK:
        return f"model.layers.{block.group(1)}.{_GGUF_BLOCK[block.group(2)]}.weight"
    return f"{_GGUF_OUTSIDE[stem]}.weight" if stem in _GGUF_OUTSIDE else None
