"""Hessians of others, and of several runs, as one run; and what a file or a run holds."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.errors import DataError, UsageError, counted
from rdtools.files import atomic_path, sha256_of_file
from rdtools.foreign.hessian_formats import Counts, Hessians, open_hessians
from rdtools.foreign.names import canonical
from rdtools.machine import check_disk
from rdtools.model.checkpoint import find_model
from rdtools.moments.spectrum import spectrum_of
from rdtools.records import Hessian
from rdtools.runs.finished import check_run_directory
from rdtools.runs.run_manifest import (
    IMPORTED,
    MERGED,
    CalibrationEntry,
    Manifest,
    describe_model,
    fingerprint,
    is_run,
    write_manifest,
)
from rdtools.runs.store import Run, open_run
from rdtools.runs.writer import RunWriter

#: Mean squares of one input in two entries of a file differ by no more.
_SAME = 1e-5


def _new_directory(out: Path) -> None:
    check_run_directory(out)
    if is_run(out):
        raise UsageError(f"{out}: holds a run; choose another directory")


def _hash_of(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return hashlib.sha256("".join(sha256_of_file(file) for file in files).encode()).hexdigest()


def _of_input(hessians: Hessians, names: Sequence[str], columns: int, path: Path) -> Hessian:
    """The Hessian of an input, by the layers that read it.

    Raises
    ------
    DataError
        If the file has none, one of another size, or different ones for two layers.
    """
    named = [(name, hessians[canonical(name)]()) for name in names if canonical(name) in hessians]
    if not named:
        raise DataError(f"{path}: no Hessian of {names[0]}; of another model, or unfinished: give a file with one for every input")
    for name, hessian in named:
        if len(hessian.matrix) != columns:
            raise DataError(f"{path}: the Hessian of {name} is of {len(hessian.matrix)} inputs, the layer has {columns}; of another model")
    (first, reference), *others = named
    for name, other in others:
        if np.abs(other.matrix - reference.matrix).max() > _SAME * np.abs(reference.matrix).max():
            raise DataError(f"{path}: {first} and {name} read the same input, and their Hessians differ; of another model, or of two files")
    return reference


def import_hessians(
    path: str | Path,
    source: str,
    *,
    out: str | Path,
    format: str | None = None,
    samples: int | None = None,
    sample_tokens: int | None = None,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """A run from Hessians that others collected, converted to E[x xᵀ], uncentred mean over tokens, without factor 2, and marked.

    Parameters
    ----------
    path : QuIP#'s directory, GPTQ's file, or an importance matrix of llama.cpp
    source : the model, as of `collect`
    out : run directory, new or empty
    format : "quip", "gptq" or "imatrix"; None to tell by the names
    samples, sample_tokens : what GPTQ's mean is over, and the tokens of each sample or chunk, where the file does not say
    trust_remote_code : run code that comes with the model

    Raises
    ------
    UsageError, DataError, CorruptFile, ModelUnreadable, OutputError
    """
    from rdtools.model.opened import open_model
    from rdtools.model.versions import versions

    source_path, out = Path(path), Path(out)
    _new_directory(out)
    hessians = open_hessians(source_path, Counts(samples, sample_tokens), format)
    checkpoint = find_model(source, with_code=trust_remote_code)
    layers = open_model(checkpoint, trust_remote_code=trust_remote_code, say=say).layers
    model, digest = describe_model(checkpoint, source=source), _hash_of(source_path)
    first = _of_input(hessians, [layer.name for layer in layers.inputs[0].layers], layers.inputs[0].columns, source_path)
    calibration = CalibrationEntry(
        source=f"{source_path.name}, {first.origin}",
        sequences=samples or 1,
        length=sample_tokens or max(1, first.n_tokens),
        padding=0,
        token_sha256=digest,
        trust_remote_code=trust_remote_code,
        runner=IMPORTED,
    )
    check_disk(out, sum(4 * shared.columns * (shared.columns + 1) for shared in layers.inputs), counted(len(layers.inputs), "Hessian"))
    names = [[layer.name for layer in shared.layers] for shared in layers.inputs]
    for shared, of in zip(layers.inputs, names, strict=True):  # refused before anything is written
        _of_input(hessians, of, shared.columns, source_path)
    writer = RunWriter(out, fingerprint(model, calibration, capture=None))
    for index, (shared, of) in enumerate(zip(layers.inputs, names, strict=True)):
        hessian = _of_input(hessians, of, shared.columns, source_path)
        counts = (hessian.n_tokens, hessian.dropped_tokens, shared.name, hessian.mean)
        writer.add(Hessian(hessian.matrix, *counts, origin=hessian.origin, diagonal=hessian.diagonal), index)
    sizes = {name: getattr(layers, name) for name in ("parameters", "analysed", "head", "head_parameters")}
    groups = {shared.name: shared.layers for shared in layers.inputs}
    entry = model.model_copy(update={**sizes, "uncovered": list(layers.uncovered)})
    return writer.finish(checkpoint, groups, model=entry, calibration=calibration, versions=versions())


def merge_runs(paths: Sequence[str | Path], *, out: str | Path) -> Run:
    """One run from runs of one model over different tokens: its Hessians are those of all tokens together.

    Σ = Σ_i n_i Σ_i / Σ_i n_i, means likewise. Copies of tokens are known within each run alone, so that the sum of their distinct tokens
    may be too large. Held-out moments are those of the runs that have some.

    Parameters
    ----------
    paths : run directories, two at least
    out : run directory, new or empty

    Raises
    ------
    UsageError
        If they are of different models, share tokens, or were held out on different ones; the message names them.
    CorruptFile, OutputError
    """
    out = Path(out)
    _new_directory(out)
    runs = [open_run(path) for path in paths]
    if len(runs) < 2:
        raise UsageError(f"{len(runs)} run to merge, expected two or more")
    _check_parts(runs)
    first = runs[0].manifest
    tokens = [run.manifest.calibration for run in runs]
    calibration = tokens[0].model_copy(
        update={
            "source": "; ".join(entry.source for entry in tokens),
            "sequences": sum(entry.sequences for entry in tokens),
            "length": max(entry.length for entry in tokens),
            "padding": sum(entry.padding for entry in tokens),
            "token_sha256": hashlib.sha256("".join(entry.token_sha256 for entry in tokens).encode()).hexdigest(),
            "runner": MERGED,
            "parts": [digest for entry in tokens for digest in entry.passes],
        }
    )
    check_disk(out, sum(entry.bytes for entry in first.hessians), counted(len(first.hessians), "Hessian"))
    writer = RunWriter(out, fingerprint(first.model, calibration, capture=first.capture))
    for index in range(len(first.hessians)):
        writer.add(_weighted([run.hessian(index) for run in runs]), index)
    groups = {
        entry.name: [layer.captured for layer in first.layers if layer.hessian == index] for index, entry in enumerate(first.hessians)
    }
    merged = writer.finish(runs[0].checkpoint(), groups, model=first.model, calibration=calibration, versions=first.versions)
    held = next((run for run in runs if run.manifest.heldout is not None), None)
    if held is None:
        return merged
    for entry in held.manifest.heldout.hessians if held.manifest.heldout else ():
        with atomic_path(out / entry.file) as scratch:
            shutil.copyfile(held.path / entry.file, scratch)
    write_manifest(out, merged.manifest.model_copy(update={"heldout": held.manifest.heldout}))
    return open_run(out)


def _check_parts(runs: Sequence[Run]) -> None:
    def identity(manifest: Manifest) -> dict[str, object]:
        facts = fingerprint(manifest.model, manifest.calibration, capture=manifest.capture)
        inputs = [(entry.name, entry.columns, entry.diagonal) for entry in manifest.hessians]
        return {**{name: value for name, value in facts.items() if name != "calibration tokens"}, "inputs": inputs}

    first = runs[0]
    for run in runs[1:]:
        actual, expected = identity(run.manifest), identity(first.manifest)
        names = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
        if names:
            raise UsageError(
                f"{run.path} and {first.path}: other {' and '.join(names)}; runs of one model and one rdtools alone can be merged"
            )
    seen: dict[str, Run] = {}
    for run in runs:
        for digest in run.manifest.calibration.passes:  # of a run that was merged, those of its parts
            if digest in seen:
                raise UsageError(
                    f"{run.path} and {seen[digest].path}: of the same calibration tokens, which would count twice; leave one of them out"
                )
        seen |= dict.fromkeys(run.manifest.calibration.passes, run)
        empty = next((entry for entry in run.hessians if entry.n_tokens == 0 and entry.distinct_tokens != 0), None)
        if empty is not None:
            raise UsageError(
                f"{run.path}: {empty.name} does not say of how many tokens it is, so that it has no weight in a mean; leave it out"
            )
    heldout = {run.manifest.heldout.tokens.token_sha256 for run in runs if run.manifest.heldout is not None}
    if len(heldout) > 1:
        raise UsageError(
            f"{', '.join(str(run.path) for run in runs)}: held out on different tokens; collect them with the same, or with none"
        )


def _weighted(parts: Sequence[Hessian]) -> Hessian:
    """The Hessian over the tokens of several."""
    total = sum(part.n_tokens for part in parts)
    shares = [part.n_tokens / max(total, 1) for part in parts]

    def mean(name: str) -> np.ndarray | None:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else sum(share * array for share, array in zip(shares, arrays, strict=True))

    distinct = [part.distinct_tokens for part in parts]
    return Hessian(
        np.asarray(mean("matrix")),
        total,
        sum(part.dropped_tokens for part in parts),
        parts[0].name,
        mean("mean"),
        None if None in distinct else sum(number or 0 for number in distinct),
        mean("output_variances"),
        mean("output_means"),
        parts[0].origin,
        parts[0].diagonal,
    )


def _all_hessians(path: Path, counts: Counts, format: str | None) -> Iterator[tuple[str, Hessian]]:
    if is_run(path):
        run = open_run(path)
        yield from ((entry.name, run.hessian(index)) for index, entry in enumerate(run.hessians))
        return
    for name, read in open_hessians(path, counts, format).items():
        yield name, read()


def inspect_hessians(
    path: str | Path, *, format: str | None = None, samples: int | None = None, sample_tokens: int | None = None
) -> pd.DataFrame:
    """Describe the Hessians of a run, or of a file of others, in one row each.

    Columns: name, origin, kind ("full" or "diagonal"), columns, tokens, distinct_tokens, mean_square (tr H/n), active (columns), rank,
    condition (largest eigenvalue over the smallest that counts), top_eigenvalue_fraction, and mean_fraction (‖E[x]‖²/tr H; nan without
    a mean).

    Parameters
    ----------
    path : run directory, or as of `import_hessians`
    format, samples, sample_tokens : as of `import_hessians`

    Raises
    ------
    UsageError, DataError, CorruptFile
    """
    rows = []
    for name, hessian in _all_hessians(Path(path), Counts(samples, sample_tokens), format):
        spectrum, trace = spectrum_of(hessian), float(np.trace(hessian.matrix))
        positive = spectrum.eigenvalues[: spectrum.rank]
        mean = hessian.mean
        rows.append(
            {
                "name": name,
                "origin": hessian.origin or "rdtools",
                "kind": "diagonal" if hessian.diagonal else "full",
                "columns": spectrum.columns,
                "tokens": hessian.n_tokens,
                "distinct_tokens": hessian.distinct_tokens,
                "mean_square": trace / spectrum.columns,
                "active": spectrum.active,
                "rank": spectrum.rank,
                "condition": float(positive[0] / positive[-1]) if len(positive) else float("nan"),
                "top_eigenvalue_fraction": float(positive[0] / trace) if len(positive) else float("nan"),
                "mean_fraction": float("nan") if mean is None or not trace else float(mean @ mean) / trace,
            }
        )
    return pd.DataFrame(rows)
