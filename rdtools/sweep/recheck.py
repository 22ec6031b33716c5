"""Finished rows computed again and compared to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rdtools.devices import HOST, check_device
from rdtools.errors import UsageError
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
    tasks: Sequence[Work], journal: Journal, *, share: float, seed: int, checked: Callable[[int], None] = lambda count: None
) -> Iterator[str]:
    """A sentence for each finished record, of a seeded share of them, that comes out otherwise now; nothing is written.

    A row is computed where its column `device` says; those of a device that is not here have one sentence together.

    Parameters
    ----------
    tasks : whose records to check
    journal : with what was finished
    share : of the records, from 0 to 1
    seed : of the choice
    checked : called with the number of records that were compared
    """
    finished = {key: record for key, record in journal.records.items() if not record.failed and is_chosen(key, share=share, seed=seed)}
    checked_here, device_of = 0, {key: record.value.get("device", HOST) for key, record in finished.items()}
    with one_thread():
        for device in sorted(set(device_of.values())):
            try:
                if device != HOST:
                    check_device(device)
            except UsageError as error:
                yield f"{sum(held == device for held in device_of.values())} rows cannot be checked here: {error}"
                continue
            memories = Memories(device)
            for task in tasks:
                part = task.without({key for layer in task.layers for key in layer.keys if device_of.get(key) != device})
                for record in memories.perform(part) if part.layers else ():
                    checked_here += 1
                    checked(checked_here)
                    before, after = finished[record.key].value, record.value
                    if names := differing_columns(before, after):
                        shown = "; ".join(f"{name} was {before.get(name)!r}, is {after.get(name)!r}" for name in names[:3])
                        subject = next((before[name] for name in ("layer", "subject") if name in before), record.kind)
                        yield f"{subject}, {before.get('method', before.get('claim', record.kind))}: {len(names)} columns differ: {shown}"
