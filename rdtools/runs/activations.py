"""Moments of quantized activations in a run directory: one file for each input, map, grid and token set.

    activations/finished.jsonl        a line for each file on disk, or for why there is none, see `rdtools.runs.finished`
    activations/NAME.safetensors      "cross_error", "error" (packed), "noise_power", arrays of the links of the map; the rest: metadata

NAME is a hash of the second moment that they stand beside, of the grid and of what decides the map, so that files of another calibration
are not found, and are never in the way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from rdtools.arrays import Float64Array
from rdtools.errors import CorruptFile, OutputError, UsageError
from rdtools.files import check_file, write_atomically
from rdtools.linalg import check_moment
from rdtools.records import ActivationGrid, ActivationMoments, InputMap
from rdtools.runs.array_files import write_arrays
from rdtools.runs.finished import checked_entries, checked_line
from rdtools.runs.packing import pack, unpack
from rdtools.runs.run_manifest import HessianEntry
from rdtools.runs.store import Run
from rdtools.transforms.links.fields import LinkFields, link_fields, link_of

FOLDER = "activations"
LIST = f"{FOLDER}/finished.jsonl"

TokenSet = Literal["calibration", "heldout"]


def grid_fields(grid: ActivationGrid) -> dict[str, Any]:
    """A grid as JSON values; fine channels where there are some, which older files do not know."""
    fields = asdict(grid)
    if not grid.fine_channels:
        del fields["fine_channels"], fields["fine_bits"]
    return fields


@dataclass(frozen=True)
class ActivationKey:
    """The setting that moments of quantized activations belong to.

    Attributes
    ----------
    hessian : number of the input in the run
    grid : Q; not clipped where `map_key` says that the ratio is searched, for which `ActivationMoments.grid` has it
    map_key : what decides the map, see `rdtools.quantizers.activations.ActivationQuantizer`
    tokens : over which they are
    """

    hessian: int
    grid: ActivationGrid
    map_key: str
    tokens: TokenSet = "calibration"

    def entry(self, run: Run) -> HessianEntry | None:
        """The second moment over the same tokens in the manifest; None where the run has no held-out tokens for this input."""
        if self.tokens == "calibration":
            return run.hessians[self.hessian]
        held = run.manifest.heldout
        return None if held is None or held.hessians[self.hessian].n_tokens == 0 else held.hessians[self.hessian]

    def digest(self, run: Run) -> str:
        """Name of the file, without its ending."""
        entry = self.entry(run)
        hashes = [run.hessians[self.hessian].sha256, "" if entry is None else entry.sha256]
        parts = [*hashes, grid_fields(self.grid), self.map_key, self.tokens]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _listed(run: Run) -> dict[str, dict[str, Any]]:
    path = run.path / LIST
    entries = checked_entries(path.read_bytes()) if path.is_file() else []
    return {entry["name"]: entry for entry in entries}


def _is_whole(run: Run, entry: Mapping[str, Any]) -> bool:
    if "failed" in entry:
        return False
    try:
        check_file(run.path / FOLDER / f"{entry['name']}.safetensors", size=entry["bytes"], sha256=entry["sha256"])
    except CorruptFile:
        return False
    return True


def missing_keys(run: Run, keys: list[ActivationKey]) -> list[ActivationKey]:
    """Keys whose moments are not on disk as they were written; a key of tokens that the run does not have is left out."""
    listed = _listed(run)
    names = [(key, key.digest(run)) for key in keys if key.entry(run) is not None]
    return [key for key, name in names if name not in listed or not _is_whole(run, listed[name])]


def write_activations(run: Run, key: ActivationKey, moments: ActivationMoments) -> None:
    """Write the moments of a key; on return they are durable.

    Raises
    ------
    OutputError
    """
    links = [link_fields(link) for link in moments.input_map.links]
    arrays = {"cross_error": moments.cross_error, "error": pack(moments.error), "noise_power": moments.noise_power}
    arrays |= {f"link {index}": np.asarray(link.array) for index, link in enumerate(links) if link.array is not None}
    facts = {
        "links": [[link.kind, dict(link.rest)] for link in links],
        "columns": moments.input_map.columns,
        "grid": grid_fields(moments.grid),
        "tokens": moments.tokens,
        "dropped_tokens": moments.dropped_tokens,
        "input": moments.name,
    }
    name = key.digest(run)
    written = write_arrays(run.path / FOLDER / f"{name}.safetensors", arrays, {"rdtools": json.dumps(facts)})
    _list(run, {"name": name, "bytes": written.bytes, "sha256": written.sha256})


def write_failure(run: Run, key: ActivationKey, reason: str) -> None:
    """Note why there are no moments of a key: the rows that need them say it, and the next pass tries again.

    Raises
    ------
    OutputError
    """
    _list(run, {"name": key.digest(run), "failed": reason})


def _list(run: Run, entry: Mapping[str, Any]) -> None:
    """Put an entry in the list, in place of an older one of its name."""
    others, path = [old for old in _listed(run).values() if old["name"] != entry["name"]], run.path / LIST
    line, text = checked_line(entry), b"".join(map(checked_line, others))
    if not path.is_file() or path.read_bytes() != text:  # torn, or with an older file of this name
        write_atomically(path, text + line)
        return
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; free some space, then run again") from error


def reference_moment(run: Run, key: ActivationKey) -> Float64Array:
    """(n, n), E[x xᵀ] over the tokens of a key that has some."""
    if key.tokens == "calibration":
        return np.asarray(run.hessian(key.hessian).matrix)
    heldout = run.heldout(key.hessian)
    assert heldout is not None  # as the entry is
    return unpack(heldout.read(0, heldout.columns * (heldout.columns + 1) // 2), name=heldout.name)


def read_activations(run: Run, key: ActivationKey) -> ActivationMoments | None:
    """The moments of a key; None for held-out ones of an input that no held-out token reached, or of a run without held-out tokens.

    Raises
    ------
    UsageError
        If they have not been made; the message says what makes them, or why they could not be.
    CorruptFile
    """
    entry = key.entry(run)
    if entry is None:
        return None
    name = key.digest(run)
    listed = _listed(run).get(name)
    if listed is not None and "failed" in listed:
        raise UsageError(listed["failed"])
    if listed is None:
        raise UsageError(
            f"{run.path}: no moments of {key.tokens} activations of {entry.name} on {key.grid} behind the map {key.map_key!r}; they take a "
            f"further pass of the model: rdtools report with this method and the run's own model and data, --out {run.path}, makes them"
        )
    path = run.path / FOLDER / f"{name}.safetensors"
    check_file(path, size=listed["bytes"], sha256=listed["sha256"])
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["rdtools"])
            arrays = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118  (no mapping)
        links = [link_of(LinkFields(kind, arrays.get(f"link {i}"), rest)) for i, (kind, rest) in enumerate(facts["links"])]
        error = check_moment(unpack(arrays["error"], name=str(path)), name=str(path), recorded=True)
        return ActivationMoments(
            reference_moment(run, key),
            arrays["cross_error"],
            error,
            arrays["noise_power"],
            InputMap(links, columns=facts["columns"]),
            ActivationGrid(**facts["grid"]),
            facts["tokens"],
            facts["dropped_tokens"],
            facts["input"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error_:
        raise CorruptFile(f"{path}: no moments of quantized activations of rdtools ({error_}); delete it and report again") from error_
