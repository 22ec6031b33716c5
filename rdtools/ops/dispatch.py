"""The choice of backend: the place of the data decides."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rdtools.arrays import is_tensor
from rdtools.errors import BackendUnavailable, UsageError
from rdtools.ops.registry import device_backend

#: Backends of data in main memory, fastest first, and those that take tensors where they are.
BACKENDS = ("numba", "reference")
ON_DEVICE = ("triton", "torch")


@cache
def available_backends() -> tuple[str, ...]:
    """Backends that can run here on data in main memory, fastest first."""
    return tuple(name for name in BACKENDS if name == "reference" or find_spec("numba") is not None)


def choose_backend(backend: str | None) -> str:
    """The backend for data in main memory.

    Raises
    ------
    BackendUnavailable
        If it was asked for by name and is unknown or missing.
    """
    available = available_backends()
    if backend is None:
        return available[0]
    if backend not in available:
        hint = f"; {backend!r} is for tensors on a GPU: give it those" if backend in ON_DEVICE else ""
        raise BackendUnavailable(f"backend {backend!r}: available here are {', '.join(available)}{hint}")
    return backend


def missing_triton_reason() -> str | None:
    """The reason why Triton's kernels cannot run here; None if they can. TRITON_INTERPRET=1 runs them on CPU tensors, slowly."""
    if find_spec("triton") is None:
        return "Triton is not installed; install the package triton, or move the tensors with .cpu()"
    interpreted = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")
    if not interpreted and not import_module("torch").cuda.is_available():
        return "Triton is installed, but torch finds no GPU with its driver; set TRITON_INTERPRET=1 to test without one"
    return None


def to_tensor(x: Any) -> Any:
    """An array as a CPU tensor that shares its memory; None stays None."""
    return x if x is None else import_module("torch").from_numpy(x)


def dispatch(op: str, backend: str | None, *arrays: Any) -> tuple[str, list[Any], Callable[[Any], Any]]:
    """The backend for data in this place, the data as it takes them, and how to give results back.

    Raises
    ------
    UsageError
        For tensors beside arrays, or on several devices.
    BackendUnavailable
    """
    tensors = [x for x in arrays if is_tensor(x)]
    if not tensors:
        return choose_backend(backend), list(arrays), lambda x: x
    devices = sorted({str(x.device) if is_tensor(x) else "NumPy" for x in arrays})
    if len(devices) > 1:
        raise UsageError(f"{op}: data in {' and '.join(devices)}; expected all in one place")
    device = tensors[0].device.type
    if backend is None and device != "cpu":
        backend = device_backend(op, device)
    if backend == "triton":
        reason = missing_triton_reason()
        if reason is not None:
            raise BackendUnavailable(f"{op}: backend 'triton' for tensors on {devices[0]}: {reason}")
    if backend in ON_DEVICE:
        return backend, [x.detach() for x in arrays], lambda x: x
    if device != "cpu":
        raise BackendUnavailable(f"{op}: backend {backend!r} for tensors on {devices[0]}: it works in main memory; move them with .cpu()")
    return choose_backend(backend), [x.detach().numpy() for x in arrays], to_tensor
