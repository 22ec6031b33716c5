"""The embedded model with all 42 matrices by one method: quantized activations with their corrections, and codebooks at about one bit.

Every fourth sequence of its calibration tokens, the moments of the original model's activations, a quarter of the held-out windows, as
`rdtools eval` compares them. Activations are rounded at the inputs of linear layers; the KV cache and attention products are not. Some
methods again with layers quantized one after the other, from moments of the model quantized so far, for their own outputs or, with the
correction for drift, for those of the original; and some on the model that
`rdtools rotate` makes of it, whose residual stream is rotated in its weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from rdtools.jobs.activations import collect_activations
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.rotate import rotate_model
from rdtools.methods import make_quantizers
from rdtools.model.tokens import Tokens, embedded_tokens
from rdtools.report.figures.whole_model import draw as draw

#: Weights and activations of four bits, in the order of what takes care of the activations.
ACTIVATIONS = (
    "rtn-w4a4", "gptq-w4a4", "qllm-w4a4", "gptq-w4a4+rotation", "qera-w4a4-r0.1", "lrc-w4a4-r0.05", "lrc-w4a4-r0.1", "lrc-w4a4-r0.2",
    "lrc-w4a4-r0.3", "pca-split-w4a4-r0.1",
)  # fmt: skip
#: Of those, quantized one after the other as well.
SEQUENTIAL = ("rtn-w4a4", "gptq-w4a4", "qllm-w4a4", "gptq-w4a4+rotation", "lrc-w4a4-r0.1", "pca-split-w4a4-r0.1")
#: Of those, with the correction for drift.
DRIFT = ("gptq-w4a4+rotation", "lrc-w4a4-r0.1")
#: On the rotated model: the last but one rotates all inputs once more, online.
ROTATED = ("rtn-w4a4", "gptq-w4a4", "gptq-w4a4+inner-rotation", "gptq-w4a4+rotation", "lrc-w4a4-r0.1+inner-rotation")
#: About one bit per weight in the codes. A 32nd of the channels is critical in every matrix; 64 words because the 128 rows of k and v have
#: no more vectors than 128 in such a group.
CODEBOOKS = (("aqlm-1x8(epochs=10,iterations=20)", 1.0), ("crvq(extended_bits=6,epochs=10,iterations=20)", 1 + 18 / 256))
STRIDE, WINDOWS = 4, 16
COLUMNS = (
    *("model", "method", "target_bpw", "hessians", "corrections", "activation_bits", "activation_scope", "online_maps", "fused"),
    *("protocol", "scored_tokens", "clusters", "layers"),
    *("total_bpw", "summed_distortion", "summed_relative_distortion"),
    *("perplexity_original", "perplexity", "perplexity_stderr", "nll_increase_nats", "nll_increase_low", "nll_increase_high"),
    *("kl_nats", "kl_low", "kl_high", "kl_p99_nats", "top1_agreement"),
)


def run(
    folder: Path | None = None,
    *,
    source: str = "embedded",
    tokens: Tokens | None = None,
    evaluation: EvaluationRequest | None = None,
    activations: tuple[str, ...] = ACTIVATIONS,
    codebooks: tuple[tuple[str, float], ...] = CODEBOOKS,
    sequential: tuple[str, ...] = SEQUENTIAL,
    drift: tuple[str, ...] = DRIFT,
    rotated: tuple[str, ...] = ROTATED,
    windows: int = WINDOWS,
) -> pd.DataFrame:
    """A row for the noise floor and for each method, from a run in `folder`, which keeps what is finished; None to throw it away.

    The tokens are those of the embedded model where none are given. Rows of the rotated model come last, under the name of its folder.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            return run(
                Path(made) / "run", source=source, tokens=tokens, evaluation=evaluation, activations=activations, codebooks=codebooks,
                sequential=sequential, drift=drift, rotated=rotated, windows=windows,
            )  # fmt: skip
    if tokens is None:
        whole = embedded_tokens("calibration")
        tokens = Tokens(whole.ids[::STRIDE], whole.mask[::STRIDE], f"{whole.source}, every {STRIDE}th sequence")
    evaluation = EvaluationRequest(tokens=embedded_tokens("evaluation")) if evaluation is None else evaluation
    request, asked = CalibrationRequest(tokens=tokens), {"rates": [4.0], "windows": windows, "evaluation": evaluation}

    def activations_of(source: str, folder: Path, names: tuple[str, ...], *, noise: bool) -> pd.DataFrame:
        captured = collect(source, request, out=folder)
        collect_activations(captured, make_quantizers(list(names), [4.0]), seeds=[0], layers=None, calibration=request, evaluation=None)
        return evaluate(folder, methods=list(names), noise=noise, **asked)

    parts = [activations_of(source, folder, activations, noise=True)]
    for name, rate in codebooks:
        parts.append(evaluate(folder, methods=[name], noise=False, **asked | {"rates": [rate]}))
    for names, corrections in ((sequential, ()), (drift, ("drift",))):
        if names:
            more = {"hessians": "sequential", "calibration": tokens, "corrections": corrections}
            parts.append(evaluate(folder, methods=list(names), noise=False, **more, **asked))
    if rotated:
        model = folder / "rotated"
        if not model.exists():
            rotate_model(source, model)
        parts.append(activations_of(str(model), folder / "of-rotated", rotated, noise=False))
    rows = pd.concat(parts, ignore_index=True)
    failed = rows[rows["status"] != "ok"]
    if len(failed):
        raise RuntimeError(f"{failed['method'].iloc[0]}: {failed['message'].iloc[0]}")
    return rows.loc[:, list(COLUMNS)]
