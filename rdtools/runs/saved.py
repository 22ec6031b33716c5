"""A quantized model on disk: a checkpoint that transformers loads, and the coded files that it was decoded from.

    config.json, tokenizer, *.safetensors    the checkpoint: quantized layers in bfloat16, everything else as the original has it
    containers/0000.rdq                      the coded file of each quantized layer; their bytes are the reported rate
    quantization.json                        original, data, method, every layer, and size and SHA-256 of every file; sealed
    layers.csv                               the layers' columns as a table

A directory without ``quantization.json`` is no quantized model. While it is made everything is elsewhere, see `rdtools.runs.unfinished`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from rdtools.arrays import Float64Array
from rdtools.coding import MAX_WEIGHTS, decode_all, reconstruct
from rdtools.errors import CorruptFile, UsageError
from rdtools.files import check_file, write_atomically
from rdtools.records import QuantizedWeight
from rdtools.records.stored import round_to_stored
from rdtools.runs.allocations import Allocation
from rdtools.runs.run_manifest import CalibrationEntry, FileEntry, LayerEntry, ModelEntry, unfinished_note
from rdtools.runs.seal import UNSEALED, Sealed, read_sealed, sealed

SAVED, CONTAINERS, LAYERS = "quantization.json", "containers", "layers.csv"
#: Whose inputs the Hessians are of: the original's, or those of the model whose earlier layers are quantized.
HessianKind = Literal["original", "sequential"]
_AGAIN = "quantize the model again into another directory"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SavedLayer(FileEntry):
    """A quantized layer: its coded file, and its distortion before and after its weights were rounded to bfloat16.

    Distortions are tr(E H Eᵀ)/(m n) with the H of the inputs that the layer has, `relative` over that of all weights zero. With a
    correction that compares both models, `output_error` is E‖W x − Ŵ x̂‖²/(m n) with weights in bfloat16, which `relative_output_error`
    divides by E‖W x‖²/(m n); `mixture` has the shares of `rdtools.corrections.mixing.Mixture`, `rescaled` says which scales were stored.
    A file may have several matrices, of which this is the one at `place`.
    """

    layer: LayerEntry
    file: str
    place: int = 0
    container_layers: int = 1
    total_bpw: float
    distortion: float
    relative_distortion: float
    rounded_distortion: float
    rounded_relative_distortion: float
    damping: float
    n_tokens: int
    seconds: float
    output_error: float | None = None
    relative_output_error: float | None = None
    mixture: list[float] | None = None
    rescaled: str = "none"


class SavedModel(_Entry, Sealed):
    """Contents of ``quantization.json``."""

    format: Literal["rdtools-quantized"] = "rdtools-quantized"
    version: Literal[1] = 1
    created: str
    versions: dict[str, str]
    numbers: int
    original: ModelEntry
    calibration: CalibrationEntry
    method: str
    settings: str
    rate_bits: Annotated[float, Field(gt=0)]
    allocation: Allocation | None = None
    seed: int
    hessians: HessianKind
    corrections: list[str] = []
    head: str
    layers: Annotated[list[SavedLayer], Field(min_length=1)]
    files: dict[str, FileEntry]
    sha256: str = UNSEALED

    @property
    def weights(self) -> int:
        """Weights in quantized layers."""
        return sum(m * n for m, n in (entry.layer.shape for entry in self.layers))

    @property
    def total_bpw(self) -> float:
        """Bits of all coded files over the weights in them."""
        return 8 * sum({entry.file: entry.bytes for entry in self.layers}.values()) / self.weights

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the result, by the names that a message gives it."""
        return identity_of(
            numbers=self.numbers,
            original=self.original,
            token_sha256=self.calibration.token_sha256,
            settings=self.settings,
            rate_bits=self.rate_bits,
            hessians=self.hessians,
            corrections=self.corrections,
            seed=self.seed,
        )


def identity_of(
    *,
    numbers: int,
    original: ModelEntry,
    token_sha256: str,
    settings: str,
    rate_bits: float,
    hessians: HessianKind,
    corrections: Sequence[str],
    seed: int,
) -> dict[str, object]:
    """Everything that decides a quantized model, by the names that a message gives it."""
    return {
        "version of numbers": numbers,
        "model files": {name: file.sha256 for name, file in original.files.items()},
        "calibration tokens": token_sha256,
        "method": settings,
        "bits": rate_bits,
        "`hessians`": hessians,
        "`corrections`": list(corrections),
        "seed": seed,
    }


def is_saved(folder: Path) -> bool:
    """True for a directory with a quantized model."""
    return (folder / SAVED).is_file()


def read_saved(folder: Path) -> SavedModel:
    """Facts that a directory states of its quantized model.

    Raises
    ------
    UsageError
        If it holds none.
    CorruptFile
    """
    if not is_saved(folder):
        remedy = f"{unfinished_note(folder)}rdtools quantize --save makes one"
        raise UsageError(f"{folder}: no {SAVED}, so no quantized model of rdtools; {remedy}")
    return read_sealed(folder / SAVED, SavedModel, remedy=_AGAIN, other_version=_AGAIN)


def write_saved(folder: Path, saved: SavedModel) -> None:
    """Write ``quantization.json``, whole or not at all."""
    write_atomically(folder / SAVED, sealed(saved.model_dump_json(indent=1).encode()))


def decoded_layer(folder: Path, entry: SavedLayer) -> QuantizedWeight:
    """The contents of the coded file of a layer.

    Raises
    ------
    CorruptFile
        If the file is missing, altered, or has fewer matrices.
    """
    path = folder / entry.file
    _check(path, entry)
    matrices = decode_all(path.read_bytes(), name=str(path), max_weights=MAX_WEIGHTS)
    if entry.place >= len(matrices):
        raise CorruptFile(f"{path}: holds {len(matrices)} matrices, expected {entry.layer.name} behind {entry.place} of them; {_AGAIN}")
    return matrices[entry.place]


def decoded_bias(folder: Path, entry: SavedLayer) -> Float64Array | None:
    """(m,) the bias in a coded file, numbers of bfloat16; None without one.

    Raises
    ------
    CorruptFile
        As `decoded_layer`.
    """
    bias = decoded_layer(folder, entry).parts.bias
    return None if bias is None else bias.values


def decoded_weight(folder: Path, entry: SavedLayer) -> Float64Array:
    """Ŵ (m, n) of a coded file, rounded to bfloat16: the weight that the checkpoint holds, to the bit.

    Raises
    ------
    CorruptFile
        If the file is missing, altered, or of another shape.
    """
    weight, shape = reconstruct(decoded_layer(folder, entry)), tuple(entry.layer.shape)
    if weight.shape != shape:
        raise CorruptFile(
            f"{folder / entry.file}: decodes to {weight.shape}, expected the {tuple(entry.layer.shape)} of {entry.layer.name}"
        )
    return round_to_stored(weight, "bfloat16", name=entry.layer.name)


def _check(path: Path, file: FileEntry) -> None:
    try:
        check_file(path, size=file.bytes, sha256=file.sha256)
    except CorruptFile as error:
        raise CorruptFile(f"{str(error).rpartition(';')[0]}; {_AGAIN}") from error


def check_saved(folder: Path, saved: SavedModel) -> None:
    """Compare every file with its hash.

    Raises
    ------
    CorruptFile
    """
    for name, file in saved.files.items():
        _check(folder / name, file)
    for entry in saved.layers:
        _check(folder / entry.file, entry)


def layer_table(saved: SavedModel) -> pd.DataFrame:
    """A row for each quantized layer: its rate, and its distortion before and after the rounding to bfloat16."""
    rows = [
        {
            "layer": entry.layer.name,
            "rows": entry.layer.shape[0],
            "columns": entry.layer.shape[1],
            **entry.model_dump(exclude={"layer"}),
        }
        for entry in saved.layers
    ]
    table = pd.DataFrame(rows)
    table["rounding_share"] = table["rounded_distortion"] / table["distortion"].replace(0.0, np.nan) - 1
    return table
