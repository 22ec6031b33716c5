"""Checks of settings that quantizers share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from rdtools.errors import UsageError, WrongType

_ROTATIONS = (None, "auto", "haar", "hadamard", "kronecker")


def is_number(value: object) -> bool:
    """True for a real number, of NumPy or Python, that is no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_rotation(rotation: str | None) -> None:
    """Refuse a rotation that there is not.

    Raises
    ------
    UsageError
    """
    if rotation not in _ROTATIONS:
        raise UsageError(f"rotation {rotation!r}: expected None, 'auto', 'haar', 'hadamard' or 'kronecker'")


def check_damping(damping: float | None) -> None:
    """Refuse a damping that is no finite number of at least 0.

    Raises
    ------
    UsageError
    WrongType
        For anything but a number.
    """
    if damping is None:
        return
    if not is_number(damping):
        raise WrongType(
            f"damping {damping!r}: a {type(damping).__name__}, expected None or a number, relative to the mean diagonal, such as 0.01"
        )
    if not 0 <= damping < math.inf:
        raise UsageError(f"damping {damping}: expected a finite number of at least 0, relative to the mean diagonal")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a setting that is none of its choices.

    Raises
    ------
    UsageError
    """
    if value not in choices:
        raise UsageError(f"{name} {value!r}: expected one of {', '.join(map(str, choices))}")
