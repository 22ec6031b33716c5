"""Compilation with a cache on disk where there is a place for one, and without where it is damaged or full."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

#: Folders that were named already.
_told: set[str] = set()


class _Cache(FunctionCache):  # type: ignore[misc, unused-ignore]
    """Numba's cache of a function, whose files may be cut off, altered, or refused by a full disk: the function is compiled then."""

    def _tell(self, error: Exception) -> None:
        if self.cache_path not in _told:
            _told.add(self.cache_path)
            reason = " ".join(str(error).split())
            print(
                f"rdtools: kernels are compiled anew, their cache {self.cache_path} cannot be used ({type(error).__name__}: {reason}); "
                "if this is said again, delete that folder or free some space",
                file=sys.stderr,
            )

    def load_overload(self, *arguments: Any) -> Any:
        try:
            return super().load_overload(*arguments)
        except Exception as error:  # unpickling raises whatever the bytes lead to
            self._tell(error)
            with contextlib.suppress(Exception):
                self.flush()  # an empty index, so that the new code can be kept
            return None

    def save_overload(self, *arguments: Any) -> None:
        try:
            super().save_overload(*arguments)
        except Exception as error:  # as above, of an index that could not be emptied
            self._tell(error)


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``numba.njit`` with its cache; without one where neither the installation nor the user's cache folder can be written."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = njit(**options)(function)
        with contextlib.suppress(RuntimeError):  # "cannot cache function: no locator available"
            compiled._cache = _Cache(function)
        return compiled  # type: ignore[no-any-return]

    return decorate
