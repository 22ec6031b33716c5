"""What every quantizer must do, from one hook: build it at a rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rdtools.cli.methods import METHODS, make_quantizers
from rdtools.quantizers import ScalarQuantizer


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes
    ----------
    name : in the registry
    build : rate in bits → quantizer
    """

    name: str
    build: Callable[[float], ScalarQuantizer]


def _subject(name: str) -> Subject:
    return Subject(name, lambda rate: make_quantizers([name], [rate])[0])


SUBJECTS = [_subject(name + suffix) for name in METHODS for suffix in ("", "+rotation", "+haar")]
