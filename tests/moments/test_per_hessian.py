from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from rdtools.moments.per_hessian import per_hessian
from rdtools.records import Hessian


class _Answer:
    def __init__(self, value):
        self.value = value


@pytest.fixture
def scaled_trace():
    calls = []

    @per_hessian
    def function(hessian, scale, *, offset=0.0):
        """Documented."""
        calls.append((scale, offset))
        return _Answer(scale * np.trace(hessian.matrix) + offset)

    function.calls = calls
    return function


def test_one_answer_per_record_and_arguments(scaled_trace):
    a, b = Hessian(np.eye(2), 0), Hessian(np.eye(2), 0)
    assert scaled_trace(a, 2.0) is scaled_trace(a, 2.0)
    assert scaled_trace(a, 2.0).value == 4
    assert scaled_trace(a, 3.0).value == 6
    assert scaled_trace(a, 2.0, offset=1.0).value == 5
    assert scaled_trace.calls == [(2.0, 0.0), (3.0, 0.0), (2.0, 1.0)]
    assert scaled_trace(b, 2.0) is not scaled_trace(a, 2.0)
    assert (scaled_trace.__name__, scaled_trace.__doc__) == ("function", "Documented.")


def test_an_answer_goes_with_its_record(scaled_trace):
    record = Hessian(np.eye(2), 0)
    answer = weakref.ref(scaled_trace(record, 1.0))
    gc.collect()
    assert answer() is not None
    del record
    gc.collect()
    assert answer() is None


def test_a_failure_is_not_kept():
    tries = iter((ValueError("once"), None))

    @per_hessian
    def fragile(hessian):
        error = next(tries)
        if error:
            raise error
        return 7

    record = Hessian(np.eye(1), 0)
    with pytest.raises(ValueError, match="once"):
        fragile(record)
    assert fragile(record) == 7
