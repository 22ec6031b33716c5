"""Train the embedded default model on the text of the CPython 3.11 standard library.

Writes ``rdtools/data/default_model`` (weights, tokenizer, calibration and held-out tokens) and
``figures/default_model_loss.csv``. The corpus is the standard library of the interpreter that runs this
script, so no network and no data set is needed; a run takes about an hour on two cores.

    python -m rdtools.analysis.train_default_model --steps 4000
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 256
VOCABULARY = 4096
BATCH = 16
PEAK_RATE = 2e-3
WARMUP_STEPS = 200
EVALUATE_EVERY = 250
CALIBRATION_SEQUENCES = 128
EVALUATION_SEQUENCES = 64
END_OF_TEXT = "<|endoftext|>"
SEED = 20261121

# Tests, vendored wheels and code-page tables are left out: Debian ships the first separately, the second is not
# standard-library text, and the third is megabytes of numbers.
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "ensurepip",
    "encodings",
}


def is_held_out(relative: Path) -> bool:
    """True if a module belongs to the held-out part: a hash of its top-level name, one in sixteen."""
    unit = relative.parts[0].removesuffix(".py")
    return hashlib.sha256(unit.encode()).digest()[0] % 16 == 0


def read_corpus(library: Path) -> tuple[list[str], list[str]]:
    """Training and held-out documents: one per source file, one per documentation topic."""
    training, held_out = [], []
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if SKIPPED_FOLDERS & set(relative.parts) or relative.name.startswith("_sysconfigdata"):
            continue
        if relative.as_posix() == "pydoc_data/topics.py":
            from pydoc_data.topics import topics

            training.extend(topics[name] for name in sorted(topics))
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        (held_out if is_held_out(relative) else training).append(text)
    return training, held_out


def train_tokenizer(documents: list[str]) -> Tokenizer:
    """Byte-level BPE of VOCABULARY words; the end-of-text token is number 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def tokenize(tokenizer: Tokenizer, documents: list[str], order: np.random.Generator) -> np.ndarray:
    """One stream of tokens, documents in random order, each opened by the end-of-text token."""
    encoded = tokenizer.encode_batch([documents[i] for i in order.permutation(len(documents))])
    return np.concatenate([np.array([0, *item.ids], dtype=np.uint16) for item in encoded])


def sequences(stream: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` distinct windows of CONTEXT tokens, aligned to multiples of CONTEXT; shape (count, CONTEXT)."""
    windows = stream[: len(stream) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)
    return windows[np.sort(generator.choice(len(windows), count, replace=False))]


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to one twentieth of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def next_token_loss(model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats of each token given those before it in its row."""
    logits = model(input_ids=tokens[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokens: np.ndarray) -> float:
    """`next_token_loss` over all rows, in float32."""
    model.eval()
    chunks = torch.from_numpy(tokens.astype(np.int64)).split(BATCH)
    total = sum(float(next_token_loss(model, chunk)) * len(chunk) for chunk in chunks)
    model.train()
    return total / len(tokens)


def new_model() -> LlamaForCausalLM:
    """The untrained model."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config and bf16 weights, replacing what is there only once all of it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        copy = new_model()
        copy.load_state_dict(model.state_dict())
        copy.to(torch.bfloat16).save_pretrained(scratch)
        for path in sorted(Path(scratch).iterdir()):
            os.replace(path, folder / path.name)


def train(stream: np.ndarray, evaluation: np.ndarray, steps: int, folder: Path) -> pd.DataFrame:
    """Train from scratch, keeping the newest weights in `folder`; one row for each evaluation."""
    torch.manual_seed(SEED)
    model = new_model()
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95))
    generator = np.random.default_rng(SEED)
    rows: list[dict[str, float]] = []
    recent: list[float] = []
    started = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        starts = generator.integers(0, len(stream) - CONTEXT - 1, BATCH)
        batch = torch.from_numpy(np.stack([stream[s : s + CONTEXT + 1] for s in starts]).astype(np.int64))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = next_token_loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(float(loss.detach()))
        if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == steps:
            row = {
                "step": step + 1,
                "tokens": (step + 1) * BATCH * CONTEXT,
                "training_loss_nats": float(np.mean(recent)),
                "held_out_loss_nats": held_out_loss(model, evaluation),
            }
            rows.append(row)
            recent.clear()
            save_model(model, folder)
            rate = row["tokens"] / (time.monotonic() - started)
            print(*(f"{k} {v:.4g}" for k, v in row.items()), f"{rate:.0f} tokens/s", flush=True)
    return pd.DataFrame(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("rdtools/data/default_model"))
    parser.add_argument("--curve", type=Path, default=Path("figures/default_model_loss.csv"))
    options = parser.parse_args(argv)
    if sys.version_info[:2] != (3, 11):
        parser.error(f"the corpus is the standard library of Python 3.11, this is Python {sys.version.split()[0]}")

    library = Path(sysconfig.get_paths()["stdlib"])
    training, held_out = read_corpus(library)
    tokenizer = train_tokenizer(training)
    generator = np.random.default_rng(SEED)
    stream = tokenize(tokenizer, training, generator)
    held_out_stream = tokenize(tokenizer, held_out, generator)
    print(f"{len(training)} documents, {len(stream)} tokens; held out {len(held_out)}, {len(held_out_stream)}", flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)
    fast.save_pretrained(options.out)
    calibration = sequences(stream, CALIBRATION_SEQUENCES, generator)
    evaluation = sequences(held_out_stream, EVALUATION_SEQUENCES, generator)
    save_file({"input_ids": calibration}, options.out / "calibration.safetensors")
    save_file({"input_ids": evaluation}, options.out / "evaluation.safetensors")
    shutil.copyfile(library / "LICENSE.txt", options.out / "LICENSE.txt")

    curve = train(stream, evaluation, options.steps, options.out)
    options.curve.parent.mkdir(parents=True, exist_ok=True)
    curve.to_csv(options.curve, index=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
