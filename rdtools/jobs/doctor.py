"""Checks of the machine and the installation: what works, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from rdtools._version import __version__
from rdtools.errors import one_line
from rdtools.machine import free_memory, in_gb
from rdtools.sweep.memory import PROCESS_BYTES, default_workers

#: Versions of Python that rdtools was tried on: the whole suite on the first, its core on the others.
TRIED = ((3, 11), (3, 12), (3, 13))
#: Free disk below which a report of a model of a billion parameters does not fit: its Hessians take five times as much.
_LOW_DISK = 2_000_000_000


Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : what
    status : ok; note for what limits nothing but should be known; problem for what keeps rdtools from working
    found : as it is here
    remedy : what to do; empty where nothing has to be done
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def _python() -> Iterator[Check]:
    tried = ", ".join(f"{major}.{minor}" for major, minor in TRIED)
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    known = sys.version_info[:2] in TRIED
    yield Check("Python", "ok" if known else "note", version, "" if known else f"tried on {tried}: run pytest once, or use one of these")
    yield Check("rdtools", "ok", f"{__version__} in {Path(__file__).resolve().parents[1]}")


def _packages() -> Iterator[Check]:
    needed = [line for line in requires("rdtools") or [] if "extra ==" not in line.replace("'", '"')]
    installed, missing, other = [], [], []
    for line in needed:
        name = line.partition(";")[0].strip()
        name = name[: next((index for index, c in enumerate(name) if not (c.isalnum() or c in "-_.")), len(name))]
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
            continue
        if not _meets(line, version(name)):
            other.append(f"{name} {version(name)} where {line} is needed")
    yield Check(
        "packages",
        "problem" if missing else "ok",
        ", ".join(installed),
        f"missing {', '.join(missing)}: pip install rdtools" if missing else "",
    )
    for sentence in other:
        yield Check("package version", "problem", sentence, "pip install --upgrade rdtools")


def _meets(requirement: str, version: str) -> bool:
    """True if a version is one that is asked for, or if the package that reads such lines is not there."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _threads() -> Iterator[Check]:
    import scipy.linalg  # noqa: F401  loads the BLAS that factors are computed with
    from threadpoolctl import threadpool_info

    cores = default_workers()
    pools = ", ".join(f"{pool.get('internal_api')} {pool.get('version')} with {pool.get('num_threads')}" for pool in threadpool_info())
    set_here = [
        f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ
    ]
    environment = f"; {' '.join(set_here)}" if set_here else ""
    yield Check("threads", "ok", f"{cores} cores for this process; {pools or 'no BLAS that tells its threads'}{environment}")


def _kernels() -> Iterator[Check]:
    from rdtools.kernels import sic_sweep_numba

    compiled = next((value for value in vars(sic_sweep_numba).values() if hasattr(value, "_cache")), None)
    cache_path = getattr(getattr(compiled, "_cache", None), "cache_path", None)
    if cache_path is None:
        remedy = "every process compiles anew, which takes seconds: set NUMBA_CACHE_DIR to a folder that may be written to"
        yield Check("compiled kernels", "note", "no folder to keep them in", remedy)
        return
    folder = Path(cache_path)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = os.access(existing, os.W_OK)
    yield Check(
        "compiled kernels",
        "ok" if writable else "note",
        f"kept in {folder}" if writable else f"{folder} cannot be written to",
        "" if writable else "set NUMBA_CACHE_DIR to a folder that may be written to",
    )


def _memory() -> Iterator[Check]:
    free, cores = free_memory(), default_workers()
    enough = free >= cores * PROCESS_BYTES
    remedy = "" if enough else f"{cores} processes take at least {in_gb(cores * PROCESS_BYTES)}: give --workers a smaller number"
    yield Check("memory", "ok" if enough else "note", f"{in_gb(free)} free for this process", remedy)
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free_bytes, writable = shutil.disk_usage(folder).free, os.access(folder, os.W_OK)
        remedy = "" if writable and free_bytes >= _LOW_DISK else "free some space, or work in another place"
        finding = f"{in_gb(free_bytes)} free in {folder}" + ("" if writable else ", which cannot be written to")
        yield Check(name, "note" if remedy else "ok", finding, remedy)


def _devices() -> Iterator[Check]:
    import torch

    from rdtools.ops.dispatch import missing_triton_reason

    cuda = torch.cuda.is_available()
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())) if cuda else ""
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
    blind = bool(torch.version.cuda) and not cuda
    remedy = "a GPU or its driver is missing: nvidia-smi shows what the driver sees" if blind else ""
    yield Check("torch", "note" if blind else "ok", f"{torch.__version__}, {built}; {names or 'no GPU'}", remedy)
    reason = missing_triton_reason()
    yield Check("Triton", "ok", f"not used: {reason}" if reason else "its kernels can run here")


def _work() -> Iterator[Check]:
    """The whole way of a small layer: quantized, coded, decoded and measured."""
    import numpy as np

    from rdtools.measure import measure
    from rdtools.methods import quantizer
    from rdtools.moments.layer import Layer

    generator = np.random.default_rng(0)
    layer = Layer.of(generator.standard_normal((64, 32)), np.eye(32))
    point = measure(layer, quantizer("watersic", 3).quantize(layer))
    yield Check("a layer", "ok", f"quantized, coded, decoded and measured: {point.total_bpw:.2f} bpw, SQNR {point.sqnr_db:.1f} dB")


def _model() -> Iterator[Check]:
    from rdtools.model.checkpoint import EMBEDDED, find_model

    checkpoint = find_model(EMBEDDED)
    offline = "set, nothing is downloaded" if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0") else "not set"
    yield Check("embedded model", "ok", f"{checkpoint.parameters:,} parameters; HF_HUB_OFFLINE {offline}")


#: What is looked at, in this order; a failure of one is a problem of its own.
CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "Python": _python,
    "packages": _packages,
    "threads": _threads,
    "compiled kernels": _kernels,
    "memory": _memory,
    "devices": _devices,
    "embedded model": _model,
    "a layer": _work,
}


def doctor() -> list[Check]:
    """Look at versions, threads, the kernels' cache, memory, disk and devices, and take a small layer the whole way; nothing is written."""
    checks: list[Check] = []
    for name, look in CHECKS.items():
        try:
            checks += look()
        except Exception as error:  # any of a broken library is what a user came to hear
            missing = isinstance(error, ModuleNotFoundError | PackageNotFoundError)
            remedy = "pip install rdtools" if missing else "install rdtools anew: pip install --force-reinstall rdtools"
            checks.append(Check(name, "problem", f"{type(error).__name__}: {one_line(error)}", remedy))
    return checks
