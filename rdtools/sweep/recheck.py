"""Finished rows computed again and compared to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rdtools.runs.journal import Journal, encoded
from rdtools.sweep.engines.local import one_thread
from rdtools.sweep.kinds import Memories
from rdtools.sweep.plan import Work

#: Columns of a time or a place: seconds, and the folder that the model is called after.
APART = frozenset({"wall_s", "model"})


def is_chosen(key: str, *, share: float, seed: int) -> bool:
    """True for a share of all keys, the same ones in every process."""
    digest = hashlib.sha256(json.dumps([seed, key]).encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def differing_columns(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Columns, those of a time or a place apart, in which two rows differ in any bit or of which one is missing."""
    names = (before.keys() | after.keys()) - APART
    return sorted(name for name in names if encoded(before.get(name)) != encoded(after.get(name)))


def recheck(
    tasks: Iterable[Work], journal: Journal, *, share: float, seed: int, checked: Callable[[int], None] = lambda count: None
) -> Iterator[str]:
    """A sentence for each finished record, of a seeded share of them, that comes out otherwise now; nothing is written.

    Parameters
    ----------
    tasks : whose records to check
    journal : with what was finished
    share : of the records, from 0 to 1
    seed : of the choice
    checked : called with the number of records that were compared
    """
    finished = {key: record for key, record in journal.records.items() if not record.failed and is_chosen(key, share=share, seed=seed)}
    memories, count = Memories(), 0
    with one_thread():
        for task in tasks:
            others = {key for layer in task.layers for key in layer.keys if key not in finished}
            part = task.without(others)
            if not part.layers:
                continue
            for record in memories.perform(part):
                count += 1
                checked(count)
                if names := differing_columns(finished[record.key].value, record.value):
                    before, after = finished[record.key].value, record.value
                    shown = "; ".join(f"{name} was {before.get(name)!r}, is {after.get(name)!r}" for name in names[:3])
                    what = next((before[name] for name in ("layer", "subject") if name in before), record.kind)
                    yield f"{what}, {before.get('method', before.get('claim', record.kind))}: {len(names)} columns differ: {shown}"
