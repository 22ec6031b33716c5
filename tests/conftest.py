from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Two test processes share two cores: one thread each, set before a library reads them.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def make_tiny_llama(folder: Path, *, shards: bool = False, blocks: int = 2, hidden: int = 16) -> Path:
    """A Llama of few blocks with random weights, saved as transformers saves models."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=64,
                hidden_size=hidden,
                intermediate_size=hidden * 3 // 2,
                num_hidden_layers=blocks,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=32,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    model.save_pretrained(folder, max_shard_size="8KB" if shards else "1GB")
    return folder


@pytest.fixture
def quick_calibration(monkeypatch):
    """A dry run times methods on layers that take no time."""
    monkeypatch.setattr("rdtools.sweep.pace._SHAPES", ((8, 8), (16, 8), (8, 16)))


@contextlib.contextmanager
def quick_figures():
    """Inside, a report draws its figures but writes blank files in their place, since writing them takes seconds."""
    import rdtools.report.figures as figures

    def blank(figure, stem):
        stem.parent.mkdir(exist_ok=True)
        for kind, content in (("pdf", b"blank"), ("png", b"blank"), ("svg", b"<svg></svg>")):
            stem.with_name(f"{stem.name}.{kind}").write_bytes(content)
        return stem.with_name(f"{stem.name}.png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save_figure", blank)
        yield


@pytest.fixture
def tiny_llama(tmp_path: Path) -> Path:
    return make_tiny_llama(tmp_path / "tiny")


@pytest.fixture
def tiny_tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 64, (12, 16)))
    return path
