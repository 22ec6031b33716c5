"""Models that rdtools cannot analyse, told by their configuration or the names of their tensors, each with what to do instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rdtools.errors import ModelUnreadable

#: About a file of llama.cpp.
GGUF = (
    "a GGUF file, whose weights are stored for llama.cpp; expected a directory with config.json and model.safetensors: give the model that "
    "the file was made from"
)
#: Last parts of names that only quantized weights have: integers, and the scales without which the floats beside them mean nothing.
_QUANTIZED = re.compile(
    r"\.(qweight|qzeros|qscales?|g_idx|weight_packed|weight_shape|weight_scale(_inv|_2)?|weight_zero_point|input_scale|scales|SCB|absmax|"
    r"weight\.(absmax|quant_map|nested_absmax|quant_state\..+)|\w+_blocks|\w+_scales)$"
)


def refuse_configuration(directory: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model that is quantized already, or reads its input with an encoder.

    Raises
    ------
    ModelUnreadable
    """
    quantized = config.get("quantization_config") or config.get("compression_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        raise ModelUnreadable(
            f"{directory}: already quantized (config.json: quant_method {method or 'not named'}); expected float weights: give the "
            "model that it was quantized from, or dequantize it and leave quantization_config out"
        )
    if config.get("is_encoder_decoder"):
        raise ModelUnreadable(
            f"{directory}: an encoder-decoder model (model_type {config.get('model_type')}); expected one that reads and continues text "
            "with a decoder alone, such as a Llama: encoder-decoder models are not analysed"
        )


def refuse_tensors(directory: Path, names: Iterable[str]) -> None:
    """Refuse quantized weights whose configuration does not say so.

    Raises
    ------
    ModelUnreadable
    """
    quantized = sorted(name for name in names if _QUANTIZED.search(name))
    if quantized:
        raise ModelUnreadable(
            f"{directory}: already quantized, as {len(quantized)} of its tensors show, first {quantized[0]}; expected "
            "float weights that mean something without scales: give the model that it was quantized from, or dequantize it and drop these"
        )


def refuse_unused(directory: Path, unused: Iterable[str], names: Iterable[str]) -> list[str]:
    """Refuse tensors that belong to modules of the model and are not read, such as scales; other ones are returned, sorted.

    Parameters
    ----------
    unused : tensors of the files that transformers does not read
    names : all tensors of the files

    Raises
    ------
    ModelUnreadable
    """
    unread = sorted(unused)
    used = set(names) - set(unread)
    for name in unread:
        module = name.rpartition(".")[0]
        beside = min((other for other in used if other.startswith(module + ".") or not module), default=None)
        if beside is not None:
            raise ModelUnreadable(
                f"{directory}: {name} is stored beside {beside}, and transformers does not use it; if it is a scale or an adapter, the "
                "weights mean nothing without it: dequantize or merge the checkpoint; if it means nothing, delete the tensor"
            )
    return unread
