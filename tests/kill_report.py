"""Kill reports at random moments, go on, and count the rows that were kept and those that were computed twice.

python tests/kill_report.py MODEL --text FILE [--kills 50] [--methods gptq,watersic] [--rates 2,3,4] [--workers 2] [--seed 0]

Every start of ``rdtools report`` is killed, with all of its processes, at a random moment of its quantizations; what it finished must be
there for the next, which computes the rest alone. When one comes to its end, its table must be that of an undisturbed report but for the
column of seconds, and the next round begins.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.runs.journal import ROWS, read_journals
from rdtools.runs.results import read_results

START = "from rdtools.cli.main import run; import sys\nif __name__ == '__main__':\n    sys.argv[1:] = {argv!r}; run()"


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
    while any(_group(path) == process.pid for path in Path("/proc").glob("[0-9]*")):
        time.sleep(0.01)


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
    """What the kills did."""

    kills: int = 0
    kept: int = 0
    lost: int = 0
    torn: int = 0
    twice: int = 0
    rounds: int = 0
    different: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--methods", default="hptq,watersic")
    parser.add_argument("--rates", default="2,3,4")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    generator = np.random.default_rng(options.seed)
    common = ["report", "--model", options.model, "--text", options.text, "--methods", options.methods, "--rates", options.rates]
    common += ["--workers", options.workers]
    with tempfile.TemporaryDirectory(prefix="rdtools-kills-") as scratch:
        folder, script = Path(scratch), Path(scratch) / "go.py"
        reference = folder / "reference"
        undisturbed = start([*common, "--out", str(reference)], script)
        while undisturbed.poll() is None and not _quantizing(script):
            time.sleep(0.01)
        began = time.monotonic()
        assert undisturbed.wait() == 0, script.with_suffix(".log").read_text()
        duration = time.monotonic() - began
        print(f"undisturbed: {len(read_results(reference))} rows, {duration:.1f} s from the first to the page", flush=True)
        counts = Counts()
        while counts.kills < options.kills:
            run = folder / "run"
            shutil.copytree(reference / "hessians", run / "hessians")
            shutil.copy(reference / "manifest.json", run)
            moments = iter(lambda: float(generator.uniform(0.0, duration)), None)
            _one_round(run, [*common, "--out", str(run)], script, moments, options.kills, counts)
            table, expected = (read_results(path).drop(columns="wall_s") for path in (run, reference))
            counts.rounds += 1
            counts.different += not table.equals(expected)
            if not table.equals(expected):
                pd.testing.assert_frame_equal(table, expected)
            counts.twice += read_journals(run / ROWS).replaced
            shutil.rmtree(run)
            print(counts, flush=True)
    return 1 if counts.lost or counts.different or counts.twice else 0


def _quantizing(script: Path) -> bool:
    """Whether a report has come to its quantizations."""
    return b"Quantize" in script.with_suffix(".log").read_bytes()


def _one_round(run: Path, argv: Sequence[str], script: Path, moments: Iterator[float], kills: int, counts: Counts) -> None:
    """Starts and kills until a report comes to its end."""
    before: set[str] = set()
    while True:
        process = start(argv, script)
        moment: list[float] = []

        def ready(moment: list[float] = moment) -> bool:
            if counts.kills >= kills:
                return False
            if not moment and _quantizing(script):
                moment.append(time.monotonic() + next(moments))
            return bool(moment) and time.monotonic() >= moment[0]

        killed = kill_when(process, ready)
        after = finished(run)
        counts.lost += len(before - after)
        if not killed:
            assert process.returncode == 0, script.with_suffix(".log").read_text()
            return
        counts.kills += 1
        counts.kept += len(after - before)
        counts.torn += read_journals(run / ROWS).torn
        before = after


if __name__ == "__main__":
    raise SystemExit(main())
