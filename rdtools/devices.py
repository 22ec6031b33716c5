"""Devices of torch on which the work of a run can be done: checks before it, their names, exact products, and a sentence where one is too
small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from rdtools.errors import NotEnoughMemory, UsageError

#: Name of main memory, where NumPy and Numba do the work.
HOST = "cpu"


@contextmanager
def allocation_errors() -> Iterator[None]:
    """Let a failed allocation on a device be a ``torch.OutOfMemoryError``: CUDA's libraries have plain RuntimeErrors for it."""
    torch = import_module("torch")
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        text = str(error)
        if "_ALLOC_FAILED" in text or ("CUDA" in text and "out of memory" in text):
            raise torch.OutOfMemoryError(text) from error
        raise


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises
    ------
    UsageError
    """
    torch = import_module("torch")
    try:
        float(torch.ones(1, device=device).sum())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        reason = "torch knows no such device" if reason.startswith("Expected one of") else reason
        raise UsageError(f"`device` {device}: not usable here ({reason}); expected cpu, or cuda on a machine that has it") from error


def methods_device(device: str, say: Callable[[str], None]) -> str:
    """The device on which methods work, the one asked for after it was checked; main memory where that has no float64, which is said.

    Raises
    ------
    UsageError
        If torch cannot use it here.
    """
    if device == HOST:
        return device
    check_device(device)
    torch = import_module("torch")
    try:
        torch.ones(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        say(f"device: {device} has no float64, so that the model runs there and the methods in main memory")
        return HOST
    return device


def device_names(device: str) -> list[str]:
    """The devices that a name stands for, such as ["cuda:0", "cuda:1"] for "cuda" on a machine with two.

    Examples
    --------
    >>> device_names("cpu"), device_names("cuda:1")
    (['cpu'], ['cuda:1'])
    """
    if device != "cuda":
        return [device]
    return [f"cuda:{number}" for number in range(import_module("torch").cuda.device_count())] or [device]


@contextmanager
def float32_products(device: str) -> Iterator[None]:
    """With matrix products of float32 on CUDA in float32, whatever the process or its container asked for: TF32 has 11 bits.

    Of torch's two switches the one that the process has used is put back; both are the process's.
    """
    if not device.startswith("cuda"):
        yield
        return
    torch = import_module("torch")
    switch = torch.backends.cuda.matmul
    if hasattr(switch, "fp32_precision"):  # from 2.9 on the older one may not be read after this one was set
        before = switch.fp32_precision
        switch.fp32_precision = "ieee"
        try:
            yield
        finally:
            switch.fp32_precision = before
        return
    older = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(older)


@contextmanager
def naming_stage(device: str, stage: str, name: str, shape: tuple[int, int]) -> Iterator[None]:
    """Turn a device's being out of memory into a sentence about the stage that was too much for it.

    Parameters
    ----------
    device : on which the work is
    stage : such as "factoring H"
    name : of the layer
    shape : (m, n) of its weights

    Raises
    ------
    NotEnoughMemory
    """
    if device == HOST:
        yield
        return
    torch = import_module("torch")
    try:
        with allocation_errors():
            yield
    except torch.OutOfMemoryError as error:
        from rdtools.machine import in_gb  # loads psutil, without which layers and quantizers do

        m, n = shape
        sizes = f"W of {m} × {n} and H of {n} × {n}, {in_gb(8 * n * (m + n))} together"
        raise NotEnoughMemory(
            f"{name}: {device} is out of memory while {stage} ({sizes}, of which several copies are needed); end other work on it, give "
            "fewer `workers`, or `device` cpu; the same command tries this row again"
        ) from error
