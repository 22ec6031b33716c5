"""Peak memory of a sweep in copies of W, in a process of its own: what Python allocates, and pages that the system saw in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rdtools.kernels.sic_sweep_numba import PANEL, ROWS, STRIP

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of resident pages is read from Linux's /proc")

#: Prints (traced, resident) peaks in bytes of one sweep for each (n, dtype of W, dtype of L).
PROBE = """
import json, sys, tracemalloc
import numpy as np
from pathlib import Path
from rdtools import ops

def high_water():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

answers = []
for n, dtype, factor in json.loads(sys.argv[1]):
    W, L, steps = np.ones((n, n), dtype=dtype), np.eye(n, dtype=factor), np.ones(n)
    ops.sic_sweep(W, L, steps, residual=False)
    tracemalloc.start()
    ops.sic_sweep(W, L, steps, residual=False)
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ballast, before = [], high_water()
    while high_water() == before:  # fill what was used before, so that any page more is seen
        ballast.append(np.ones(2**15))
    before = high_water()
    ops.sic_sweep(W, L, steps, residual=False)
    answers.append((traced, high_water() - before))
print(json.dumps(answers))
"""

CASES = [(1024, "float32", "float64"), (1024, "float32", "float32"), (1024, "float64", "float64"), (2048, "float32", "float64")]
BYTES = {"float32": 4, "float64": 8}
#: Python objects, scratch of a strip and threads' own lists; and pages the system counts late, in batches.
SMALL, PAGES = 2**18, 2**20


@pytest.fixture(scope="module")
def peaks():
    """By case. One thread; and freed arrays go back to the system at once, or the next ones would take their pages unseen."""
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    command = [sys.executable, "-c", PROBE, json.dumps(CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


def _expected(n, dtype, factor):
    """Integers, the cast panels of a lower triangle, and of ROWS rows the errors, the feedback of later panels, and of later strips."""
    integers, in_flight = 4 * n * n, BYTES[dtype] * ROWS * (n + PANEL + STRIP)
    panels = 0 if dtype == factor else BYTES[dtype] * sum((n - start) * PANEL for start in range(0, n, PANEL))
    return integers, panels, in_flight


@pytest.mark.parametrize("case", CASES, ids=str)
def test_peak_is_codes_and_cast_panels_and_the_rows_in_flight(case, peaks):
    """Both ways of counting agree, so nothing is allocated where Python does not see it."""
    traced, resident = peaks[case]
    expected = sum(_expected(*case))
    assert abs(traced - expected) <= SMALL
    assert abs(resident - traced) <= PAGES


@pytest.mark.parametrize("case", CASES, ids=str)
def test_beside_inputs_and_codes_a_sweep_takes_at_most_two_copies_of_its_weight(case, peaks):
    n, dtype, _ = case
    copy = BYTES[dtype] * n * n
    integers = _expected(*case)[0]
    assert max(peaks[case]) - integers <= 2 * copy
    if n >= 2048 or dtype == "float64" or case[1] == case[2]:  # integers too, but for the smallest with a factor to cast
        assert max(peaks[case]) <= 2 * copy
