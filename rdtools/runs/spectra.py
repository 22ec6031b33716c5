"""``spectra/0000.safetensors``: the spectrum of a Hessian beside it, so that no other task, process or command computes it again.

A file says of which Hessian it is, by the SHA-256 of that one's file, in which version, and its own checksum: one that is of another
Hessian or version, or damaged, is none, and is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from rdtools.errors import OutputError
from rdtools.records import Spectrum
from rdtools.runs.array_files import write_arrays

SPECTRA = "spectra"
#: Raise it with every change after which a spectrum of the same Hessian has other numbers.
SPECTRUM_VERSION = 1

_ARRAYS = ("eigenvalues", "cholesky_diagonal", "diagonal")
_FACTS = ("columns", "rank", "damping", "eigenvector_max", "simple")


def _file(run: Path, index: int) -> Path:
    return run / SPECTRA / f"{index:04d}.safetensors"


def _checksum(arrays: dict[str, NDArray[Any]], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def write_spectrum(run: Path, index: int, spectrum: Spectrum, *, hessian: str) -> None:
    """Write the spectrum of a Hessian, whole or not at all; where the run cannot be written, it is left out.

    Parameters
    ----------
    run : the run directory
    index : number of the Hessian
    hessian : SHA-256 of its file
    """
    arrays = {name: np.ascontiguousarray(getattr(spectrum, name)) for name in _ARRAYS}
    facts = json.dumps({name: getattr(spectrum, name) for name in _FACTS}, sort_keys=True)
    about = {"version": str(SPECTRUM_VERSION), "hessian": hessian, "facts": facts, "sha256": _checksum(arrays, facts)}
    with contextlib.suppress(OutputError):  # it saves time and is no result: a disk that is full ends the run where a row is written
        write_arrays(_file(run, index), arrays, about)


def read_spectrum(run: Path, index: int, *, hessian: str) -> Spectrum | None:
    """The spectrum of a Hessian; None where there is none of this Hessian, in this version and undamaged.

    Parameters
    ----------
    run, index, hessian : as of `write_spectrum`
    """
    path = _file(run, index)
    if not path.is_file() or not path.resolve().is_relative_to(run.resolve()):
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError):
        return None
    facts = about.get("facts", "")
    known = (about.get("version"), about.get("hessian"), set(arrays)) == (str(SPECTRUM_VERSION), hessian, set(_ARRAYS))
    if not known or about.get("sha256") != _checksum(arrays, facts):
        return None
    return Spectrum(**arrays, **json.loads(facts))
