"""Peak memory of a capture at a real model's shapes, predicted and measured, on a checkpoint of random weights.

Run with ``python -m rdtools.analysis.capture_memory --out DIR``. The default has Llama-3.2-1B's shapes and two of its sixteen
blocks: the peak is that of one block, and 32 sequences of 512 tokens take minutes per block on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

_LLAMA_1B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def write_checkpoint(folder: Path, config: dict[str, object]) -> None:
    """Write a Llama of random bfloat16 weights, one shard per block."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    sizes = {name: int(str(config[name])) for name in ("hidden_size", "intermediate_size", "head_dim", "vocab_size", "num_hidden_layers")}
    heads, groups = (sizes["head_dim"] * int(str(config[name])) for name in ("num_attention_heads", "num_key_value_heads"))
    d, f = sizes["hidden_size"], sizes["intermediate_size"]

    def matrix(m: int, n: int) -> torch.Tensor:
        return torch.randn(m, n, generator=generator, dtype=torch.float32).mul_(n**-0.5).to(torch.bfloat16)

    def ones() -> torch.Tensor:
        return torch.ones(d, dtype=torch.bfloat16)

    place: dict[str, str] = {}

    def shard(name: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / name, metadata={"format": "pt"})
        place.update(dict.fromkeys(tensors, name))

    shard("outside.safetensors", {"model.embed_tokens.weight": matrix(sizes["vocab_size"], d), "model.norm.weight": ones()})
    for number in range(sizes["num_hidden_layers"]):
        shapes = {"self_attn.q": (heads, d), "self_attn.k": (groups, d), "self_attn.v": (groups, d), "self_attn.o": (d, heads)}
        shapes |= {"mlp.gate": (f, d), "mlp.up": (f, d), "mlp.down": (d, f)}
        block = {f"model.layers.{number}.{name}_proj.weight": matrix(*shape) for name, shape in shapes.items()}
        block |= {f"model.layers.{number}.{name}_layernorm.weight": ones() for name in ("input", "post_attention")}
        shard(f"block-{number:02d}.safetensors", block)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    (folder / "config.json").write_text(json.dumps(config))


#: Run in a process of its own, whose peak is that of the capture alone; prints the peak and how the model was run. A capture has no
#: workers; what a library starts and waits for, which Linux counts with the memory of the process that started it, is left out.
_CAPTURE = """
import json, resource, sys
from pathlib import Path
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
model, tokens, out = sys.argv[1:]
run = collect(model, CalibrationRequest(tokens=Path(tokens)), out=Path(out))
peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"measured_bytes": peak, "runner": run.manifest.calibration.runner}))
"""
#: Likewise of a dry run.
_PREVIEW = """
import json, sys
from pathlib import Path
from rdtools.jobs.plan import preview
from rdtools.jobs.settings import ReportSettings
model, tokens, out = sys.argv[1:]
settings = ReportSettings(model=model, tokens=Path(tokens), out=Path(out))
print(json.dumps({"predicted_bytes": preview(settings, calibrate=lambda quantizers, heldout: {}).capture_bytes}))
"""


def measure(out: Path, *, config: dict[str, object], sequences: int, length: int) -> dict[str, object]:
    """Predicted and measured peak of a capture, and what was run; files are written under `out`."""
    model, tokens = out / "model", out / "tokens.npy"
    write_checkpoint(model, config)
    np.save(tokens, np.random.default_rng(0).integers(0, int(str(config["vocab_size"])), (sequences, length)))
    facts: dict[str, object] = {"blocks": config["num_hidden_layers"], "sequences": sequences, "length": length}
    for program in (_PREVIEW, _CAPTURE):
        command = [sys.executable, "-c", program, str(model), str(tokens), str(out / "run")]
        facts |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return facts


def main(arguments: list[str] | None = None) -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description="Peak memory of a capture, predicted and measured.")
    parser.add_argument("--out", type=Path, required=True, help="an empty or new directory, which is not removed")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    options = parser.parse_args(arguments)
    config = _LLAMA_1B | {"num_hidden_layers": options.blocks}
    print(json.dumps(measure(options.out, config=config, sequences=options.sequences, length=options.length)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
