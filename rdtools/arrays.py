"""Types of the arrays that the library passes around, and the check of a number of things."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import WrongType

Float64Array = NDArray[np.float64]
FloatArray = NDArray[Any]  # float64 or float32
Int64Array = NDArray[np.int64]


def check_count(count: Any, *, name: str) -> int:
    """A number of things as an int; NumPy's integers are taken, booleans are not.

    Raises
    ------
    WrongType
        For anything but a whole number from 0 on.
    """
    if isinstance(count, bool | np.bool_) or not isinstance(count, int | np.integer) or count < 0:
        raise WrongType(f"{name} {count!r}: expected a whole number from 0 on, such as 4096")
    return int(count)
