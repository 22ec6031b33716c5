"""Quantized checkpoints of others, measured under the Hessians of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rdtools.arrays import Float64Array
from rdtools.compare import layer_facts
from rdtools.compare.foreign import foreign_row
from rdtools.errors import DataError, RdtoolsError, UsageError, counted
from rdtools.files import sole_writer
from rdtools.foreign.formats import open_foreign
from rdtools.foreign.gguf_types import named_type
from rdtools.foreign.matching import check_shape, decoded
from rdtools.foreign.stored import ForeignModel, StoredMatrix
from rdtools.jobs.selection import select_layers
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.report.figures.foreign import READS
from rdtools.runs.foreign import has_foreign, read_foreign, write_foreign
from rdtools.runs.result_files import outdated_numbers
from rdtools.runs.results import read_results
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run, open_run
from rdtools.threads import one_blas_thread


@dataclass(frozen=True, eq=False)
class Measured:
    """A foreign file that was measured.

    Attributes
    ----------
    table : its rows, see `rdtools.records.foreign_rows`
    notes : sentences for the reader
    """

    table: pd.DataFrame
    notes: tuple[str, ...]


def measure_file(
    path: str | Path,
    *,
    run: str | Path,
    layers: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Measure a quantized checkpoint of somebody else against the model and the Hessians of a run.

    Its rows replace those of the same path and layers in the run's table of foreign files, which is written once all are measured: a file
    that is refused leaves the table as it was. Where the run has a table of methods, figures/foreign.png and .pdf show both on one axis.

    Parameters
    ----------
    path : GGUF file, or directory or file of safetensors: dense, compressed-tensors, GPTQ or AWQ
    run : run directory of the original
    layers, types : as of `rdtools.jobs.selection.select_layers`
    progress : called with (matrices done, matrices in all)

    Raises
    ------
    UsageError, DataError, CorruptFile, ModelUnreadable, ShapeMismatch, NotFiniteInput, UnsupportedDtype
    MissingPackage, OutputError, Busy
    """
    opened = open_run(run)
    foreign = open_foreign(Path(path))
    chosen = select_layers(list(opened), patterns=layers, types=types)
    entries = [entry for entry in opened.layers if chosen is None or entry.name in chosen]
    matrices = [_matrix(foreign, entry) for entry in entries]  # refused before any work
    results, note = _results_beside(opened.path)
    with sole_writer(opened.path):
        before = read_foreign(opened.path) if has_foreign(opened.path) else pd.DataFrame()
        rows = []
        with one_blas_thread():
            for done, (entry, matrix) in enumerate(zip(entries, matrices, strict=True)):
                progress(done, len(entries))
                rows.append(_row(opened, foreign, entry, matrix, results))
        progress(len(entries), len(entries))
        table = pd.DataFrame(rows)
        if len(before):
            again = (before["file"] == str(foreign.path)) & before["layer"].isin(table["layer"])
            before = before[~again]
        every = pd.concat([before, table], ignore_index=True) if len(before) else table
        write_foreign(every, opened.path)
        figure = None if results is None else _draw(every, results, opened.path)
    drawn = "" if figure is None else f"files of others and methods of the run on one axis: {figure}"
    return Measured(table, tuple(filter(None, (_summary(foreign, table), note, drawn))))


def _draw(table: pd.DataFrame, results: pd.DataFrame, folder: Path) -> Path:
    """Draw the figure of foreign files; returns the PNG."""
    from rdtools.report.figures import foreign, save_figure
    from rdtools.report.figures.canvas import styled

    with styled():
        return save_figure(foreign.draw(table, results), folder / "figures" / "foreign")


def _matrix(foreign: ForeignModel, entry: LayerEntry) -> StoredMatrix:
    """The matrix of a layer, if its type is known and its shape that of the layer."""
    matrix = foreign.find(entry.name, entry.tensor)
    if not matrix.bits.total:
        next(iter(matrix.readings.values()))()  # says why it is not read
    check_shape(matrix, entry.captured)
    return matrix


def _row(run: Run, foreign: ForeignModel, entry: LayerEntry, matrix: StoredMatrix, results: pd.DataFrame | None) -> dict[str, object]:
    layer = run[entry.name]
    values, reading = decoded(matrix, entry.captured, layer.weight)
    facts = layer_facts(layer, run.heldout(entry.hessian))
    run.keep_spectrum(entry.hessian)
    bias, bits = _bias(run.checkpoint(), entry.captured, matrix, reading)
    return foreign_row(
        layer, facts, entry.captured, foreign, matrix, values, reading=reading, results=results, bias=bias, bias_bits=bits
    ).to_row()


def _bias(checkpoint: Checkpoint, layer: CapturedLayer, matrix: StoredMatrix, reading: str) -> tuple[Float64Array | None, float]:
    """Numbers that a foreign file's bias adds to a layer's outputs beyond the original's own, None for nothing, and bits of a new one.

    A file without one has none, whatever its format: that of the original, if there is one, is then taken away.

    Raises
    ------
    DataError
        For one that is not of the layer, or not finite.
    """
    name = f"{layer.tensor.removesuffix('weight')}bias"
    stored = checkpoint.read(name) if name in checkpoint.shard_of else None
    if layer.rows is not None or (matrix.bias is None and stored is None):
        return None, 0.0
    rows = checkpoint.shapes[layer.tensor][-1 if layer.transposed else 0]
    values = np.zeros(rows) if matrix.bias is None else np.asarray(matrix.bias(reading), dtype=np.float64)
    if values.shape != (rows,) or not np.isfinite(values).all():
        raise DataError(
            f"{matrix.label}: a bias of shape {values.shape} beside it, expected {rows} finite numbers: a file of another model?"
        )
    difference = (values if stored is None else values - stored)[slice(None) if layer.outputs is None else slice(*layer.outputs)]
    share = len(difference) / rows
    return (difference if difference.any() else None), 0.0 if stored is not None else matrix.bias_bits * share


def _results_beside(folder: Path) -> tuple[pd.DataFrame | None, str]:
    """The table of a run, or why its methods are not put beside."""
    try:
        table, outdated = read_results(folder, READS), outdated_numbers(folder)
        return (None, f"no method of the run is put beside: {outdated}") if outdated else (table, "")
    except UsageError:
        return None, f"{folder} has no table of methods yet; rdtools report writes it, and measuring again puts the best beside"
    except RdtoolsError as error:
        return None, f"no method of the run is put beside: {error}"


def _summary(foreign: ForeignModel, table: pd.DataFrame) -> str:
    """A sentence on what the file holds in all, beside what its name says."""
    weights = (table["rows"] * table["columns"]).to_numpy(dtype=float)
    held = float((table["total_bpw"].to_numpy() * weights).sum() / weights.sum())
    kinds = ", ".join(f"{kind} × {number}" for kind, number in table["stored_type"].value_counts().items())
    sentence = f"{foreign.path.name}: {held:.4g} bpw stored in {counted(len(table), 'matrix', 'matrices')} ({kinds})"
    named, fallen = named_type(foreign.named_type), int(table["fallback"].sum())
    if named is not None:
        sentence += f"; its name says {named.name}, {named.bpw:.4g} bpw"
    return sentence + (f"; {fallen} fell back to another type because of their shape" if fallen else "")
