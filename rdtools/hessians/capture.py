"""Second moments of every linear layer's input, from forward passes of a Hugging Face causal language model.

The only file that imports transformers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from rdtools.errors import BadActivations, ModelUnreadable, UsageError
from rdtools.hessians.accumulate import MomentAccumulator
from rdtools.hessians.checkpoint import Checkpoint
from rdtools.hessians.layers import CapturedLayer
from rdtools.hessians.tokens import Tokens, check_tokens
from rdtools.records import Hessian

#: Share of tokens with NaN or infinite activations above which the capture is abandoned.
DROPPED_LIMIT = 0.01
#: Memory for running sums. A model whose sums need more is run through the calibration tokens several times.
ACCUMULATOR_BYTES = 4 * 2**30
_BATCH_TOKENS = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SharedInput:
    """One input, and the layers that read it."""

    layers: tuple[CapturedLayer, ...]

    @property
    def name(self) -> str:
        """Of the first layer that reads it."""
        return self.layers[0].name

    @property
    def columns(self) -> int:
        """Length n of the input vector."""
        return self.layers[0].shape[1]


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
        raise UsageError(f"--device {device}: not usable here ({reason}); expected cpu, or cuda on a machine that has it") from error
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
    return model.to(device).eval()


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
            f"{checkpoint.directory}: no usable tokenizer beside the model; give token ids with --tokens instead of --text"
        ) from error


@dataclass(frozen=True)
class ModelLimits:
    """What a model can read.

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


def _linear_layers(model: Any, checkpoint: Checkpoint) -> dict[str, CapturedLayer]:
    """Linear layers inside the blocks; the output head is not one of them."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    head = model.get_output_embeddings()
    layers = {}
    for name, module in model.named_modules():
        if module is head or not isinstance(module, nn.Linear | Conv1D):
            continue
        tensor = f"{name}.weight"
        if tensor not in checkpoint.shard_of:
            tensor = tensor.removeprefix(prefix)
        if tensor not in checkpoint.shard_of:
            raise ModelUnreadable(
                f"{checkpoint.directory}: no tensor for layer {name}; its weights are stored fused or under another name, which "
                "rdtools does not read: save the loaded model with save_pretrained first"
            )
        rows, columns = module.weight.shape
        transposed = isinstance(module, Conv1D)
        shape = (columns, rows) if transposed else (rows, columns)
        layers[name] = CapturedLayer(name, tensor, shape, transposed)
    if not layers:
        raise ModelUnreadable(f"{checkpoint.directory}: the model has no linear layers to analyse")
    return layers


@contextlib.contextmanager
def _hooks(model: nn.Module, names: list[str], see: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Call `see(name, input)` before each named module runs."""
    handles = []
    try:
        for name in names:

            def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
                see(name, next(x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)))

            handles.append(model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def find_shared_inputs(model: Any, checkpoint: Checkpoint) -> list[SharedInput]:
    """Group layers by the tensor that they are given: q, k and v share one, gate and up share one.

    A layer that is not given one vector for each token, such as the expert of a mixture, is left out; see `uncovered`.
    """
    layers = _linear_layers(model, checkpoint)
    seen: dict[str, torch.Tensor] = {}  # holding the tensors keeps their identities apart
    with torch.no_grad(), _hooks(model, list(layers), seen.__setitem__):
        model.base_model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False)
    groups: dict[int, list[CapturedLayer]] = {}
    for name, tensor in seen.items():
        if tensor.shape == (1, 2, layers[name].shape[1]):
            groups.setdefault(id(tensor), []).append(layers[name])
    if not groups:
        raise ModelUnreadable(f"{checkpoint.directory}: no linear layer of the model is given one vector a token; nothing to analyse")
    return [SharedInput(tuple(group)) for group in groups.values()]


def uncovered(model: Any, inputs: list[SharedInput]) -> list[str]:
    """Weight matrices of the model that no captured layer stands for, embeddings and output head apart."""
    covered = {layer.name for item in inputs for layer in item.layers}
    head = model.get_output_embeddings()
    names = []
    for name, module in model.named_modules():
        if name in covered or module is head or isinstance(module, nn.Embedding):
            continue
        names += [f"{name}.{key}" for key, value in module.named_parameters(recurse=False) if value.ndim >= 2]
    return names


def _passes(inputs: list[SharedInput]) -> list[list[SharedInput]]:
    """Split inputs so that the running sums of each part fit ACCUMULATOR_BYTES (a single larger one goes alone)."""
    parts: list[list[SharedInput]] = [[]]
    used = 0
    for item in inputs:
        need = 8 * item.columns**2
        if parts[-1] and used + need > ACCUMULATOR_BYTES:
            parts.append([])
            used = 0
        parts[-1].append(item)
        used += need
    return parts


def capture(
    model: Any,
    inputs: list[SharedInput],
    tokens: Tokens,
    *,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[SharedInput, Hessian]]:
    """The second moment of every distinct input, one at a time.

    ``H = (1/N) Σ x xᵀ`` over the N tokens that are not padding and have finite activations, in float64 from float32 activations.

    Parameters
    ----------
    model : from `load_model`
    inputs : from `find_shared_inputs`
    tokens : to run through it
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    BadTokens
        If there are no tokens, ids are outside the vocabulary, or sequences are longer than the model takes.
    BadActivations
        If more than DROPPED_LIMIT of the tokens have NaN or infinite activations at some layer.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    check_tokens(tokens, vocabulary=model.get_input_embeddings().num_embeddings, longest=longest)
    passes = _passes(inputs)
    total = len(passes) * tokens.ids.size
    batch = max(1, _BATCH_TOKENS // tokens.ids.shape[1])
    done = 0
    for part in passes:
        sums = {item.name: MomentAccumulator(item.columns) for item in part}
        for first in range(0, len(tokens.ids), batch):
            ids = torch.tensor(tokens.ids[first : first + batch])
            mask = torch.tensor(tokens.mask[first : first + batch])

            def see(name: str, x: torch.Tensor, mask: torch.Tensor = mask, sums: dict[str, MomentAccumulator] = sums) -> None:
                kept = x.reshape(*mask.shape, -1)[mask.to(x.device)]
                sums[name].add(kept.float().cpu().numpy())

            # padded ids may be outside the vocabulary (−100 is common); their activations are masked out above
            safe_ids = torch.where(mask, ids, 0).to(model.device)
            with torch.no_grad(), _hooks(model, list(sums), see):
                model.base_model(input_ids=safe_ids, attention_mask=mask.long().to(model.device), use_cache=False)
            done += ids.numel()
            progress(done, total)
        for item in part:
            yield item, _finish(item, sums.pop(item.name))


def _finish(item: SharedInput, sums: MomentAccumulator) -> Hessian:
    seen = sums.kept + sums.dropped
    if sums.dropped > DROPPED_LIMIT * seen:
        raise BadActivations(
            f"{item.name}: {sums.dropped} of {seen} tokens have NaN or infinite inputs, at most {DROPPED_LIMIT:.0%} may; "
            "likely damaged weights or activations that overflow: check the checkpoint"
        )
    return Hessian(sums.mean, sums.kept, sums.dropped, item.name)


def check_weights(model: Any, checkpoint: Checkpoint, layer: CapturedLayer) -> None:
    """Make sure that the tensor read from the files is the one that the model ran with.

    Raises
    ------
    ModelUnreadable
    """
    weight = model.get_submodule(layer.name).weight.detach().cpu().double().numpy()
    if not np.array_equal(weight, checkpoint.read(layer.tensor).astype(np.float32)):
        raise ModelUnreadable(
            f"{checkpoint.directory}: {layer.tensor} differs from the weight that transformers runs; the checkpoint is converted while "
            "loading (quantized or permuted): save the loaded model with save_pretrained first"
        )


def versions() -> dict[str, str]:
    """Versions of what a Hessian depends on."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}
