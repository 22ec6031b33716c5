from __future__ import annotations

import contextlib
import gc
import os
import signal
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import rdtools

# Two test processes share two cores: one thread each, set before a library reads them.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
# Processes that tests start import the rdtools that is tested, and nothing from the folder that they start in: a checkout there would hide
# what a wheel forgets.
os.environ["PYTHONSAFEPATH"] = "1"
_HOME = str(Path(rdtools.__file__).parents[1])
if _HOME not in (sysconfig.get_path("purelib"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH"))))

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish():
    """What was imported stays: the collector of garbage need not look at it again."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _signals_are_heard():
    """Also where a shell has them ignored, by jobs in the background and under nohup, which processes that tests start would inherit."""
    numbers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: lambda number, frame: None}
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, numbers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_compiled_once():
    """Each of several test processes compiles a part of the kernels before its first test, so that few are compiled by all of them."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    from rdtools.ops import OPERATIONS, warm_up

    slot = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    modules = list(dict.fromkeys(operation.modules.get("numba") for operation in OPERATIONS.values()))
    warm_up([operation.name for operation in OPERATIONS.values() if modules.index(operation.modules.get("numba")) % workers == slot])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


#: Files of the tiny Llamas that were made before.
_LLAMAS: dict[tuple[bool, int, int], dict[str, bytes]] = {}


def make_tiny_llama(folder: Path, *, shards: bool = False, blocks: int = 2, hidden: int = 16) -> Path:
    """A Llama of few blocks with random weights, saved as transformers saves models."""
    if (shards, blocks, hidden) not in _LLAMAS:
        _save_tiny_llama(folder, shards=shards, blocks=blocks, hidden=hidden)
        _LLAMAS[shards, blocks, hidden] = {path.name: path.read_bytes() for path in folder.iterdir()}
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in _LLAMAS[shards, blocks, hidden].items():
        (folder / name).write_bytes(data)
    return folder


def _save_tiny_llama(folder: Path, *, shards: bool, blocks: int, hidden: int) -> None:
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
