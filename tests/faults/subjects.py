"""Files of each kind that rdtools reads, damaged case by case; every case is drawn by its number and the seed.

A case returns what became of it and raises where a promise is broken. The promises: a damaged file is refused by a `CorruptFile` of one
line; a forged one, whose checksums agree, is refused in one line or read as what its header says.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from conftest import make_tiny_llama
from faults.limits import Case
from faults.mutations import mutated, with_one_byte
from golden_weights import FOLDER
from safetensors.numpy import save

from rdtools.coding import decode_all, fields, frames, reconstruct
from rdtools.coding.formats import word_blocks
from rdtools.errors import CorruptFile, RdtoolsError
from rdtools.jobs.report import run_report
from rdtools.model.tokens import check_tokens, load_tokens
from rdtools.records.rows import COLUMNS, CURVE_COLUMNS
from rdtools.runs.plan import read_plan
from rdtools.runs.result_files import check_results
from rdtools.runs.results import read_curves, read_results
from rdtools.runs.seal import UNSEALED, sealed
from rdtools.runs.store import open_run

#: Golden containers, between them every field of both versions.
CONTAINERS = sorted(FOLDER.glob("v*/*.bin"))


def _refused(error: RdtoolsError) -> str:
    message = str(error)
    assert "\n" not in message, message
    assert len(message) > 20, message
    return type(error).__name__


def _content(weights) -> list:
    return [reconstruct(weight) for weight in weights]


def damaged_containers(seed: int) -> Case:
    """Damage without a new checksum: whatever changes a byte is a `CorruptFile`."""
    files = [path.read_bytes() for path in CONTAINERS]
    for data in files:
        _try_decoding(data)  # compiles what decoders use

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, 1, number))
        data = files[int(generator.integers(len(files)))]
        damaged = mutated(data, generator)
        if damaged == data:
            return "unchanged"
        try:
            decode_all(damaged)
        except CorruptFile as error:
            return _refused(error)
        raise AssertionError("accepted")

    return case


class _Agrees:
    """A checksum that is the stored one, whatever that is: what a forger's arithmetic comes to."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


#: Where containers are compared with their checksums.
CHECKERS = (fields, frames, word_blocks)


def _without_checksums() -> None:
    for module in CHECKERS:
        module.zlib = SimpleNamespace(crc32=lambda *_: _Agrees())


def forged_containers(seed: int) -> Case:
    """Damage with every checksum recomputed: a `CorruptFile`, or finite values of the shape in the header."""
    files = [path.read_bytes() for path in CONTAINERS]
    for data in files:
        _try_decoding(data)  # compiles what decoders use
    _without_checksums()

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, 2, number))
        forged = files[int(generator.integers(len(files)))]
        for _ in range(int(generator.integers(1, 4))):
            forged = mutated(forged, generator) or forged
        try:
            weights = decode_all(forged)
            matrices = _content(weights)
        except CorruptFile as error:
            return _refused(error)
        (columns,) = struct.unpack_from("<I", forged, 6 if forged[4] == 3 else 12)
        for weight, matrix in zip(weights, matrices, strict=True):
            assert matrix.shape == (weight.basis.rows, columns), matrix.shape
            assert np.isfinite(matrix).all(), "values that are not finite"
        return "read"

    return case


def _try_decoding(data: bytes) -> None:
    try:
        _content(decode_all(data))
    except CorruptFile:  # rotations of version 2 that cannot be rebuilt
        return


def _resealed(data: bytes) -> bytes:
    """JSON with the checksum that it has now."""
    head, mark, tail = data.rpartition(b'"sha256": "')
    return sealed(head + mark + UNSEALED.encode() + tail[64:]) if mark else data


def _with_a_field(data: bytes, generator: np.random.Generator) -> bytes:
    """JSON with another value in one field."""
    content = json.loads(data)
    parts = [content]
    for part in parts:
        parts += [value for value in (part.values() if isinstance(part, dict) else part) if isinstance(value, dict | list) and value]
    part = parts[int(generator.integers(len(parts)))]
    keys = list(part) if isinstance(part, dict) else range(len(part))
    extremes = (None, True, 0, -1, 1, 2, 7, 2**31, 2**63, 10**400, 0.5, 1e308, "", "../x", "a\x00b", "x" * 10_000, [], [7, -3], {})
    part[keys[int(generator.integers(len(keys)))]] = extremes[int(generator.integers(len(extremes)))]
    return json.dumps(content, indent=1).encode()


def _folder() -> Path:
    """A new folder, until the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="rdtools-soak-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _run() -> Path:
    """A run with a plan and tables, of a model of two blocks; every case leaves it as it was."""
    folder = _folder()
    np.save(folder / "tokens.npy", np.random.default_rng(1).integers(0, 64, (12, 16)))
    model, tokens = str(make_tiny_llama(folder / "tiny")), folder / "tokens.npy"
    run_report(model=model, tokens=tokens, methods=["rtn"], rates=[3.0], types=["q_proj"], workers=1, out=folder / "run")
    return folder / "run"


def _read_run(run: Path) -> None:
    """Every matrix of a run, of the shape that the manifest says, and finite."""
    opened = open_run(run)
    opened.check()
    for entry in opened.layers:
        layer = opened[entry.name]
        assert layer.weight.shape == tuple(entry.shape)
        assert layer.hessian.matrix.shape == (entry.shape[1], entry.shape[1])
        assert np.isfinite(layer.weight).all()
        assert np.isfinite(layer.hessian.matrix).all()


def _read_plan(run: Path) -> None:
    assert all(entry.rate_bits > 0 for entry in read_plan(run).methods)


def _read_list(run: Path) -> None:
    check_results(run)


def _read_tables(run: Path) -> None:
    table, curves = read_results(run), read_curves(run)
    assert {"schema_version", "layer", "method", "target_bpw", "status"} <= set(table.columns)
    assert len(table.columns) <= len(COLUMNS)
    assert set(CURVE_COLUMNS) <= set(curves.columns)
    assert len(table) == 2


_JSON = {"manifest.json": _read_run, "plan.json": _read_plan, "results.json": _read_list}


def _files_of_a_run(seed: int, names: dict[str, Callable[[Path], None]], *, forged: bool, kind: int) -> Case:
    run = _run()
    whole = {name: (run / name).read_bytes() for name in (*names, "results.json")}
    for read in names.values():
        read(run)

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, kind, number))
        name = list(names)[int(generator.integers(len(names)))]
        data = whole[name]
        damage = _with_a_field if name.endswith(".json") and generator.integers(2) else mutated
        damaged = damage(data, generator)
        if forged and name.endswith(".json"):
            damaged = _resealed(damaged)
        if damaged == data:
            return "unchanged"
        (run / name).write_bytes(damaged)
        if forged and not name.endswith(".json"):
            listed = json.loads(whole["results.json"])
            listed["files"][name] = {"bytes": len(damaged), "sha256": hashlib.sha256(damaged).hexdigest()}
            (run / "results.json").write_bytes(sealed(json.dumps(listed | {"sha256": UNSEALED}, indent=1).encode()))
        try:
            names[name](run)
        except RdtoolsError as error:
            if not forged and not isinstance(error, CorruptFile):
                raise
            return _refused(error)
        finally:
            (run / name).write_bytes(data)
            (run / "results.json").write_bytes(whole["results.json"])
        assert forged, f"{name} accepted"
        return "read"

    return case


_TABLES = {"results.parquet": _read_tables, "curves.parquet": _read_tables}
damaged_manifests = functools.partial(_files_of_a_run, names=_JSON, forged=False, kind=3)
forged_manifests = functools.partial(_files_of_a_run, names=_JSON, forged=True, kind=4)
damaged_tables = functools.partial(_files_of_a_run, names=_TABLES, forged=False, kind=5)
forged_tables = functools.partial(_files_of_a_run, names=_TABLES, forged=True, kind=6)


def tokens(seed: int) -> Case:
    """Token files: ids in range, or one sentence."""
    ids = np.random.default_rng(1).integers(0, 64, (12, 16))
    files = [("npy", _npy(ids.astype(dtype))) for dtype in (np.int64, np.int32, np.uint16)]
    mask = (np.arange(16) < 12) & np.ones((12, 1), dtype=bool)
    files += [("safetensors", save({"input_ids": ids, **more})) for more in ({}, {"attention_mask": mask.astype(np.int64)})]
    folder = _folder()

    def case(number: int) -> str:
        generator = np.random.default_rng((seed, 7, number))
        suffix, data = files[int(generator.integers(len(files)))]
        path = folder / f"tokens.{suffix}"
        path.write_bytes(with_one_byte(data, generator) if generator.integers(2) else mutated(data, generator))
        try:
            read = load_tokens(path)
            check_tokens(read, vocabulary=64, longest=16)
        except RdtoolsError as error:
            return _refused(error)
        kept = read.ids[read.mask]
        assert kept.size > 0
        assert kept.min() >= 0
        assert kept.max() < 64
        return "read"

    return case


def _npy(ids: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, ids)
    return file.getvalue()
