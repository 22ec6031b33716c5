"""Times of rows, estimated from rows that were timed; the clock counts its calls."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest

from rdtools.methods import make_quantizers
from rdtools.runs.journal import Record
from rdtools.sweep import pace
from rdtools.sweep.pace import MethodTime, calibrate, method_times, row_seconds, timed_rows


@pytest.mark.parametrize("cost", [
    lambda m, n: 3.0,
    lambda m, n: 0.5 + 1e-3 * m * n,
    lambda m, n: 1e-2 * n + 1e-4 * m * n,
    lambda m, n: 0.1 + 2e-5 * m * n + 1e-9 * n**3,
])  # fmt: skip
def test_a_cost_of_the_terms_is_found_again_at_any_shape(cost):
    """t = c₀ + c₁ n + c₂ m n + c₃ n³ has four coefficients, and four shapes determine them; rounding grows with the ratio of the terms."""
    timings = [(m, n, cost(m, n)) for m, n in pace._SHAPES[1:]]
    for shape in ((256, 768), (4096, 1024), (1024, 4096)):
        assert row_seconds(timings, *shape) == pytest.approx(cost(*shape), rel=1e-9)


def test_rows_of_the_run_come_before_the_calibration_and_are_divided_by_the_workers():
    todo = Counter({("gptq", 64, 64): 6, ("gptq", 128, 64): 2, ("hptq", 64, 64): 3, ("crvq", 64, 64): 1})
    timed = {"gptq": [(64, 64, 10.0), (128, 64, 30.0)]}
    calibrated = {"gptq": [(64, 64, 99.0)], "hptq": [(64, 64, 4.0)]}
    assert method_times(todo, workers=2, timed=timed, calibrated=calibrated) == [
        MethodTime("gptq", 8, 1.0, "rows"),
        MethodTime("hptq", 3, 0.1, "calibration"),
        MethodTime("crvq", 1, None, None),
    ]


def test_rows_count_that_came_about_where_the_method_works_now():
    def row(method, device, status="ok", kind="row"):
        value = {"method": method, "status": status, "device": device, "rows": 2, "columns": 3, "wall_s": 4.0}
        return Record(f"{method}{device}{status}{kind}", kind, value)

    records = [
        row("gptq", "cpu"),
        row("gptq", "cuda:0"),
        row("crvq", "cpu"),
        row("hptq", "cpu", "failed"),
        row("hptq", "cpu", kind="curves"),
    ]
    assert timed_rows(records, "cpu") == {"gptq": [(2, 3, 4.0)], "crvq": [(2, 3, 4.0)]}
    assert timed_rows(records, "cuda") == {"gptq": [(2, 3, 4.0)], "crvq": [(2, 3, 4.0)]}
    assert timed_rows(records[:1], "cuda") == {}


def test_each_method_is_timed_once_on_each_layer_at_one_feasible_rate(monkeypatch):
    """Every look at the clock takes a second: a layer's theory and each row last one; activations are not there to be quantized."""
    monkeypatch.setattr(pace, "_SHAPES", ((8, 8), (16, 8), (8, 16)))
    ticks = count()
    quantizers = make_quantizers(["rtn", "hptq", "rtn-w4a4"], [2.5, 4.0])
    timings = calibrate(quantizers, True, clock=lambda: float(next(ticks)))
    assert timings == {name: [(16, 8, 1.0), (8, 16, 1.0)] for name in (pace.THEORY, "rtn", "hptq")}
    assert next(ticks) == 3 * (1 + 1 + 3)
