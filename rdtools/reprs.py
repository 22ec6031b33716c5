"""Short representations of records that hold arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def short_repr(record: Any) -> str:
    """A dataclass as ``Name(field=value, …)``, arrays and tensors by dtype and shape; assign it to ``__repr__``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> @dataclass(repr=False)
    ... class Pair:
    ...     values: np.ndarray
    ...     name: str
    ...     __repr__ = short_repr
    >>> Pair(np.zeros((2, 3)), "x")
    Pair(values=float64(2, 3), name='x')
    """
    parts = (f"{field.name}={_short(getattr(record, field.name))}" for field in fields(record) if field.repr)
    return f"{type(record).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{tuple(value.shape)}"
    return repr(value)
