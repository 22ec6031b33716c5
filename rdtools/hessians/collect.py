"""From a model and calibration data to a run directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdtools.errors import UsageError
from rdtools.files import LOCK
from rdtools.hessians.checkpoint import EMBEDDED, Checkpoint, find_model
from rdtools.hessians.store import Run, RunWriter, describe_model, is_run, open_run
from rdtools.hessians.tokens import Tokens, embedded_tokens, load_tokens, tokenize_text

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """Where calibration tokens come from; without either file, the tokens of the embedded model.

    Attributes
    ----------
    text : a UTF-8 file, tokenized with the model's tokenizer
    tokens : a .npy or .safetensors file of ids
    sequences, length : windows taken of a text; `length` None for the model's longest, at most 2048
    """

    text: Path | None = None
    tokens: Path | None = None
    sequences: int = 128
    length: int | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise UsageError("--text and --tokens: got both, expected one source of calibration data")
        if self.sequences < 1 or (self.length is not None and self.length < 1):
            raise UsageError(f"--sequences {self.sequences} --length {self.length}: expected at least 1 of each")


def _calibration(request: CalibrationRequest, checkpoint: Checkpoint) -> Tokens:
    from rdtools.hessians.capture import load_tokenizer, model_limits

    longest, pad = model_limits(checkpoint)
    if request.tokens is not None:
        return load_tokens(request.tokens, pad_token=pad)
    if request.text is not None:
        length = request.length or min(longest, 2048)
        return tokenize_text(request.text, load_tokenizer(checkpoint), sequences=request.sequences, length=length)
    if checkpoint.name == EMBEDDED:
        return embedded_tokens("calibration")
    raise UsageError(
        f"{checkpoint.name}: no calibration data; give --text FILE or --tokens FILE (the embedded tokens fit the embedded model only)"
    )


def _fingerprint(manifest: dict[str, Any]) -> dict[str, Any]:
    """What must agree for the Hessians of two manifests to be the same."""
    model, calibration = manifest["model"], manifest["calibration"]
    return {
        "model files": {name: entry["sha256"] for name, entry in model["files"].items()},
        "calibration tokens": calibration["token_sha256"],
    }


def collect(
    source: str,
    request: CalibrationRequest,
    *,
    out: Path,
    trust_remote_code: bool = False,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Run:
    """Capture every Hessian of a model into a run directory, or open the run that is there if it is the same.

    Parameters
    ----------
    source : "embedded", a local directory or a hub id
    request : calibration data
    out : run directory, new, empty or holding the same run
    trust_remote_code : run code that comes with the model; off unless asked for, and kept in the manifest
    device : torch device for the forward passes
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    UsageError
        If `out` holds something else, or a run of another model or calibration (the message names the difference).
    ModelUnreadable, CorruptFile, BadTokens, BadActivations, OutputError, ServiceUnavailable
    """
    if out.exists() and not is_run(out) and (not out.is_dir() or any(p.name not in ("hessians", LOCK) for p in out.iterdir())):
        raise UsageError(f"{out}: exists and is not a run of rdtools; choose another --out")
    checkpoint = find_model(source)
    tokens = _calibration(request, checkpoint)
    model_entry = describe_model(checkpoint, source=source)
    calibration = {
        "source": tokens.source,
        "sequences": tokens.ids.shape[0],
        "length": tokens.ids.shape[1],
        "padding": int((~tokens.mask).sum()),
        "token_sha256": tokens.sha256,
        "trust_remote_code": trust_remote_code,
    }
    if is_run(out):
        run = open_run(out)
        old = _fingerprint(run.manifest)
        new = _fingerprint({"model": model_entry, "calibration": calibration})
        different = [name for name in new if old[name] != new[name]]
        if different:
            raise UsageError(f"{out}: holds a run with other {' and '.join(different)}; choose another --out or delete it")
        return run

    from rdtools.hessians.capture import capture, check_weights, load_model, versions

    model = load_model(checkpoint, trust_remote_code=trust_remote_code, device=device)
    writer = RunWriter(out)
    for shared, hessian in capture(model, checkpoint, tokens, progress=progress):
        for layer in shared.layers:
            check_weights(model, checkpoint, layer)
        writer.add(hessian, [(entry.name, entry.tensor, entry.shape, entry.transposed) for entry in shared.layers])
    return writer.finish(model=model_entry, calibration=calibration, versions=versions())
