"""Types of the arrays that the library passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
FloatArray = NDArray[Any]  # float64 or float32
Int64Array = NDArray[np.int64]
