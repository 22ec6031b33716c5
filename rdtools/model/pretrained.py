"""Hugging Face causal language models: loading, their limits, their tokenizer.

The only file that imports transformers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors import safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)
from transformers.pytorch_utils import Conv1D

from rdtools.devices import allocation_errors, check_device
from rdtools.errors import ModelUnreadable, NotEnoughMemory
from rdtools.machine import in_gb
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.unsupported import refuse_unused

#: Modules that multiply by their weight; that of GPT-2 is held as (in_features, out_features).
LINEAR = (torch.nn.Linear, Conv1D)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or advice from transformers inside; its settings are put back after."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


#: Bytes of weights that are written together, from one copy in memory.
SHARD_BYTES = 5 * 10**9


def write_model(model: Any, folder: Path) -> None:
    """Write weights, configuration and code of a loaded model of transformers into a folder, as safetensors of at most SHARD_BYTES."""
    with _quiet():
        model.save_pretrained(folder, max_shard_size=SHARD_BYTES)


#: What to do about an error of transformers that holds these words.
_REMEDIES = {
    "trust_remote_code": "it comes with code of its own; if you trust it, allow that with `trust_remote_code`",
    "does not recognize this architecture": "check model_type in config.json, or install a transformers that knows it",
    "model_type": "config.json must name the model_type; download it again",
}


def _unreadable(checkpoint: Checkpoint, error: Exception) -> ModelUnreadable:
    text = str(error).strip()
    reason = text.splitlines()[0] if text else type(error).__name__
    remedy = next((remedy for words, remedy in _REMEDIES.items() if words in text), "check config.json")
    return ModelUnreadable(
        f"{checkpoint.directory}: transformers {transformers.__version__} cannot load it as a causal language model ({reason}); {remedy}"
    )


def _model_class(checkpoint: Checkpoint, config: Any) -> Any:
    """The class of transformers that loads a model: of language models, or of those that read images beside text.

    Raises
    ------
    ModelUnreadable
    """
    remote = getattr(config, "auto_map", None) or {}
    for auto, known in (
        (AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING),
        (AutoModelForImageTextToText, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING),
    ):
        if type(config) in known or auto.__name__ in remote:
            return auto
    raise ModelUnreadable(
        f"{checkpoint.directory}: a model of type {config.model_type}, which transformers {transformers.__version__} has neither as a "
        "causal language model nor as one that reads images and text; such models are not analysed: save its text part alone"
    )


def load_model(
    checkpoint: Checkpoint, *, trust_remote_code: bool = False, device: str = "cpu", say: Callable[[str], None] = lambda sentence: None
) -> Any:
    """The model in float32, ready to run forward; only safetensors are read.

    Parameters
    ----------
    say : called with sentences about tensors that are there and not used

    Raises
    ------
    UsageError
        If there is no such device.
    ModelUnreadable
        If transformers cannot build it as a language model, or tensors are missing, of another shape, or scales that nothing reads.
    """
    check_device(device)
    config = _read_config(checkpoint, trust_remote_code=trust_remote_code)
    auto = _model_class(checkpoint, config)
    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    model = _checked(checkpoint, _from_files(checkpoint, auto, checkpoint.directory, options), say)
    try:
        with allocation_errors():
            return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        size = 4 * sum(parameter.numel() for parameter in model.parameters())
        raise NotEnoughMemory(f"{checkpoint.directory}: {in_gb(size)} in float32 do not fit {device}; choose another `device`") from error


@dataclass(frozen=True)
class _Stored:
    """A tensor of a file as transformers' loader asks for it: its values if it is wanted, else its shape alone, on the meta device."""

    checkpoint: Checkpoint
    name: str
    wanted: bool

    def __getitem__(self, key: Any) -> _Stored:
        return self

    def to(self, device: Any = None, dtype: Any = None) -> torch.Tensor:
        """The tensor; a copy, so that nothing of the file stays mapped."""
        if not self.wanted:
            return torch.empty(self.checkpoint.shapes[self.name], dtype=dtype, device="meta")
        with safe_open(self.checkpoint.directory / self.checkpoint.shard_of[self.name], framework="pt") as shard:
            tensor: torch.Tensor = shard.get_tensor(self.name)
        return tensor.to(device=device, dtype=dtype, copy=True)


def load_part(
    checkpoint: Checkpoint,
    wanted: Callable[[str], bool],
    *,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> torch.nn.Module | None:
    """The model in float32 on the CPU, of whose weights only those made of wanted tensors are there, and the others on the meta device.

    transformers itself loads it, so that tensors are renamed, split and merged as in a whole model; values are read one tensor at a time.

    Parameters
    ----------
    wanted : says of the name of a tensor in the files whether its values are
    say : called with sentences about tensors that are there and not used

    Returns
    -------
    Module or None
        None for a model whose class is not one of transformers' own, or is the one that comes with it, where that is trusted.

    Raises
    ------
    ModelUnreadable
        As `load_model` does.
    """
    config = _read_config(checkpoint, trust_remote_code=trust_remote_code)
    auto = _model_class(checkpoint, config)
    known = MODEL_FOR_CAUSAL_LM_MAPPING if auto is AutoModelForCausalLM else MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    own = trust_remote_code and auto.__name__ in (getattr(config, "auto_map", None) or {})  # which `load_model` takes, too
    if own or type(config) not in known:
        return None
    tensors = {name: _Stored(checkpoint, name, wanted(name)) for name in checkpoint.shard_of}
    loaded = _from_files(checkpoint, known[type(config)], None, {"config": config, "state_dict": tensors})
    return cast(torch.nn.Module, _checked(checkpoint, loaded, say).eval())


def _from_files(checkpoint: Checkpoint, kind: Any, directory: Path | None, options: dict[str, Any]) -> Any:
    """A model of this class and what its loader says of tensors; settings as of every model."""
    try:
        with _quiet():
            return kind.from_pretrained(
                directory,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                experts_implementation="eager",
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # transformers raises whatever a configuration provokes
        raise _unreadable(checkpoint, error) from error


def _checked(checkpoint: Checkpoint, loaded: Any, say: Callable[[str], None]) -> Any:
    """The model, if every tensor of it was in the files.

    Raises
    ------
    ModelUnreadable
    """
    model, loading = loaded
    mismatched = sorted((str(name), tuple(stored), tuple(built)) for name, stored, built in loading.get("mismatched_keys", ()))
    if mismatched:
        name, stored, built = mismatched[0]
        raise ModelUnreadable(
            f"{checkpoint.directory}: {len(mismatched)} tensors have another shape than config.json says, the first {name}: {stored} in "
            f"the files, {built} by config.json; take both from the same model"
        )
    lost = sorted(map(str, loading["missing_keys"]))
    if lost:
        raise ModelUnreadable(
            f"{checkpoint.directory}: {len(lost)} tensors are missing, the first {lost[0]}; transformers would fill "
            "them with random numbers: download the rest of the checkpoint"
        )
    unused = refuse_unused(checkpoint.directory, map(str, loading["unexpected_keys"]), checkpoint.shard_of)
    if unused:
        say(f"{checkpoint.directory}: {len(unused)} tensors of parts that transformers does not build, first {unused[0]}, are left out")
    return model


def load_tokenizer(checkpoint: Checkpoint, *, trust_remote_code: bool = False, prefix: str = "") -> Any:
    """The tokenizer of a checkpoint; messages name the settings with this prefix.

    Raises
    ------
    ModelUnreadable
        If there is none.
    """
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(checkpoint.directory, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        raise ModelUnreadable(
            f"{checkpoint.directory}: no usable tokenizer beside the model; give token ids with `{prefix}tokens` instead of `{prefix}text`"
        ) from error


def _read_config(checkpoint: Checkpoint, *, trust_remote_code: bool) -> Any:
    try:
        with _quiet():
            return AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        raise _unreadable(checkpoint, error) from error


@dataclass(frozen=True)
class ModelLimits:
    """Limits on the tokens that a model reads.

    Attributes
    ----------
    longest : longest sequence, None where the configuration does not say
    vocabulary : number of token ids
    """

    longest: int | None
    vocabulary: int


def model_limits(checkpoint: Checkpoint, *, trust_remote_code: bool = False) -> ModelLimits:
    """Limits from a model's configuration.

    Raises
    ------
    ModelUnreadable
    """
    config = _read_config(checkpoint, trust_remote_code=trust_remote_code)
    try:
        text = config.get_text_config()
        longest = getattr(text, "max_position_embeddings", None)
        return ModelLimits(None if longest is None else int(longest), int(text.vocab_size))
    except Exception as error:  # transformers raises whatever a configuration provokes
        raise _unreadable(checkpoint, error) from error
