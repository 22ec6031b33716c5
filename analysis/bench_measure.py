"""Timing of an op: every repetition times the floor and then the contestant, so that a ratio compares two neighbouring moments."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

#: Idle time before each measurement: threads of the one before spin for a few milliseconds.
SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class Contestant:
    """Something that does an op; `loss` judges what `run` returned."""

    name: str
    dtype: str
    run: Callable[[], Any]
    loss: Callable[[Any], float] | None = None
    at_most: float | None = None  # the ratio to the floor that is aimed at


@dataclass(frozen=True)
class Case:
    """An op at one size: what it is measured against, and who takes part."""

    rows: int
    columns: int
    floor_name: str
    floor: Callable[[], Any]
    contestants: list[Contestant]
    once: bool = False  # a stage of a job, which finds done what came before it


@dataclass(frozen=True)
class Op:
    """A benchmark, asked for by name."""

    build: Callable[[int], Iterator[Case]]
    sizes: tuple[int, ...]
    tests: tuple[str, ...]


def passes(tests: tuple[str, ...], root: Path = ROOT) -> bool:
    """Run an op's test files in a process of their own; what is not there is not green, an op without any is."""
    if not tests:
        return True
    if not all((root / test).is_file() for test in tests):
        return False
    variables = {**os.environ, "NUMBA_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *tests]
    return subprocess.run(command, cwd=root, env=variables, capture_output=True, check=False).returncode == 0


def _time(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds of all threads, result."""
    time.sleep(SETTLE_SECONDS)
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def measure(case: Case, *, seconds: float, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each contestant; all take turns until each has had its repetitions or its share of the time."""
    if not case.once:
        case.floor()
    taken: list[list[tuple[float, float, float]]] = [[] for _ in case.contestants]
    results: list[Any] = [None] * len(taken)
    for turn in range(repeats + 1):
        for k, contestant in enumerate(case.contestants):
            if sum(wall for _, wall, _ in taken[k]) > seconds or (case.once and taken[k]):
                continue
            floor, _, _ = _time(case.floor)
            wall, cpu, results[k] = _time(contestant.run)
            if turn > 0 or wall > seconds or case.once:  # the first turn compiles and fills caches, which is nothing to who takes long
                taken[k].append((floor, wall, cpu))
    for contestant, times, result in zip(case.contestants, taken, results, strict=True):
        floor, wall, cpu = np.array(times).T
        row: dict[str, Any] = {"rows": case.rows, "columns": case.columns, "contestant": contestant.name, "dtype": contestant.dtype}
        row |= {"floor": case.floor_name, "repeats": len(times), "cpu_seconds": np.median(cpu)}
        for name, values in (("seconds", wall), ("floor_seconds", floor), ("ratio_to_floor", wall / floor)):
            low, middle, high = np.quantile(values, [0.2, 0.5, 0.8])
            row |= {name: middle, f"{name}_q20": low, f"{name}_q80": high}
        row |= {"at_most": contestant.at_most, "relative_loss": contestant.loss(result) if contestant.loss else None}
        yield row


def environment(threads: int) -> dict[str, Any]:
    """The machine and versions that times depend on beside the code."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    )
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    packages = {name: version(name) for name in ("numpy", "numba", "torch")}
    return {"device": names[0] if names else platform.machine(), "threads": threads, "commit": git.stdout.strip(), **packages}
