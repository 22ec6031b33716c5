"""Linear algebra whose last bits do not depend on how many threads there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looking for them takes milliseconds


def one_blas_thread() -> AbstractContextManager[Any]:
    """While it lasts BLAS and LAPACK work in one thread: how a product is cut into parts decides about its rounding."""
    limit: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limit
