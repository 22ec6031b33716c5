"""Compilation with a cache on disk where there is a place for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``numba.njit`` with its cache; without one where neither the installation nor the user's cache folder can be written."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled = njit(cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function: no locator available"
            compiled = njit(**options)(function)
        return compiled  # type: ignore[no-any-return]

    return decorate
