"""A cache for what depends on a Hessian alone, shared by the layers that read one input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from rdtools.records import Hessian

Settings = ParamSpec("Settings")
Answer = TypeVar("Answer")


def per_hessian(compute: Callable[Concatenate[Hessian, Settings], Answer]) -> Callable[Concatenate[Hessian, Settings], Answer]:
    """Decorate a function of a Hessian record: computed once per record and further arguments, for as long as the record lives.

    Records are told apart by identity, not by their entries. Further arguments must be hashable. An answer must not hold the record, or
    neither would ever be freed.

    Examples
    --------
    >>> import numpy as np
    >>> @per_hessian
    ... def trace(hessian):
    ...     print("computed")
    ...     return float(np.trace(hessian.matrix))
    >>> record = Hessian(np.eye(2), 0)
    >>> trace(record), trace(record)
    computed
    (2.0, 2.0)
    """
    known: WeakKeyDictionary[Hessian, dict[Hashable, Answer]] = WeakKeyDictionary()

    @functools.wraps(compute)
    def cached(hessian: Hessian, /, *args: Settings.args, **settings: Settings.kwargs) -> Answer:
        answers = known.setdefault(hessian, {})
        key = (args, tuple(sorted(settings.items())))
        if key not in answers:
            answers[key] = compute(hessian, *args, **settings)
        return answers[key]

    return cached
