from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rdtools.reprs import short_repr


@dataclass(repr=False)
class _Record:
    array: Any
    number: float
    hidden: int = field(default=3, repr=False)
    __repr__ = short_repr


def test_arrays_and_tensors_show_dtype_and_shape_and_the_rest_its_value():
    assert repr(_Record(np.zeros((1000, 1000), np.float32), 1.5)) == "_Record(array=float32(1000, 1000), number=1.5)"
    assert repr(_Record(torch.zeros(2, dtype=torch.bfloat16), 1.5)) == "_Record(array=torch.bfloat16(2,), number=1.5)"
    assert repr(_Record(_Record(np.zeros(1), 0.0), 1.5)) == "_Record(array=_Record(array=float64(1,), number=0.0), number=1.5)"
    assert repr(_Record(None, 1.5)) == "_Record(array=None, number=1.5)"
