"""First look at a GPU machine: versions, ceilings, tests, equality with the CPU, a block of Llama-3-8B by kernels and whole, peers.

    python -m rdtools.analysis.gpu --out DIR            from an installed rdtools
    python analysis/gpu.py --out DIR [--wheels WHEELS]  from a bare checkout, offline

Every step is a process of its own with a time limit, and every row is written to DIR/rows.jsonl as soon as it is there, so that a crash, a
hang or the end of the lease loses nothing else. What is missing or fails has a row that says so. DIR/log.txt holds what the steps printed,
DIR/table.txt the rows as they are printed at the end. It needs Python 3.11, torch, triton, numpy and scipy; packages that are missing are
taken from wheels in --wheels. Without a GPU it says so and exits with 69; with --interpret it runs tiny shapes under Triton's interpreter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

#: The checkout; None where rdtools is installed, whose tests are not there.
ROOT = next((path for path in Path(__file__).resolve().parents[1:2] if (path / "pyproject.toml").is_file()), None)
#: Exit integers: everything done, something failed or ran out of time, and no GPU.
DONE, FAILED, NO_GPU = 0, 1, 69
#: A line of a step's standard output that holds a row.
MARK = "rdtools-row "
#: Seconds that are kept for the table at the end.
_CLOSING_S = 5.0


@dataclass(frozen=True)
class Step:
    """A part of the look.

    Attributes
    ----------
    name : of the step, and of its function in `rdtools.analysis.gpu_steps`
    limit_s : seconds after which its process is killed
    needs : steps that have to have succeeded
    """

    name: str
    limit_s: float
    needs: tuple[str, ...] = ()


#: In this order: what says most about the machine and the kernels first. Together at most 8 minutes on a healthy machine.
STEPS = (
    Step("versions", 60),
    Step("ceilings", 40),
    Step("smoke_hadamard", 40),
    Step("smoke_sweep", 60),
    Step("smoke_trellis", 60),
    Step("smoke_walks", 60),
    Step("equal_hadamard", 40, ("smoke_hadamard",)),
    Step("equal_sweep", 60, ("smoke_sweep",)),
    Step("equal_trellis", 60, ("smoke_trellis",)),
    Step("equal_walks", 60, ("smoke_walks",)),
    Step("job_equal", 60, ("smoke_sweep", "smoke_hadamard")),
    Step("block_sweep", 75, ("smoke_sweep",)),
    Step("job_block", 90, ("smoke_sweep", "smoke_hadamard")),
    Step("block_hadamard", 40, ("smoke_hadamard",)),
    Step("block_trellis", 60, ("smoke_trellis",)),
    Step("block_walks", 60, ("smoke_walks",)),
    Step("tests", 150, ("smoke_sweep",)),
    Step("block_modes", 60, ("smoke_sweep",)),
    Step("peers", 60),
)


def usable_wheel(name: str) -> bool:
    """True if a wheel of this file name is for this interpreter and machine.

    Examples
    --------
    >>> usable_wheel("typing_inspection-0.4.1-py3-none-any.whl"), usable_wheel("x-1.0-cp37-cp37m-win32.whl")
    (True, False)
    """
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) < 5:
        return False
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    own = sys.version_info[:2]
    minor = [int(match[1]) for tag in pythons if (match := re.fullmatch(r"cp3(\d+)", tag))]
    fits = "py3" in pythons or f"cp3{own[1]}" in pythons or ("abi3" in abis and any(k <= own[1] for k in minor))
    system = {"linux": "linux", "darwin": "macosx", "win32": "win"}.get(sys.platform, sys.platform)
    return fits and any(tag == "any" or (system in tag and tag.endswith(platform.machine().lower())) for tag in platforms)


def _is_installed(wheel: str) -> bool:
    with contextlib.suppress(PackageNotFoundError):
        return bool(version(wheel.split("-")[0]))
    return False


def unpack_wheels(folder: Path, target: Path) -> list[str]:
    """Unpack the wheels of a folder whose packages are missing here; returns the names of those that do not fit, or are damaged."""
    left = []
    for path in sorted(folder.glob("*.whl")):
        if _is_installed(path.name):
            continue
        try:
            if not usable_wheel(path.name):
                raise zipfile.BadZipFile
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
        except (zipfile.BadZipFile, OSError):
            left.append(path.name)
    return left


class Rows:
    """Rows as they come, each on disk at once."""

    def __init__(self, out: Path) -> None:
        self.all: list[dict[str, Any]] = []
        self._file = (out / "rows.jsonl").open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, step: str, row: dict[str, Any]) -> None:
        """Write a row of a step."""
        whole = {"step": step, "status": "ok"} | row
        with self._lock:
            self.all.append(whole)
            self._file.write(json.dumps(whole) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _listen(stream: TextIO, step: str, rows: Rows, log: TextIO) -> None:
    for line in stream:
        if line.startswith(MARK):
            try:
                rows.add(step, json.loads(line[len(MARK) :]))
                continue
            except ValueError:
                pass  # cut off; goes to the log
        log.write(line)
        log.flush()


def log_folder(log: TextIO) -> Path:
    """Folder of an open file."""
    return Path(log.name).resolve().parent


def run_step(step: Step, rows: Rows, log: TextIO, *, environment: dict[str, str], limit_s: float) -> bool:
    """Run a step in a process of its own; True if it ended by itself, without a row that says otherwise."""
    log.write(f"\n===== {step.name}\n")
    log.flush()
    started, before = time.monotonic(), len(rows.all)
    code = f"from rdtools.analysis.gpu_steps import run; run({step.name!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT or log_folder(log), env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    listener = threading.Thread(target=_listen, args=(process.stdout, step.name, rows, log), daemon=True)
    listener.start()
    ending = ""
    try:
        returned = process.wait(timeout=limit_s)
        if returned:
            ending = f"ended with {returned}" if returned > 0 else f"killed by {signal.Signals(-returned).name}"
    except subprocess.TimeoutExpired:
        ending = f"stopped after its {limit_s:.0f} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the group of this step alone
        process.wait()
        listener.join(timeout=5)
        if not listener.is_alive():  # else somebody outside the group still holds the other end
            process.stdout.close()
    seconds = round(time.monotonic() - started, 1)
    bad = any(row["status"] == "failed" for row in rows.all[before:])
    if ending:
        rows.add(step.name, {"name": "process", "status": "failed", "message": f"{ending}; see log.txt", "seconds": seconds})
    else:
        rows.add(step.name, {"name": "process", "seconds": seconds})
    return not ending and not bad


def _environment(options: argparse.Namespace, site: Path) -> dict[str, str]:
    """The environment of the steps: this checkout and the wheels first, and no network."""
    places = [*([str(ROOT)] if ROOT else []), *filter(None, [os.environ.get("PYTHONPATH", "")]), *([str(site)] if options.wheels else [])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRITON_INTERPRET": "1" if options.interpret else "0",
        "RDTOOLS_GPU_LOOK": json.dumps({"interpret": options.interpret, "out": str(options.out.resolve()), "root": str(ROOT or "")}),
    }
    return environment | ({"CUDA_VISIBLE_DEVICES": ""} if options.interpret else {})


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people, at most a hundred lines: those that failed first."""
    lines = []
    for row in sorted(rows, key=lambda row: row["status"] == "ok"):
        rest = {key: value for key, value in row.items() if key not in ("step", "status", "name")}
        shown = "  ".join(f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}" for key, value in rest.items())
        lines.append(f"{row['status']:<8}{row['step']:<16}{row.get('name', '')}  {shown}"[:240])
    return "\n".join(lines if len(lines) <= 100 else [*lines[:99], f"… and {len(lines) - 99} more in rows.jsonl"])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.jsonl, log.txt and table.txt")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of packages that this machine lacks")
    parser.add_argument("--seconds", type=float, default=470.0, help="after which no step begins and none goes on")
    parser.add_argument("--only", action="append", choices=[step.name for step in STEPS], help="may be given again; all if left out")
    parser.add_argument("--interpret", action="store_true", help="tiny shapes under Triton's interpreter, without a GPU")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    ends = time.monotonic() + options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.out)
    with tempfile.TemporaryDirectory(prefix="rdtools-gpu-") as scratch, (options.out / "log.txt").open("a", encoding="utf-8") as log:
        site = Path(scratch)
        for name in unpack_wheels(options.wheels, site) if options.wheels else ():
            rows.add("wheels", {"name": name, "status": "missing", "message": "damaged, or not for this interpreter and machine"})
        code = _run(options, rows, log, _environment(options, site), ends)
    rows.close()
    text = table(rows.all)
    (options.out / "table.txt").write_text(text + "\n", encoding="utf-8")
    print(text)
    return code


def _run(options: argparse.Namespace, rows: Rows, log: TextIO, environment: dict[str, str], ends: float) -> int:
    """All steps; the exit code."""
    good: set[str] = set()
    for step in STEPS:
        if options.only and step.name not in (*options.only, "versions"):
            good.add(step.name)  # trusted, not run
            continue
        left = ends - time.monotonic() - _CLOSING_S
        if missing := [need for need in step.needs if need not in good]:
            rows.add(step.name, {"name": "process", "status": "skipped", "message": f"{', '.join(missing)} did not succeed"})
        elif left < 1:
            rows.add(step.name, {"name": "process", "status": "skipped", "message": f"no time is left of {options.seconds:.0f} s"})
        elif run_step(step, rows, log, environment=environment, limit_s=min(step.limit_s, left)):
            good.add(step.name)
        if step.name == "versions" and (code := _stopping(rows, options)) is not None:
            return code
    return DONE if all(row["status"] in ("ok", "missing") for row in rows.all) else FAILED


def _stopping(rows: Rows, options: argparse.Namespace) -> int | None:
    """Exit code where nothing else can be done, for want of torch or of a GPU."""
    card = next((row for row in rows.all if row["step"] == "versions" and row["name"] == "card"), None)
    if card is None or "gpu" not in card:
        print("torch cannot be used here; see the rows", file=sys.stderr)
        return FAILED
    if card["gpu"] or options.interpret:
        return None
    print("no GPU: torch finds none with its driver; see the rows; --interpret runs tiny shapes without one", file=sys.stderr)
    return NO_GPU


if __name__ == "__main__":
    raise SystemExit(main())
