"""Hugging Face causal language models: loading, their limits, their tokenizer.

The only file that imports transformers.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from rdtools._version import __version__
from rdtools.errors import ModelUnreadable, NotEnoughMemory, UsageError
from rdtools.machine import in_gb
from rdtools.model.checkpoint import Checkpoint

#: A linear layer whose weight is held as (in_features, out_features), as GPT-2 has them.
TransposedLinear = Conv1D


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


def _unreadable(checkpoint: Checkpoint, error: Exception) -> ModelUnreadable:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelUnreadable(
        f"{checkpoint.directory}: transformers {transformers.__version__} cannot load it as a causal language model ({reason}); "
        "check config.json"
    )


def load_model(checkpoint: Checkpoint, *, trust_remote_code: bool = False, device: str = "cpu") -> Any:
    """The model in float32, ready to run forward; only safetensors are read.

    Raises
    ------
    UsageError
        If there is no such device.
    ModelUnreadable
        If transformers cannot build it as a causal language model, or tensors are missing.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"`device` {device}: not usable here ({reason}); expected cpu, or cuda on a machine that has it") from error
    try:
        with _quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                checkpoint.directory,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises whatever a configuration provokes
        raise _unreadable(checkpoint, error) from error
    model, loading = loaded
    lost = sorted({*map(str, loading["missing_keys"]), *(str(key) for key in loading.get("mismatched_keys", ()))})
    if lost:
        raise ModelUnreadable(
            f"{checkpoint.directory}: {len(lost)} tensors are missing or of the wrong shape, the first {lost[0]}; transformers would fill "
            "them with random numbers: download the rest of the checkpoint"
        )
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        size = 4 * sum(parameter.numel() for parameter in model.parameters())
        raise NotEnoughMemory(f"{checkpoint.directory}: {in_gb(size)} in float32 do not fit {device}; choose another `device`") from error


def load_tokenizer(checkpoint: Checkpoint, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint.

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
            f"{checkpoint.directory}: no usable tokenizer beside the model; give token ids with `tokens` instead of `text`"
        ) from error


@dataclass(frozen=True)
class ModelLimits:
    """Limits on the tokens that a model reads.

    Attributes
    ----------
    longest : longest sequence, None where the configuration does not say
    vocabulary : number of token ids
    pad_token : id of the padding token, None where there is none or it is also a real one
    """

    longest: int | None
    vocabulary: int
    pad_token: int | None


def model_limits(checkpoint: Checkpoint, *, trust_remote_code: bool = False) -> ModelLimits:
    """Limits from a model's configuration.

    Raises
    ------
    ModelUnreadable
    """
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True, trust_remote_code=trust_remote_code)
        text = config.get_text_config()
        longest = getattr(text, "max_position_embeddings", None)
        pad = getattr(text, "pad_token_id", None)
        shared = (getattr(text, "eos_token_id", None), getattr(text, "bos_token_id", None))
        return ModelLimits(None if longest is None else int(longest), int(text.vocab_size), None if pad in shared else pad)
    except Exception as error:  # transformers raises whatever a configuration provokes
        raise _unreadable(checkpoint, error) from error


def versions() -> dict[str, str]:
    """Versions of what a Hessian depends on."""
    return {
        "rdtools": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }
