"""A model written again with the gains of its norms folded and rotations in its weights: the same function, easier to quantize."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rdtools.errors import NotByBlocks, OutputError, UsageError
from rdtools.files import check_output_file
from rdtools.jobs.arguments import path_of
from rdtools.jobs.progress import log_sentence
from rdtools.machine import check_disk, check_memory
from rdtools.model.checkpoint import Checkpoint, find_model
from rdtools.seeds import check_seed
from rdtools.transforms import RotationChoice

if TYPE_CHECKING:
    from rdtools.model.fused import Fused  # which loads torch

#: Ending of the directory's name while it is written.
_SCRATCH = ".rotating"


def rotate_model(
    model: str | Path,
    save: str | Path,
    *,
    rotation: str | None = "auto",
    heads: bool = True,
    seed: int = 0,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = log_sentence,
) -> Fused:
    """Write a model of the same function whose norms have no gains, and whose residual stream and values are rotated.

    Plain transformers loads it. Its weights are in float32, as every one of them is rounded anew, and its output head is a matrix of its
    own. ``config.json`` says what was fused, and so do rows of `rdtools.evaluate`. See `rdtools.model.fused.fuse`. The inputs of output and
    down projections are left to methods with ``+inner-rotation``, which rotate these alone, online. Weights of a large model are in a file
    while they are changed, mapped into memory, for which a block of them, or a file that is written, is enough.

    Parameters
    ----------
    model : "embedded", a local directory or a hub id
    save : directory that is made
    rotation : "auto", "hadamard", "haar" or "kronecker"; None to fold gains alone
    heads : rotate the values of each head, too
    seed : that rotations are drawn from
    trust_remote_code : run code that comes with the model
    say : called with sentences about what goes on

    Raises
    ------
    UsageError
        If the directory exists or cannot be made, or for a rotation that there is not.
    ModelUnreadable
        If the norms of the model cannot be folded, or it was fused before.
    NotEnoughMemory, UnsupportedOrder, CorruptFile, OutputError
    """
    source, target, seed = (
        path_of("rotate_model", model, "a model, or 'embedded'"),
        path_of("rotate_model", save, "a directory"),
        check_seed(seed),
    )
    choices = ("auto", "hadamard", "haar", "kronecker")
    if rotation is not None and rotation not in choices:
        raise UsageError(f"`rotation` {rotation!r}: expected one of {', '.join(choices)}, or None")
    work = target.with_name(f"{target.name}{_SCRATCH}")
    if target.exists():
        raise UsageError(f"{target}: exists; choose another directory for `save`")
    if work.exists():
        raise UsageError(
            f"{work}: a rotated model that is not finished; delete it, unless a process still writes it, or choose another directory for "
            "`save`"
        )
    check_output_file(target)
    from safetensors import SafetensorError

    from rdtools.model.fused import fuse
    from rdtools.model.pretrained import write_model
    from rdtools.model.save import copy_other_files

    checkpoint = find_model(str(source), with_code=trust_remote_code)
    check_disk(target, 8 * checkpoint.parameters, "the weights of a rotated model, and those that are rotated,")
    try:
        work.mkdir(parents=True)
        try:
            with _weights(checkpoint, work, trust_remote_code=trust_remote_code, say=say) as loaded:
                fused = fuse(loaded, rotation=cast(RotationChoice | None, rotation), heads=heads, seed=seed)
                copy_other_files(checkpoint, work)
                write_model(loaded, work)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # the latter of a full disk
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{work}: cannot be written: {reason}; free some space or choose another place") from error
    return fused


@contextmanager
def _weights(checkpoint: Checkpoint, work: Path, *, trust_remote_code: bool, say: Callable[[str], None]) -> Iterator[Any]:
    """The model: in memory where it is small or cannot be loaded by blocks, else in a file."""
    from rdtools.model import stages
    from rdtools.model.mapped import mapped_model
    from rdtools.model.pretrained import SHARD_BYTES, load_model

    size, model = 4 * checkpoint.parameters, None
    with ExitStack() as stack:
        if size > stages.KEPT_BYTES:
            check_memory(min(size, SHARD_BYTES), f"{checkpoint.directory} in float32, of which as much as a file holds is in memory")
            try:
                model = stack.enter_context(mapped_model(checkpoint, work, trust_remote_code=trust_remote_code, say=say))
            except NotByBlocks as reason:
                say(f"{checkpoint.directory}: loaded as a whole and not block by block: {reason}")
        if model is None:
            check_memory(size, f"{checkpoint.directory} in float32, all of which is in memory")
            model = load_model(checkpoint, trust_remote_code=trust_remote_code, say=say)
        yield model
