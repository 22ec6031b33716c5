"""The original's predictions in a file: the logits of its most probable tokens, and the mass of all others together.

KL and total variation between predictions whose improbable tokens count as one are at most those between the whole predictions (data
processing), and grow to them with the number of tokens that are told apart. So from such a file KL is a lower bound and acceptance an upper
bound, while perplexity and agreement are exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rdtools.errors import CorruptFile, UsageError, one_line
from rdtools.evaluation.scores import ROWS, TokenScores, check_finite, compare, predictions
from rdtools.files import atomic_path, check_output_file

#: Tokens that are told apart where no number is given, and bytes of the numbers in a file, which are in memory until it is written.
TOP, MOST_BYTES = 1024, 2**30
_FORMAT = "rdtools-reference 1"
_AGAIN = "choose another file, or remove it and it is made again"


@dataclass(frozen=True, eq=False)
class TopPredictions:
    """Predictions of t tokens by their k most probable ones.

    Attributes
    ----------
    places, logits : (t, k) int32 and float32, of the most probable tokens
    normalizer : (t,) float64, log Σ exp over all logits
    log_rest : (t,) float64, log of the probability of all other tokens together; −∞ where there are none
    nll : (t,) float64, −ln p of the token that came
    best : (t,) int32, the most probable token
    """

    places: NDArray[np.int32]
    logits: NDArray[np.float32]
    normalizer: NDArray[np.float64]
    log_rest: NDArray[np.float64]
    nll: NDArray[np.float64]
    best: NDArray[np.int32]

    @staticmethod
    def bytes_of(tokens: int, top: int) -> int:
        """Bytes of these arrays."""
        return tokens * (8 * top + 28)

    @staticmethod
    def joined(parts: Sequence[TopPredictions]) -> TopPredictions:
        """Predictions of several batches as one record, in order."""
        return TopPredictions(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(TopPredictions)))


def top_predictions(logits: torch.Tensor, ids: NDArray[np.int64], top: int) -> TopPredictions:
    """The most probable tokens at every place of windows but the last.

    Parameters
    ----------
    logits : (b, L, V) float32
    ids : (b, L) the windows
    top : tokens that are told apart, at most V
    """
    parts = []
    for rows, target in predictions(logits, ids):
        in_double = rows.double()
        values, tokens = in_double.topk(min(top, in_double.shape[1]), dim=-1)
        normalizer = in_double.logsumexp(dim=-1)
        arrays = (
            tokens.int(),
            values.float(),
            normalizer,
            _rest(in_double, tokens) - normalizer,
            normalizer - in_double.gather(1, target)[:, 0],
            in_double.argmax(dim=-1).int(),
        )
        parts.append(TopPredictions(*(array.cpu().numpy() for array in arrays)))
    return TopPredictions.joined(parts)


def compare_top(reference: TopPredictions, logits: torch.Tensor, ids: NDArray[np.int64]) -> TokenScores:
    """As `rdtools.evaluation.scores.compare_logits`, with all but the reference's most probable tokens as one.

    Raises
    ------
    BadActivations
        If the logits are NaN or infinite.
    """
    check_finite(logits, "the quantized model")
    parts = []
    for number, (rows, target) in enumerate(predictions(logits, ids)):
        some = slice(number * ROWS, number * ROWS + len(rows))
        of = {field.name: torch.from_numpy(getattr(reference, field.name)[some]).to(logits.device) for field in fields(reference)}
        log_probabilities, tokens = torch.log_softmax(rows.double(), dim=-1), of["places"].long()
        p = torch.cat([of["logits"].double() - of["normalizer"][:, None], of["log_rest"][:, None]], dim=1)
        q = torch.cat([log_probabilities.gather(1, tokens), _rest(log_probabilities, tokens)[:, None]], dim=1)
        parts.append(compare(p, q, of["nll"], -log_probabilities.gather(1, target)[:, 0], of["best"] == log_probabilities.argmax(dim=-1)))
    return TokenScores.joined(parts)


def _rest(values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log Σ exp of each row without these places, summed anew: one less what they have would lose its digits."""
    return values.scatter(1, tokens, -torch.inf).logsumexp(dim=-1)


@dataclass(frozen=True, eq=False)
class StoredReference:
    """A file of the original's predictions, there or to be written.

    Attributes
    ----------
    path : of the file
    top : tokens that are told apart
    facts : all that decides the predictions: files of the model, tokens, protocol, number format, device
    """

    path: Path
    top: int
    facts: Mapping[str, Any]

    @property
    def known(self) -> bool:
        """True if the file is there."""
        return self.path.is_file()

    def write(self, parts: Sequence[TopPredictions]) -> None:
        """Write the predictions of all batches, in order.

        Raises
        ------
        OutputError
        """
        joined = TopPredictions.joined(parts)
        arrays = {field.name: np.ascontiguousarray(getattr(joined, field.name)) for field in fields(joined)}
        facts = json.dumps({**self.facts, "top": self.top})
        metadata = {"format": _FORMAT, "facts": facts, "sha256": _digest(facts, arrays)}
        with atomic_path(self.path) as scratch:
            save_file(arrays, scratch, metadata=metadata)

    @cached_property
    def predictions(self) -> TopPredictions:
        """All of them.

        Raises
        ------
        CorruptFile
            If the file was altered since it was written.
        """
        with _opened(self.path) as file:
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
            metadata = file.metadata()
            if metadata.get("sha256") != _digest(metadata["facts"], arrays):
                raise CorruptFile(f"{self.path}: its numbers are not those that were written; {_AGAIN}")
        return TopPredictions(**arrays)

    def batches(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[TopPredictions]:
        """Predictions of the batches of windows (b, L), in order."""
        first, predictions = 0, self.predictions
        for ids in batches:
            some = slice(first, first + ids.shape[0] * (ids.shape[1] - 1))
            first = some.stop
            yield TopPredictions(*(getattr(predictions, field.name)[some] for field in fields(predictions)))

    def sentence(self) -> str:
        """A sentence on what the file holds and what that means for scores."""
        rest, size = np.exp(self.predictions.log_rest), self.path.stat().st_size / 1e6
        return (
            f"{self.path}: {len(rest)} predictions of the original by the {self.top} most probable tokens, {size:.1f} MB; all others "
            f"count as one, with {rest.mean():.2g} of the probability on average, {rest.max():.2g} at most: KL is a lower bound, "
            "acceptance an upper one"
        )


def stored_reference(path: Path, facts: Mapping[str, Any], *, tokens: int, top: int | None, vocabulary: int) -> StoredReference:
    """A file of predictions, which is compared with what is asked for if it is there.

    Parameters
    ----------
    path : of the file
    facts : as of `StoredReference`, which JSON can hold
    tokens : that are predicted
    top : tokens that are told apart; None for those of a file that is there, else `TOP`
    vocabulary : V

    Raises
    ------
    UsageError
        If the file is of something else, a number of tokens cannot be, or the file would be too large.
    CorruptFile
    """
    if top is not None and top < 1:
        raise UsageError(f"`top` {top}: expected at least 1 token that is told apart from the rest")
    if path.is_file():
        stored = _facts(path)
        expected = {**facts, "top": stored["top"] if top is None else min(top, vocabulary)}
        other = next((name for name in expected if stored.get(name) != expected[name]), None)
        if other is not None:
            raise UsageError(f"{path}: predictions of another evaluation, whose {other} differs; choose another file, or remove it")
        return StoredReference(path, stored["top"], facts)
    check_output_file(path)
    count = min(TOP if top is None else top, vocabulary)
    size = TopPredictions.bytes_of(tokens, count)
    if size > MOST_BYTES:
        raise UsageError(
            f"{path}: {tokens} predictions by {count} tokens each would take {size / 1e9:.1f} GB, expected at most "
            f"{MOST_BYTES / 1e9:.1f}; choose fewer `windows`, or a smaller `top`"
        )
    return StoredReference(path, count, facts)


def _opened(path: Path) -> Any:
    try:
        file: Any = safe_open(path, framework="np")
        if (file.metadata() or {}).get("format") == _FORMAT:
            return file
        reason = f"no {_FORMAT}"
    except (SafetensorError, OSError) as error:
        reason = one_line(error)
    raise CorruptFile(f"{path}: not a whole file of predictions ({reason}); {_AGAIN}")


def _facts(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        try:
            facts = json.loads(file.metadata()["facts"])
            return {**facts, "top": int(facts["top"])}
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"{path}: its header does not say what the predictions are of ({one_line(error)}); {_AGAIN}") from error


def _digest(facts: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over what the predictions are of, and names, shapes and numbers."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
