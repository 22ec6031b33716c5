"""Writers of foreign files: GPTQ and AWQ by hand, GGUF by its library, random blocks of the types that it cannot write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # outputs of one word of AWQ, from its lowest nibble on


def end_to_end(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers (r, c) as bits end to end in words (r, ⌈c · bits / 32⌉), written bit by bit."""
    r, c = values.shape
    lanes = (values[:, :, None].astype(np.uint64) >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)
    lanes = lanes.reshape(r, c * bits)
    lanes = np.pad(lanes, ((0, 0), (0, -lanes.shape[1] % 32)))
    return (lanes.reshape(r, -1, 32) << np.arange(32, dtype=np.uint64)).sum(axis=2).astype(np.uint32).view(np.int32)


def integers(weight: np.ndarray, bits: int, group: np.ndarray):
    """Min-max integers, zero points and float16 scales of groups of columns: q (m, n), z and s (m, groups)."""
    groups = int(group.max()) + 1
    low = np.stack([np.minimum(weight[:, group == g].min(axis=1), 0) for g in range(groups)], axis=1)
    high = np.stack([np.maximum(weight[:, group == g].max(axis=1), 0) for g in range(groups)], axis=1)
    s = ((high - low) / (2**bits - 1)).astype(np.float16)
    z = np.clip(np.round(-low / s.astype(np.float64)), 0, 2**bits - 1).astype(np.int64)
    q = np.clip(np.round(weight / s.astype(np.float64)[:, group]) + z[:, group], 0, 2**bits - 1).astype(np.int64)
    return q, z, s


def plain(q, z, s, group) -> np.ndarray:
    """The decoded weight, products rounded to float16 as the scales are."""
    return ((q - z[:, group]).astype(np.float16) * s[:, group]).astype(np.float64)


def gptq_tensors(q, z, s, group, bits: int, *, version: int = 1):
    return {
        "qweight": torch.from_numpy(np.ascontiguousarray(end_to_end(q, bits).T)),
        "qzeros": torch.from_numpy(end_to_end((z.T - (version == 1)) % 2**bits, bits)),
        "scales": torch.from_numpy(np.ascontiguousarray(s.T)),
        "g_idx": torch.from_numpy(group.astype(np.int32)),
    }


def awq_tensors(q, z, s):
    def pack(values: np.ndarray) -> torch.Tensor:
        by_word = values.reshape(len(values), -1, 8)[:, :, ORDER].reshape(values.shape)
        return torch.from_numpy(end_to_end(by_word, 4))

    return {"qweight": pack(q.T), "qzeros": pack(z.T), "scales": torch.from_numpy(np.ascontiguousarray(s.T))}


def write_folder(folder: Path, modules: dict, quantization: dict | None, dense: dict | None = None) -> Path:
    """A directory with the tensors of modules and a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}.{part}": t.contiguous() for name, parts in modules.items() for part, t in parts.items()}
    save_file(tensors | (dense or {}), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization} if quantization else {}))
    return folder


def gguf_name(name: str) -> str:
    """Name of a module of a Llama in llama.cpp."""
    _, _, block, _, part = name.split(".")
    kinds = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"}
    kinds |= {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    return f"blk.{block}.{kinds[part]}.weight"


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of llama.cpp, as its converter writes them."""
    m, n = weight.shape
    return weight.reshape(heads, 2, m // heads // 2, n).swapaxes(1, 2).reshape(m, n)


def write_gguf(path: Path, tensors: dict, *, heads: tuple[int, int], architecture: str = "llama") -> Path:
    """A GGUF file: name → (bytes or numbers, type of the library)."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_head_count(heads[0])
    writer.add_head_count_kv(heads[1])
    writer.add_token_list([f"token {i}" for i in range(2000)])
    for name, (data, kind) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
