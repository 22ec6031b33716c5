"""A saved quantized model in a format of others, beside its dense checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.errors import OutputError, RateUnreachable, UsageError
from rdtools.files import write_atomically
from rdtools.foreign.packing_export import library, packed_layer, packed_tensors, quantization_config
from rdtools.jobs.progress import log_sentence
from rdtools.jobs.recipes import Recipe
from rdtools.methods import format_method
from rdtools.model.checkpoint import EMBEDDED, Checkpoint, find_model, open_checkpoint
from rdtools.moments.layer import Layer
from rdtools.records import Hessian
from rdtools.runs.saved import SavedModel, decoded_layer, read_saved

#: Names of formats.
COMPRESSED_TENSORS = "compressed-tensors"
FORMATS = (COMPRESSED_TENSORS,)
#: Rows and columns of the layer that a method is tried on before a model is quantized.
_TRIAL = (64, 256)


def check_export(export: str, recipe: Recipe) -> None:
    """Refuse a format that is not there, or that has no place for what a method gives, before a model is quantized.

    Parameters
    ----------
    export : name of the format
    recipe : of the model that is to be quantized

    Raises
    ------
    UsageError, MissingPackage
    """
    if export not in FORMATS:
        raise UsageError(f"`export` {export!r}: expected {' or '.join(FORMATS)}")
    library()
    input_ = Hessian(np.eye(_TRIAL[1]), 0, name="a trial input", mean=np.zeros(_TRIAL[1]))
    layer = Layer.of(np.random.default_rng(0).standard_normal(_TRIAL), input_, name="a trial layer")
    for quantizer in recipe.quantizers:
        try:
            answer = quantizer.quantize(layer)
        except RateUnreachable:
            continue  # of this layer, or refused by the quantization itself
        packed_layer(answer.weight, name=format_method(quantizer))


def export_saved(folder: Path, *, say: Callable[[str], None] = log_sentence) -> Path:
    """Write the weights of a saved model as compressed-tensors packs them, into a directory of its own that transformers loads.

    The integers are those of the coded files; decompressed by the library, whose products are bfloat16 as the scales are, they are the
    weights of the dense checkpoint to the bit.

    Parameters
    ----------
    folder : of the saved model
    say : called with the sentence that says where

    Returns
    -------
    The directory, ``compressed-tensors`` in the saved model's.

    Raises
    ------
    UsageError
        If a layer has no place in the format; the message names it. Nothing is written.
    MissingPackage, CorruptFile, OutputError
    """
    library()
    saved = read_saved(folder)
    for entry in saved.layers:
        captured = entry.layer.captured
        if captured.transposed or captured.rows is not None or captured.outputs is not None or not captured.tensor.endswith(".weight"):
            raise UsageError(
                f"{captured.name}: a part of the tensor {captured.tensor}, or transposed in it, which compressed-tensors cannot hold in "
                "place; use the dense checkpoint"
            )
        packed_layer(decoded_layer(folder, entry), name=captured.name)
    path, work = folder / COMPRESSED_TENSORS, folder / f"{COMPRESSED_TENSORS}.unfinished"
    shutil.rmtree(work, ignore_errors=True)
    original = find_model(EMBEDDED) if saved.original.directory is None else open_checkpoint(Path(saved.original.directory))
    try:
        work.mkdir()
        size = _write(original, work, folder, saved)
        shutil.rmtree(path, ignore_errors=True)
        work.rename(path)
    except OSError as error:
        raise OutputError(f"{work}: cannot be written: {error.strerror}; free some space or choose another place") from error
    say(f"{path}: compressed-tensors, pack-quantized, {8 * size / saved.weights:.4f} bits per quantized weight")
    return path


def _write(original: Checkpoint, work: Path, folder: Path, saved: SavedModel) -> int:
    """All files; returns the bytes of the packed layers."""
    from rdtools.model.save import copy_other_files, save_tensors

    of = {entry.layer.captured.tensor: entry for entry in saved.layers}
    schemes: dict[str, tuple[int, int, bool]] = {}
    size = 0

    def packed(tensor: str, values: Any) -> dict[str, Any]:
        nonlocal size
        entry = of.get(tensor)
        if entry is None:
            return {tensor: values}
        stem = tensor.removesuffix(".weight")
        layer = packed_layer(decoded_layer(folder, entry), name=stem)
        schemes[stem] = layer.bits, layer.group_size, layer.zero_points is not None
        tensors = {f"{stem}.{name}": value for name, value in packed_tensors(layer).items()}
        size += sum(value.nbytes for value in tensors.values())
        return tensors

    save_tensors(original, work, packed)
    copy_other_files(original, work)
    config = json.loads((work / "config.json").read_text())
    config["quantization_config"] = quantization_config(schemes)
    write_atomically(work / "config.json", json.dumps(config, indent=2).encode())
    return size
