"""Time and memory of one case, and processes in which a case may end the process."""

from __future__ import annotations

import collections
import multiprocessing
import os
import re
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: What a case may take.
SECONDS, BYTES = 1.0, 100_000_000
#: Address space of a process above what it has at the start, so that a huge array is refused by the system and not by the machine.
_ADDRESS_BYTES = 2**30

#: A case by number: what became of it. Any exception is a violation.
Case = Callable[[int], str]
#: Makes the cases, in the process that runs them.
Prepare = Callable[[], Case]


@dataclass
class Outcome:
    """What cases came to.

    Attributes
    ----------
    counts : of what the cases returned
    violations : (case, what was wrong)
    slowest, largest : seconds of processor time, and bytes above those of the start, of one case
    """

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0

    def add(self, other: Outcome) -> None:
        self.counts += other.counts
        self.violations += other.violations
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def run_case(case: Case, number: int) -> Outcome:
    """One case, watched: an exception, more than SECONDS or more than BYTES is a violation."""
    Path("/proc/self/clear_refs").write_text("5")  # begins a new high-water mark
    memory, started = _memory("VmRSS"), time.process_time()
    try:
        result = case(number)
        wrong = []
    except Exception as error:
        result, wrong = "wrong", [(number, f"{type(error).__name__}: {error}"[:300])]
    seconds, taken = time.process_time() - started, _memory("VmHWM") - memory
    if seconds > SECONDS:
        wrong.append((number, f"{seconds:.1f} s"))
    if taken > BYTES:
        wrong.append((number, f"{taken / 1e6:.0f} MB"))
    return Outcome(collections.Counter([result]), wrong, seconds, taken)


def run_here(prepare: Prepare, numbers: Sequence[int]) -> Outcome:
    """Cases in this process."""
    case, outcome = prepare(), Outcome()
    for number in numbers:
        outcome.add(run_case(case, number))
    return outcome


def _child(prepare: Prepare, numbers: Sequence[int], pipe) -> None:
    try:
        case = prepare()
    except BaseException as error:
        pipe.send(error)
        raise
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _memory("VmSize") + _ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        pipe.send(run_case(case, number))
    pipe.close()


def _processor_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _answers(pipe, pid: int, hang_s: float) -> bool:
    """True once there is an answer; False for a process that works longer than `hang_s` on it, or sleeps 60 times as long."""
    started, used = time.monotonic(), _processor_seconds(pid)
    while not pipe.poll(1.0):
        if _processor_seconds(pid) - used > hang_s or time.monotonic() - started > 60 * hang_s:
            return False
    return True


def run_apart(prepare: Prepare, numbers: Sequence[int], *, hang_s: float = 60.0) -> Outcome:
    """Cases in a process of their own; one that ends it, or takes longer than `hang_s` of processor time, which does not depend on what
    else the machine does, is a violation, and another process goes on.
    """
    outcome, left = Outcome(), list(numbers)
    while left:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(prepare, left, theirs))
        process.start()
        theirs.close()
        try:
            while left:
                if not _answers(ours, process.pid, hang_s):
                    raise EOFError
                received = ours.recv()
                if isinstance(received, BaseException):
                    raise received
                outcome.add(received)
                left.pop(0)
        except EOFError:
            process.kill()
            process.join()
            outcome.violations.append((left.pop(0), f"ended the process with {process.exitcode}, or worked {hang_s:.0f} s on it"))
        process.join()
    return outcome
