"""A device that is not main memory, where there is none.

Its tensors say that they are on "meta", keep numbers of their own in main memory, and refuse what a GPU's refuse: to become NumPy arrays,
to meet tensors in main memory, and to be indexed by lists, which on "meta" have no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

#: Name of the device; torch has no numbers there, so that whatever is not seen to by `other_device` fails.
DEVICE = "meta"
#: What takes indices of either place.
_INDEXED = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")


class Elsewhere(torch.Tensor):
    """A tensor on the other device."""

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        place = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype, "device": DEVICE}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **place)

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Has tensors made on the other device when that is asked for; counts what crosses to the host."""

    crossed = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self)


def _run(func: Any, args: Any, kwargs: Any, mode: _Mode | None = None) -> Any:
    name, there, here = func.overloadpacket._qualified_op_name, [], []

    def unwrap(x: Any) -> Any:
        if isinstance(x, Elsewhere):
            there.append(x)
            return x.inner
        if isinstance(x, torch.Tensor):
            assert x.device.type != DEVICE, f"{name}: a tensor made beside the other device; likely of a list of indices"
            here.append(x)
        return x

    inner_args, inner_kwargs = tree_map(unwrap, (args, kwargs))
    device, to_other = kwargs.get("device"), bool(there)
    if name == "aten::copy_":
        to_other = isinstance(args[0], Elsewhere)
    elif device is not None:
        to_other = torch.device(device).type == DEVICE
        inner_kwargs = inner_kwargs | {"device": "cpu"}
    elif there and name not in _INDEXED and any(x.dim() for x in here):
        raise RuntimeError(f"{name}: expected all tensors on one device, got {[tuple(x.shape) for x in here]} in main memory")
    if mode is not None and there and not to_other:
        mode.crossed += sum(x.numel() for x in there)
    out = func(*inner_args, **inner_kwargs)
    if not to_other or name == "aten::_local_scalar_dense":
        return out
    known = {id(x.inner): x for x in there}

    def wrap(x: Any) -> Any:
        if isinstance(x, torch.Tensor) and not isinstance(x, Elsewhere):
            # a copy where it stands for one on another device, so that neither sees what is written to the other
            return known[id(x)] if id(x) in known else Elsewhere(x.clone() if device is not None and not there else x)
        return x

    return tree_map(wrap, out)


@contextmanager
def other_device() -> Iterator[_Mode]:
    """While inside, tensors can be made on, and moved to, `DEVICE`; says how many numbers crossed to the host."""
    with _Mode() as mode:
        yield mode
