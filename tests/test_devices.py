from __future__ import annotations

import pytest
import torch

from rdtools.devices import check_device, device_names, float32_products, methods_device, naming_stage
from rdtools.errors import NotEnoughMemory, UsageError


@pytest.mark.parametrize("device", ["nowhere", "meta", "cuda:77"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(device):
    with pytest.raises(
        UsageError, match=rf"^`device` {device}: not usable here \(.{{1,120}}\); expected cpu, or cuda on a machine that has it$"
    ):
        check_device(device)


def test_methods_work_on_the_device_asked_for_or_in_main_memory_where_it_has_no_float64(monkeypatch):
    said = []
    assert methods_device("cpu", said.append) == "cpu"
    monkeypatch.setattr(torch, "ones", lambda *shape, dtype=torch.float32, device: torch.zeros(1, dtype=dtype) + 1)
    assert methods_device("mps", said.append) == "mps"

    def without_float64(*shape, dtype=torch.float32, device):
        if dtype is torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64")
        return torch.zeros(1) + 1

    monkeypatch.setattr(torch, "ones", without_float64)
    assert methods_device("mps", said.append) == "cpu"
    assert said == ["device: mps has no float64, so that the model runs there and the methods in main memory"]


def test_cuda_stands_for_every_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_names("cuda") == ["cuda:0", "cuda:1"]
    assert device_names("cuda:1") == ["cuda:1"]
    assert device_names("cpu") == ["cpu"]


def test_a_device_out_of_memory_is_named_with_what_it_was_at():
    said = r"q_proj: cuda:0 is out of memory while its Hessian is factored \(W of 64 × 32 and H of 32 × 32, 2\.46e-05 GB together.*again"
    with pytest.raises(NotEnoughMemory, match=said), naming_stage("cuda:0", "its Hessian is factored", name="q_proj", shape=(64, 32)):
        raise torch.OutOfMemoryError("CUDA out of memory")
    for text in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"):
        with pytest.raises(NotEnoughMemory, match=said), naming_stage("cuda:0", "its Hessian is factored", name="q_proj", shape=(64, 32)):
            raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="an illegal memory access"), naming_stage("cuda:0", "", name="", shape=(1, 1)):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(ZeroDivisionError), naming_stage("cuda:0", "", name="", shape=(1, 1)):
        raise ZeroDivisionError


def test_products_are_in_float32_whatever_the_process_asked_for():
    """Both of torch's switches are read as they were afterwards, the older one refusing to be read where it did."""

    def switches():
        try:
            older = torch.get_float32_matmul_precision()
        except RuntimeError:
            older = "refused"
        return older, getattr(torch.backends.cuda.matmul, "fp32_precision", None)

    asked = [lambda value=value: torch.set_float32_matmul_precision(value) for value in ("high", "medium", "highest")]
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        asked += [lambda value=value: setattr(torch.backends.cuda.matmul, "fp32_precision", value) for value in ("tf32", "none")]
    try:
        for ask in asked:
            ask()
            before = switches()
            with float32_products("cuda"):
                assert switches()[1] == "ieee" if before[1] else switches()[0] == "highest"
            assert switches() == before
            with float32_products("cpu"):
                assert switches() == before
    finally:
        torch.set_float32_matmul_precision("highest")
