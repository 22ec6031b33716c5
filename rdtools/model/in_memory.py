"""Models and tokens that a notebook holds, as the files and records that a capture reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.errors import BadTokens, UsageError, WrongType
from rdtools.files import sha256_of_file
from rdtools.model.checkpoint import Checkpoint, open_checkpoint
from rdtools.model.tokens import Tokens

#: Folder of a run directory with the files of a model that was given in memory.
MODEL = "model"
_SOURCE = "tokens in memory"


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def save_model(model: Any, out: Path) -> Checkpoint:
    """The files of a loaded model, in a folder of its name under ``model`` of a run directory, in the dtype that its weights have now.

    What is there is kept if it is the same, so that a capture can go on.

    Raises
    ------
    WrongType
        For anything that is no model of transformers.
    UsageError
        If the folder holds another model.
    ModelUnreadable, CorruptFile
        As `rdtools.model.checkpoint.open_checkpoint`.
    """
    if isinstance(model, type) or not (hasattr(model, "config") and callable(getattr(model, "save_pretrained", None))):
        raise WrongType(
            f"collect: got {type(model).__name__} as model, expected 'embedded', the path of a model, a hub id or a loaded model of "
            "transformers; for other modules: Layer.from_activations(weight, inputs)"
        )
    from rdtools.model.pretrained import write_model  # loads transformers, as the caller has

    name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__).rstrip("/").rpartition("/")[2]
    target = out / MODEL / name
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".rdtools-model-", dir=out.parent))
    try:
        write_model(model, scratch)
        if target.exists() and _hashes(target) != _hashes(scratch):
            raise UsageError(f"{target}: holds other weights than the model that was given; choose another directory, or delete this one")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch.chmod(0o755)
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return open_checkpoint(target)


def _sequence(ids: Any) -> np.ndarray[Any, Any]:
    """Whole numbers as an array of one or two dimensions."""
    if hasattr(ids, "detach"):  # a tensor, perhaps on a device
        ids = ids.detach().cpu().numpy()
    try:
        array = np.asarray(ids)
    except ValueError:  # rows of several lengths
        array = np.array(None)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.size == 0:
        raise BadTokens(
            f"{_SOURCE}: {type(ids).__name__} of shape {array.shape} and dtype {array.dtype}, expected whole numbers (sequences, length), "
            "or sequences of any length"
        )
    return array.astype(np.int64)


def _rows(source: Any) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Ids and mask of every sequence."""
    if isinstance(source, Mapping):
        if "input_ids" not in source:
            raise BadTokens(f"{_SOURCE}: a mapping with {', '.join(map(str, source)) or 'nothing'}, expected 'input_ids'")
        ids = np.atleast_2d(_sequence(source["input_ids"]))
        mask = source.get("attention_mask")
        keep = np.ones_like(ids, dtype=bool) if mask is None else np.atleast_2d(_sequence(mask)).astype(bool)
        if keep.shape != ids.shape:
            raise BadTokens(f"{_SOURCE}: attention_mask {keep.shape} beside input_ids {ids.shape}; expected the same shape")
        return list(zip(ids, keep, strict=True))
    if hasattr(source, "shape"):
        return [(row, np.ones(len(row), dtype=bool)) for row in np.atleast_2d(_sequence(source))]
    if isinstance(source, str | bytes) or not isinstance(source, Iterable):
        raise WrongType(
            f"collect: got {type(source).__name__} as tokens, expected ids (sequences, length), or a CalibrationRequest with files"
        )
    items = list(source)
    if not items or isinstance(items[0], Number):
        return [(row, np.ones(len(row), dtype=bool)) for row in np.atleast_2d(_sequence(items))]
    return [row for item in items for row in _rows(item)]


def tokens_of(given: Any) -> Tokens:
    """Token ids that are at hand.

    Parameters
    ----------
    given : array or tensor (sequences, length), a mapping with ``input_ids`` and perhaps ``attention_mask`` such as a tokenizer's answer,
        or an iterable of these, such as a data loader or a list of sequences of any lengths

    Raises
    ------
    BadTokens, WrongType

    Examples
    --------
    >>> tokens_of([[1, 2, 3], [4]]).mask.tolist()
    [[True, True, True], [True, False, False]]
    """
    rows = _rows(given)
    longest = max(len(ids) for ids, _ in rows)
    ids, mask = np.zeros((len(rows), longest), dtype=np.int64), np.zeros((len(rows), longest), dtype=bool)
    for number, (sequence, keep) in enumerate(rows):
        ids[number, : len(sequence)], mask[number, : len(sequence)] = sequence, keep
    return Tokens(ids, mask, _SOURCE, "" if mask.all() else "sequences that are shorter, or their attention_mask")
