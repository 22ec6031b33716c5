"""Which backend takes what, and what happens where one is missing. The kernels themselves are tested in `kernels`."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rdtools import ops
from rdtools.errors import BackendUnavailable, UnsupportedDtype, UsageError

W, L, STEPS = np.array([[0.6, 1.4]]), np.array([[1.0, 0.0], [0.5, 1.0]]), np.ones(2)
CODES = [[1, 1]]


def _tensors():
    return tuple(torch.from_numpy(x.copy()) for x in (W, L, STEPS))


def test_nothing_is_imported_before_it_is_used():
    code = (
        "import sys\n"
        "import rdtools, rdtools.ops as ops, numpy as np\n"
        "ops.sic_sweep(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), backend='reference')\n"
        "assert not {'torch', 'triton', 'numba'} & set(sys.modules)\n"
        "ops.warm_up(['sic_sweep'])\n"
        "assert not {'torch', 'triton'} & set(sys.modules)\n"
        "import torch\n"
        "ops.sic_sweep(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1))\n"
        "assert 'triton' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("backend", [None, "numba", "reference"])
def test_tensors_in_main_memory_give_tensors(backend):
    integers, residual = ops.sic_sweep(*_tensors(), backend=backend)
    assert (integers.tolist(), integers.dtype) == (CODES, torch.int32)
    np.testing.assert_array_equal(residual.numpy(), ops.sic_sweep(W, L, STEPS, backend=backend)[1])
    integers, gains, _ = ops.sic_sweep_sample_gains(*_tensors(), backend=backend)
    np.testing.assert_array_equal(gains.numpy(), ops.sic_sweep_sample_gains(W, L, STEPS, backend=backend)[1])
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(2, 4).clone().T.contiguous().T
    ops.hadamard_inplace(x, torch.ones(1, 1), backend=backend)
    assert x.tolist() == [[5.0, -1.0, -2.0, 0.0]] * 2


def test_a_residual_that_is_not_wanted_is_none():
    assert ops.sic_sweep(*_tensors(), residual=False)[1] is None


def test_tensors_that_autograd_watches_are_data():
    weight, factor, steps = _tensors()
    assert ops.sic_sweep(weight.requires_grad_(), factor, steps)[0].tolist() == CODES


def test_data_is_all_in_one_place():
    weight, factor, steps = _tensors()
    with pytest.raises(UsageError, match="data in NumPy and cpu"):
        ops.sic_sweep(weight, L, steps)
    with pytest.raises(UsageError, match="data in cpu and meta"):
        ops.sic_sweep(weight.to("meta"), factor, steps)
    with pytest.raises(UnsupportedDtype, match="bfloat16"):
        ops.sic_sweep(weight.bfloat16(), factor, steps)


def test_triton_for_arrays_is_refused():
    for backend in ("triton", "torch"):
        with pytest.raises(BackendUnavailable, match=f"'{backend}' is for tensors on a GPU"):
            ops.sic_sweep(W, L, STEPS, backend=backend)


def test_triton_that_is_not_installed(monkeypatch):
    real = ops.dispatch.find_spec
    monkeypatch.setattr(ops.dispatch, "find_spec", lambda name: None if name == "triton" else real(name))
    with pytest.raises(BackendUnavailable, match="not installed"):
        ops.sic_sweep(*_tensors(), backend="triton")
    assert ops.sic_sweep(*_tensors())[0].tolist() == CODES


def test_triton_without_a_driver(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    real = ops.dispatch.find_spec
    monkeypatch.setattr(ops.dispatch, "find_spec", lambda name: object() if name == "triton" else real(name))
    with pytest.raises(BackendUnavailable, match="no GPU with its driver"):
        ops.sic_sweep(*_tensors(), backend="triton")
    assert ops.sic_sweep(*_tensors())[0].tolist() == CODES


@pytest.mark.parametrize("failure", [ImportError("libcuda.so.1: cannot open"), RuntimeError("0 active drivers")])
def test_triton_that_cannot_be_loaded(failure, monkeypatch):
    def load(name):
        raise failure

    monkeypatch.setattr(ops.dispatch, "missing_triton_reason", lambda: None)
    monkeypatch.setattr(ops.registry, "import_module", load)
    with pytest.raises(BackendUnavailable, match=str(failure)):
        ops.sic_sweep(*_tensors(), backend="triton")


def test_the_device_decides(monkeypatch):
    on_gpu = SimpleNamespace(device=torch.device("cuda:1"), detach=lambda: "data")
    monkeypatch.setattr(ops.dispatch, "is_tensor", lambda x: x is on_gpu)
    monkeypatch.setattr(ops.dispatch, "missing_triton_reason", lambda: None)
    assert ops.dispatch.dispatch("sic_sweep", None, on_gpu)[:2] == ("triton", ["data"])
    assert ops.dispatch.dispatch("sic_sweep", "torch", on_gpu)[0] == "torch"
    assert ops.dispatch.dispatch("column_histogram", None, on_gpu)[0] == "torch"
    with pytest.raises(BackendUnavailable, match=r"portable_normal: it works in main memory.* on cuda.*\.cpu\(\)"):
        ops.dispatch.dispatch("portable_normal", None, on_gpu)
    with pytest.raises(BackendUnavailable, match=r"'numba' for tensors on cuda:1.*\.cpu\(\)"):
        ops.dispatch.dispatch("sic_sweep", "numba", on_gpu)
    monkeypatch.setattr(ops.dispatch, "missing_triton_reason", lambda: "the reason")
    with pytest.raises(BackendUnavailable, match=r"'triton' for tensors on cuda:1: the reason"):
        ops.dispatch.dispatch("sic_sweep", None, on_gpu)


def test_tensors_of_an_operation_that_works_in_main_memory_are_refused_elsewhere():
    with pytest.raises(BackendUnavailable, match="nearest_centroid: it works in main memory"):
        ops.dispatch.dispatch("nearest_centroid", None, torch.zeros((1, 4), device="meta"))


def test_an_op_without_a_triton_kernel_says_so():
    with pytest.raises(BackendUnavailable, match="no Triton kernel"):
        ops.registry.kernel("rank_update", "triton")


def test_worker_processes_have_the_same_backends():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(ops.sic_sweep, W, L, STEPS, backend=backend) for backend in ("numba", "reference")]
        refused = pool.submit(ops.sic_sweep, W, L, STEPS, backend="triton")
        assert [job.result()[0].tolist() for job in jobs] == [CODES] * 2
        with pytest.raises(BackendUnavailable):
            refused.result()
