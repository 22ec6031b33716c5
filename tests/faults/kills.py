"""Reports that are ended at random moments of capture, quantization and writing, and go on.

Whatever was finished is there for the next start, nothing torn is taken for whole, no process is left 2 s after the end of its parent, and
a report that comes to its end has the table of an undisturbed one but for the column of seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.errors import RdtoolsError
from rdtools.runs.finished import FINISHED, checked_entries
from rdtools.runs.journal import ROWS, read_journals
from rdtools.runs.results import read_results
from rdtools.runs.run_manifest import HessianEntry, is_run
from rdtools.runs.store import open_run

START = "from rdtools.cli.main import run; import sys\nif __name__ == '__main__':\n    sys.argv[1:] = {argv!r}; run()"
#: What a report prints when it comes to each of its phases.
PHASES = ("Hessians", "Quantize", "Figures")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Seconds after the end of a report in which all of its processes end.
GONE_S = 2.0


def start(argv: Sequence[str], script: Path) -> subprocess.Popen[bytes]:
    """``rdtools``, the one that this process imports, in a process group of its own."""
    script.write_text(START.format(argv=list(argv)))
    with script.with_suffix(".log").open("wb") as log:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
        return subprocess.Popen([sys.executable, str(script)], stdout=log, stderr=log, start_new_session=True, env=environment)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 the whole group, and wait until none of it is left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left(process.pid):
        time.sleep(0.01)


def left(group: int) -> list[str]:
    """Living processes of a process group."""
    return [path.name for path in Path("/proc").glob("[0-9]*") if _group(path) == group]


def _group(process: Path) -> int:
    """Process group of a living process; −1 for one that has ended meanwhile."""
    try:
        state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return -1
    return -1 if state == "Z" else int(group)


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Kill a process group as soon as something is the case; False if the process ended before."""
    while not ready():
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    kill(process)
    return True


def finished(run: Path) -> set[str]:
    """Keys of everything that is finished in a run."""
    return set(read_journals(run / ROWS).records)


@dataclass
class Counts:
    """What the ends did; all but `kills`, `kept` and `rounds` are broken promises."""

    kills: int = 0
    kept: int = 0
    rounds: int = 0
    lost: int = 0
    torn: int = 0
    orphans: int = 0
    different: int = 0

    @property
    def violations(self) -> int:
        return self.lost + self.torn + self.orphans + self.different


def _whole(run: Path) -> set[str]:
    """Names of what is finished: rows, and Hessians, each compared with its hash."""
    names = finished(run)
    if is_run(run):
        opened = open_run(run)
        opened.check()
        return names | {entry.file for entry in opened.hessians}
    place = run / FINISHED
    for entry in checked_entries(place.read_bytes())[1:] if place.is_file() else []:
        listed = HessianEntry.model_validate(entry)
        assert (run / listed.file).stat().st_size == listed.bytes
        names.add(listed.file)
    return names


def _seen(script: Path) -> list[str]:
    log = script.with_suffix(".log").read_bytes()
    return [phase for phase in PHASES if phase.encode() in log]


def _wait(process: subprocess.Popen[bytes], script: Path, phase: str) -> bool:
    while phase not in _seen(script):
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """End the report, as a user, a scheduler or a closed terminal does; how many processes are left after GONE_S."""
    process.send_signal(number)
    process.wait(timeout=60)
    deadline = time.monotonic() + GONE_S
    while (there := left(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if there:
        os.killpg(process.pid, signal.SIGKILL)
    return len(there)


def kill_reports(kills: int, *, seed: int, say: Callable[[str], None] = print) -> Counts:
    """End so many reports."""
    from conftest import make_tiny_llama

    generator, counts = np.random.default_rng((seed, 8)), Counts()
    with tempfile.TemporaryDirectory(prefix="rdtools-kills-") as scratch:
        folder, script = Path(scratch), Path(scratch) / "go.py"
        model = make_tiny_llama(folder / "tiny")
        np.save(folder / "tokens.npy", generator.integers(0, 64, (4000, 32)))
        argv = [
            "report",
            "--model",
            str(model),
            "--tokens",
            str(folder / "tokens.npy"),
            "--methods",
            "hptq,watersic,quip",
            "--workers",
            "2",
        ]
        reference = folder / "reference"
        process, begun = start([*argv, "--out", str(reference)], script), []
        for phase in PHASES:
            assert _wait(process, script, phase), script.with_suffix(".log").read_text()
            begun.append(time.monotonic())
        assert process.wait() == 0, script.with_suffix(".log").read_text()
        lasts = np.diff([*begun, time.monotonic()])
        expected = read_results(reference).drop(columns="wall_s")
        say(f"undisturbed: {len(expected)} rows; phases of {', '.join(f'{s:.1f} s' for s in lasts)}")
        while counts.kills < kills:
            run = folder / "run"
            _one_round(run, [*argv, "--out", str(run)], script, generator, kills, counts, lasts)
            table = read_results(run).drop(columns="wall_s")
            counts.rounds += 1
            if not table.equals(expected):
                counts.different += 1
                pd.testing.assert_frame_equal(table, expected)
            shutil.rmtree(run)
            say(str(counts))
    return counts


def _one_round(
    run: Path, argv: Sequence[str], script: Path, generator: np.random.Generator, kills: int, counts: Counts, lasts: Sequence[float]
) -> None:
    """Starts and ends until a report comes to its end, at the latest after six."""
    before: set[str] = set()
    for number in range(7):
        process = start(argv, script)
        place = int(generator.integers(len(PHASES)))
        moment, with_signal = float(generator.uniform(0.0, lasts[place])), SIGNALS[int(generator.integers(len(SIGNALS)))]
        if number < 6 and counts.kills < kills and _wait(process, script, PHASES[place]):
            time.sleep(moment)
        if number == 6 or counts.kills >= kills or process.poll() is not None:
            assert process.wait() == 0, script.with_suffix(".log").read_text()
            return
        counts.orphans += _end(process, with_signal)
        counts.kills += 1
        try:
            after = _whole(run)
        except (RdtoolsError, AssertionError, OSError):
            counts.torn += 1
            raise
        counts.lost += len(before - after)
        counts.kept += len(after - before)
        before = after
