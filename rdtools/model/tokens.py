"""Calibration and evaluation tokens: from a file of tokens, from text, or from the package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import BadTokens, CorruptFile, one_line


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences of token ids.

    Attributes
    ----------
    ids : (s, t) int64
    mask : (s, t) bool, False for padding
    source : for the manifest
    padding_from : what declares the padding, for messages; empty where nothing does and every id is a token
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    source: str
    padding_from: str = ""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, padding apart."""
        return int(self.mask.sum(axis=1).max(initial=0))

    def batches(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Sequences without their padding, (b, t) of one length each, at most `size` tokens together or one sequence.

        A model that never sees padding gives what it gives for each sequence alone: absolute positions, recurrent states and the routing
        of experts cannot depend on a neighbour's length. Sequences of one length keep their order.
        """
        lengths = self.mask.sum(axis=1)
        for length in dict.fromkeys(int(n) for n in lengths if n):
            rows = np.flatnonzero(lengths == length)
            step = max(1, size // length)
            for first in range(0, len(rows), step):
                chosen = rows[first : first + step]
                yield self.ids[chosen][self.mask[chosen]].reshape(len(chosen), length)

    @property
    def sha256(self) -> str:
        """Hash of ids and mask."""
        digest = hashlib.sha256(repr(self.ids.shape).encode())
        digest.update(self.ids.astype("<i8").tobytes())
        digest.update(self.mask.tobytes())
        return digest.hexdigest()


def check_tokens(tokens: Tokens, *, vocabulary: int, longest: int | None) -> None:
    """Refuse what a model cannot read.

    Raises
    ------
    BadTokens
        If there is no token, an id outside [0, vocabulary), or too long a sequence.
    """
    ids = tokens.ids[tokens.mask]
    if ids.size == 0:
        raise BadTokens(f"{tokens.source}: no tokens; expected at least one sequence; the file is empty or all padding")
    if longest is not None and tokens.longest > longest:
        raise BadTokens(
            f"{tokens.source}: sequences of {tokens.longest} tokens, the model takes {longest}; cut the ids, or the "
            f"windows of a text with `length` {longest}"
        )
    if ids.min() < 0 or ids.max() >= vocabulary:
        negative = ids.min() < 0
        bad = int(ids.min() if negative else ids.max())
        cause = (
            "if it is padding, store an `attention_mask` beside the ids in a .safetensors file"
            if negative
            else "it was made with another tokenizer"
        )
        raise BadTokens(f"{tokens.source}: token id {bad} outside the model's vocabulary of {vocabulary}; {cause}")


def embedded_source(part: Literal["calibration", "evaluation"]) -> str:
    """Source of the tokens that come with the embedded model."""
    return f"embedded {part} tokens"


def embedded_tokens(part: Literal["calibration", "evaluation"]) -> Tokens:
    """The tokens that come with the embedded model."""
    path = Path(str(files("rdtools.data") / "default_model" / f"{part}.safetensors"))
    tokens = load_tokens(path)
    return Tokens(tokens.ids, tokens.mask, embedded_source(part), tokens.padding_from)


def load_tokens(path: Path, *, prefix: str = "") -> Tokens:
    """Token ids from a ``.npy`` array (s, t), or a ``.safetensors`` file with ``input_ids``.

    Every id is a token unless the file says otherwise: by an ``attention_mask`` beside the ids, or by ``pad_token_id`` among the
    metadata of a ``.safetensors`` file. What a model's configuration calls padding is a token wherever packed ids hold it. Messages name
    the settings with this prefix.

    Raises
    ------
    BadTokens
        For another kind of file, another shape or numbers that are not integers.
    CorruptFile
        For a truncated file, or a pickle in disguise.
    """
    if not path.is_file():
        fault = "not a file" if path.exists() else "no such file"
        raise BadTokens(f"{path}: {fault}; expected token ids in .npy or .safetensors, or use `{prefix}text`")
    mask, pad = None, None
    if path.suffix == ".npy":
        try:
            ids = np.load(path, allow_pickle=False, mmap_mode="r")
            if not isinstance(ids, np.memmap):
                raise ValueError("an archive")
            if ids.offset + ids.nbytes != path.stat().st_size:
                raise ValueError(f"{path.stat().st_size} bytes, expected {ids.offset + ids.nbytes} for {ids.dtype} numbers of {ids.shape}")
        except Exception as error:  # of a damaged header NumPy raises what its parser happens to
            raise CorruptFile(f"{path}: not a plain NumPy array ({one_line(error)}); pickles are never loaded: save integers") from error
    elif path.suffix == ".safetensors":
        from safetensors import safe_open
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            with safe_open(path, framework="np") as file:
                pad = (file.metadata() or {}).get("pad_token_id")
        except Exception as error:  # its own, and whatever NumPy says to a dtype or shape
            raise CorruptFile(f"{path}: not a whole safetensors file of integers ({one_line(error)}); write it again") from error
        if "input_ids" not in arrays:
            raise BadTokens(f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}, expected a tensor 'input_ids' (s, t)")
        ids, mask = arrays["input_ids"], arrays.get("attention_mask")
    else:
        raise BadTokens(
            f"{path}: token files are .npy or .safetensors; pickles (.pt, .pkl) could run code and are never loaded: "
            "save the ids with numpy.save"
        )
    of_one = "; of one sequence: ids[None]" if ids.ndim == 1 else ""
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise BadTokens(f"{path}: array of shape {ids.shape} and dtype {ids.dtype}, expected integers (sequences, length){of_one}")
    if mask is not None and mask.shape != ids.shape:
        raise BadTokens(f"{path}: attention_mask {mask.shape} beside input_ids {ids.shape}; expected the same shape")
    if mask is None and pad is not None:
        if not re.fullmatch(r"-?\d{1,18}", pad):
            raise BadTokens(f"{path}: pad_token_id {pad[:40]!r} among its metadata, expected one whole number; write the file again")
        return Tokens(ids.astype(np.int64), ids != int(pad), path.name, f"pad_token_id {pad} of the file")
    keep = np.ones(ids.shape, dtype=bool) if mask is None else mask.astype(bool)
    return Tokens(ids.astype(np.int64), keep, path.name, "" if mask is None else "attention_mask of the file")


def read_text(path: Path, *, hint: str = "") -> str:
    """Contents of a UTF-8 text.

    Raises
    ------
    BadTokens
        If it is missing, no regular file or not UTF-8; `hint` goes on the last of these messages.
    """
    if path.exists() and not path.is_file():
        raise BadTokens(f"{path}: not a regular file; expected plain text, which a report that goes on reads again: save it first")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadTokens(f"{path}: not UTF-8 text (byte {error.start}); expected plain text{hint}") from error
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise BadTokens(f"{path}: {what}; expected a plain text file: there are no texts by name") from error


def tokenize_text(path: Path, tokenizer: Any, *, sequences: int, length: int, prefix: str = "") -> Tokens:
    """Windows of a text: tokenized whole, cut into windows of `length`, of which `sequences` evenly spaced ones are taken.

    Fewer windows are taken if the text has no more; a text shorter than one window gives one short sequence. Messages name the settings
    with this prefix.

    Raises
    ------
    BadTokens
        If the file is missing, empty or not UTF-8 text.
    """
    text = read_text(path, hint=f"; use `{prefix}tokens` for ids")
    ids = np.asarray(tokenizer(text, verbose=False)["input_ids"], dtype=np.int64)
    if not text.strip() or ids.size == 0:
        raise BadTokens(f"{path}: empty; expected text of at least one token")
    length = min(length, ids.size)
    windows = ids[: ids.size // length * length].reshape(-1, length)
    chosen = np.unique(np.linspace(0, len(windows) - 1, min(sequences, len(windows))).round().astype(int))
    windows = windows[chosen]
    return Tokens(windows, np.ones(windows.shape, dtype=bool), path.name)
