"""The steps of `rdtools.analysis.gpu`, each run in a process of its own, which prints its rows: `run` calls a step by its name."""

# ruff: noqa: N806 (mathematical capitals)

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rdtools.analysis.gpu import MARK

LOOK: dict[str, Any] = {"interpret": False, "out": ".", "root": ""} | json.loads(os.environ.get("RDTOOLS_GPU_LOOK", "{}"))
INTERPRET = bool(LOOK["interpret"])
_PACKAGES = ("torch", "triton", "numpy", "scipy", "numba", "transformers", "pandas", "threadpoolctl")
_TEST_PACKAGES = ("pytest", "hypothesis", "constriction", "pydantic", "safetensors", "filelock", "psutil")
_PEERS = ("llmcompressor", "gptqmodel", "fast_hadamard_transform")
_VARIABLES = ("TRITON_INTERPRET", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


def emit(name: str, **row: Any) -> None:
    """Print a row, which the coordinating process writes to disk."""
    print("\n" + MARK + json.dumps({"name": name, **row}, default=str), flush=True)


def attempt(name: str, work: Callable[[], dict[str, Any]], **row: Any) -> bool:
    """A row of what `work` returns, or of its exception; True if there was none."""
    started = time.perf_counter()
    try:
        outcome = work()
    except Exception as error:  # whatever it is, the next row has its chance
        import traceback

        traceback.print_exc()
        emit(
            name, **row, status="failed", message=f"{type(error).__name__}: {error}"[:400], seconds=round(time.perf_counter() - started, 3)
        )
        return False
    emit(name, **(row | outcome))
    return outcome.get("status", "ok") == "ok"


def run(name: str) -> None:
    """Run a step; the interpreter's exit status is 1 if it raised. Only what the step needs is imported."""
    getattr(import_module(f"rdtools.analysis.{home(name)}"), name)()


def home(step: str) -> str:
    """Module that holds a step."""
    return {"smoke": "gpu_equal", "equal": "gpu_equal", "block": "gpu_block", "job": "gpu_job", "peers": "gpu_peers"}.get(
        step.split("_")[0], "gpu_steps"
    )


def device() -> str:
    """Name of the torch device that kernels run on."""
    return "cpu" if INTERPRET else "cuda"


def synchronize() -> None:
    """Wait for everything that was launched."""
    import torch

    if not INTERPRET:
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], *, budget_s: float = 3.0, most: int = 30) -> dict[str, float]:
    """Median and 20 % and 80 % quantiles of the time of a call in ms, by the device's clock, after two calls that are not counted."""
    import torch

    for _ in range(1 if INTERPRET else 2):
        work()
    synchronize()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < (1 if INTERPRET else most) and (len(times) < 3 or time.perf_counter() - started < budget_s):
        if INTERPRET:
            before = time.perf_counter()
            work()
            times.append(1e3 * (time.perf_counter() - before))
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        last.synchronize()
        times.append(float(first.elapsed_time(last)))
    times.sort()
    low, middle, high = (times[round(q * (len(times) - 1))] for q in (0.2, 0.5, 0.8))
    return {"ms": middle, "ms_q20": low, "ms_q80": high, "repeats": len(times)}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "" if find_spec(name) is None else "of unknown version"


def versions() -> None:
    """Interpreter, packages, driver and card; what is missing has a row of its own."""
    import rdtools

    installed = {name: _installed(name) for name in (*_PACKAGES, *_TEST_PACKAGES, *_PEERS)}
    emit(
        "python",
        version=platform.python_version(),
        machine=platform.machine(),
        rdtools=rdtools.__version__,
        home=str(Path(rdtools.__file__).parent),
    )
    emit("packages", **{name: number for name, number in installed.items() if number})
    for name in (*_PACKAGES, *_TEST_PACKAGES):
        if not installed[name]:
            emit(name, status="missing", message="not installed; what needs it fails and says so: give its wheel with --wheels")
    emit("environment", **{name: os.environ[name] for name in _VARIABLES if name in os.environ}, cores=os.cpu_count())
    if LOOK["root"]:
        attempt("commit", lambda: {"commit": _output("git", "-C", LOOK["root"], "rev-parse", "HEAD")})
    attempt("card", _card)


def _output(*command: str) -> str:
    """First line that a program prints, or why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    return next(iter((done.stdout.strip() or done.stderr.strip()).splitlines()), "nothing")


def _card() -> dict[str, Any]:
    import torch

    if INTERPRET:
        return {"gpu": "", "message": "Triton's interpreter on the CPU: nothing here is a time of a GPU"}
    if not torch.cuda.is_available():
        return {
            "gpu": "",
            "status": "failed",
            "message": f"torch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU with its driver",
        }
    properties = torch.cuda.get_device_properties(0)
    smi = _output("nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.max.sm,power.limit,mig.mode.current", "--format=csv,noheader")
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gb": properties.total_memory / 1e9,
        "cuda": torch.version.cuda,
        "driver_clocks_power_mig": smi,
    }


def ceilings() -> None:
    """The most that the card gives: a copy, and products in float64, in float32 and in TF32."""
    import torch

    n, length = (64, 2**12) if INTERPRET else (8192, 2**29)

    def copy() -> dict[str, Any]:
        x = torch.ones(length, device=device())
        y = torch.empty_like(x)
        times = milliseconds(lambda: y.copy_(x))
        return times | {"gb_per_s": 8e-6 * length / times["ms"]}

    def product(dtype: torch.dtype, tf32: bool) -> dict[str, Any]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            A, B = (torch.randn(n, n, device=device(), dtype=dtype) for _ in range(2))
            C = torch.empty_like(A)
            times = milliseconds(lambda: torch.mm(A, B, out=C))
        finally:
            torch.set_float32_matmul_precision(before)
        return times | {"tflops": 2e-9 * n**3 / times["ms"]}

    attempt("copy", copy, bytes=4 * length)
    for name, dtype, tf32 in (("float32", torch.float32, False), ("TF32", torch.float32, True), ("float64", torch.float64, False)):
        attempt(f"product {name}", lambda dtype=dtype, tf32=tf32: product(dtype, tf32), n=n)


def tests() -> None:
    """The files of cases behind the tests that are marked gpu, under pytest; a row for each file and each failed case."""
    root = Path(LOOK["root"]) if LOOK["root"] else None
    files = sorted((root / "tests" / "kernels").glob("*triton_cases.py")) if root else []
    if not files:
        emit("pytest", status="missing", message="no tests beside this rdtools; run from a checkout")
    for path in files:
        attempt(path.name, lambda path=path: _pytest(path, root))


def _pytest(path: Path, root: Path | None) -> dict[str, Any]:
    """Counts of a file of cases; failed ones are printed as rows."""
    with tempfile.TemporaryDirectory() as scratch:
        junit = Path(scratch) / "junit.xml"
        # no option of the project's that needs a plugin which may be missing, and no warning of another package as an error
        flags = ["-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default", "-p", "no:cacheprovider", f"--junitxml={junit}"]
        if find_spec("xdist") is not None and not INTERPRET:
            flags += ["-n", "8"]
        chosen = ["-k", "nothing_to_decide or (hadamard_is_the_reference and 1-2)"] if INTERPRET else []
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x" if INTERPRET else "-q", *flags, *chosen, str(path)]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout[-6000:], flush=True)
        if done.returncode == 5:  # no case of this file was chosen
            return {"cases": 0}
        if not junit.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode} before it wrote a result: {done.stdout.strip().splitlines()[-1:]}")
        suite = next(ElementTree.parse(junit).getroot().iter("testsuite"))
        for case in suite.iter("testcase"):
            for problem in (*case.findall("failure"), *case.findall("error")):
                emit(f"{path.name}::{case.get('name')}", status="failed", message=(problem.get("message") or "")[:300])
        counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        bad = counts["failures"] + counts["errors"] or done.returncode
        return counts | ({"status": "failed", "message": "see the rows of its cases"} if bad else {})
