"""Evidence about one subject: each kind is gathered when a claim first reads it, and an experiment that fails takes no other with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import NotPositiveSemidefinite, RateUnreachable

T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """A mean over independent draws, its standard error, and the degrees of freedom behind that; infinite for a number that is known."""

    value: float
    stderr: float
    degrees: float = math.inf

    @classmethod
    def of(cls, draws: Float64Array) -> Estimate:
        """Mean and standard error of at least two draws."""
        return cls(float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(draws.size)), draws.size - 1)

    def scaled(self, factor: float) -> Estimate:
        """The estimate times a number."""
        return Estimate(self.value * factor, self.stderr * abs(factor), self.degrees)


class NotApplicable(Exception):
    """Raised by an experiment that this subject does not allow; the message says why."""


@dataclass(frozen=True)
class Absent:
    """Evidence that there is not, and why; `failed` tells an error from a subject that does not allow the experiment."""

    reason: str
    failed: bool = False


class MissingEvidence(Exception):
    """Raised where a claim reads evidence that is absent."""

    def __init__(self, absent: Absent) -> None:
        super().__init__(absent.reason)
        self.failed = absent.failed


def outcome(gather: Callable[..., T], *about: object) -> T | Absent:
    """The result of an experiment, or the reason why there is none."""
    try:
        return gather(*about)
    except NotApplicable as reason:
        return Absent(str(reason))
    except Exception as error:
        # a limit of float64 or of a method on this layer is no failure
        limit = isinstance(error, NotPositiveSemidefinite | RateUnreachable)
        return Absent(f"could not be gathered: {type(error).__name__}: {error}", failed=not limit)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that can be known about one subject.

    Attributes
    ----------
    subject : layer or family
    sources : for each kind of evidence a function without arguments that returns it, or `Absent`
    model : that the layer is of
    """

    subject: str
    sources: Mapping[type, Callable[[], object]] = field(default_factory=dict)
    model: str = ""

    def __getitem__(self, kind: type[T]) -> T:
        part = self.sources[kind]() if kind in self.sources else Absent(f"{kind.__name__} was not gathered")
        if isinstance(part, Absent):
            raise MissingEvidence(part)
        assert isinstance(part, kind)
        return part

    def having(self, part: object) -> Evidence:
        """The same with one part replaced."""
        return replace(self, sources={**self.sources, type(part): lambda: part})
