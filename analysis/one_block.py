"""Layers of some blocks of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rdtools.model.layer_names import block_index, layer_type
from rdtools.moments.layer import Layer
from rdtools.runs.store import open_run


def middle_block(opened: Mapping[str, Layer]) -> dict[str, Layer]:
    """Type → layer of the middle block; layers outside of blocks are left out."""
    placed = {(block_index(name), layer_type(name)): name for name in opened if block_index(name) >= 0}
    blocks = sorted({block for block, _ in placed})
    return {kind: opened[name] for (block, kind), name in placed.items() if block == blocks[len(blocks) // 2]}


def spaced_blocks(opened: Mapping[str, Layer], most: int = 8) -> list[str]:
    """Names of the layers of up to so many blocks, the first, the last and others evenly between them, in the order of the run."""
    blocks = sorted({block_index(name) for name in opened if block_index(name) >= 0})
    kept = {blocks[round(i * (len(blocks) - 1) / (most - 1))] for i in range(most)} if len(blocks) > most else set(blocks)
    return [name for name in opened if block_index(name) in kept]


def layers_of_middle_block(run: Path) -> dict[str, Layer]:
    """The same of a run directory."""
    return middle_block(open_run(run))
