"""A layer quantized with the corrections that are on, from the moments of its input in both models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import reconstruct
from rdtools.corrections.mixing import Mixture, mixed, search_mixture
from rdtools.corrections.rescale import Rescaled, rescaled_weight
from rdtools.corrections.table import compares_models
from rdtools.corrections.target import DAMPING, CorrectedInput
from rdtools.measure import error
from rdtools.model.tokens import Tokens
from rdtools.moments.layer import Layer
from rdtools.quantizers import Quantizer
from rdtools.records import EffectiveLayer, Hessian, InputMap, InputMoments, LayerKey, QuantizedLayer
from rdtools.records.stored import round_to_stored
from rdtools.runs.saved import HessianKind

if TYPE_CHECKING:
    from rdtools.model.beside import Beside  # which load torch
    from rdtools.model.capture import Progress
    from rdtools.model.inputs import SharedInput
    from rdtools.model.opened import OpenModel


@dataclass(frozen=True, eq=False)
class Given:
    """An input as its layers are quantized with it.

    Attributes
    ----------
    hessian : of the input that the layers have
    corrected : what the quantizers are given in its place; None without corrections
    moments : of the input in both models; None where only one was run
    mixture : that was found, for the input of queries, keys and values
    """

    hessian: Hessian
    corrected: CorrectedInput | None = None
    moments: InputMoments | None = None
    mixture: Mixture | None = None


def given_alone(hessian: Hessian, names: Collection[str], quantizer: Quantizer) -> Given:
    """An input of one model; corrections that compare two are not among the names."""
    if not names:
        return Given(hessian)
    facts = {"mean": hessian.mean, "tokens": hessian.n_tokens, "dropped_tokens": hessian.dropped_tokens, "name": hessian.name}
    moments = InputMoments.plain(hessian.matrix, distinct_tokens=hessian.distinct_tokens, **facts)
    return Given(hessian, CorrectedInput(moments, names, _damping(quantizer)))


def given_beside(
    beside: Beside, names: Collection[str], quantizer: Callable[[str], Quantizer], weights: Mapping[LayerKey, Float64Array], *, seed: int
) -> Given:
    """An input of both models, mixed where that is on.

    Parameters
    ----------
    beside : its moments
    names : of corrections
    quantizer : of a layer, by its name; trials are made by it, and damping is that of the first
    weights : W of the layers that read it
    seed : of the run
    """
    plain, damping = beside.moments, _damping(quantizer(beside.item.layers[0].name))
    assert plain is not None
    mean = plain.mean if plain.actual is plain.reference else None  # of x̂ it is not known
    hessian = Hessian(plain.actual, plain.tokens, plain.dropped_tokens, plain.name, mean, plain.distinct_tokens)
    layers = [Layer(key, weight, hessian) for key, weight in weights.items()]
    mixture = None

    def corrected(mixture: Mixture) -> CorrectedInput:
        weighted = beside.weighted
        mixing = weighted is not None or mixture != Mixture()
        return CorrectedInput(mixed(plain, weighted, mixture) if mixing else plain, names, damping)

    if beside.trial is not None:
        trial = beside.trial

        def value(mixture: Mixture) -> float:
            corrected_input = corrected(mixture)
            quantized = {layer.key.name: quantized_layer(corrected_input, layer, quantizer(layer.key.name), seed=seed) for layer in layers}
            return trial({name: round_to_stored(reconstruct(one.answer.weight), "bfloat16", name=name) for name, one in quantized.items()})

        mixture = search_mixture(value, drift="drift" in names, attention=beside.weighted is not None)
    return Given(hessian, corrected(mixture or Mixture()), plain, mixture)


def _damping(quantizer: Quantizer) -> float:
    return DAMPING if quantizer.damping is None else quantizer.damping


@dataclass(frozen=True, eq=False)
class Corrected:
    """A quantizer's answer with the corrections.

    Attributes
    ----------
    subject : the layer that the quantizer was given
    answer : rescaled where that is on and pays
    rescaled : which scales were stored
    """

    subject: Layer
    answer: QuantizedLayer
    rescaled: Rescaled = "none"


def quantized_layer(given: CorrectedInput | None, layer: Layer, quantizer: Quantizer, *, seed: int) -> Corrected:
    """Quantize what the corrections make of a layer, and rescale the answer.

    Parameters
    ----------
    given : its input; None without corrections
    layer : the weights that are corrected
    quantizer : method and rate
    seed : of the run
    """
    prepared = layer if given is None else given.layer(layer.key, layer.weight)
    answer = quantizer.quantize(prepared, seed=seed)
    if given is None or "rescale" not in given.names:
        return Corrected(prepared, answer)
    moment = given.hessian.matrix
    coded = np.diagonal(moment) > 0
    damping = answer.damping * float(np.mean(np.diagonal(moment)[coded])) if coded.any() else 0.0
    scaled, rescaled = rescaled_weight(answer.weight, prepared.weight, moment + damping * np.diag(coded.astype(np.float64)))
    return Corrected(prepared, replace(answer, weight=scaled), rescaled)


def output_error(weight: Float64Array, quantized: Float64Array, moments: InputMoments) -> tuple[float, float]:
    """``E‖W x − Ŵ x̂‖²/(m n)``, and its ratio to the same with all weights zero; nan for the ratio if that is zero.

    Parameters
    ----------
    weight, quantized : W and Ŵ (m, n)
    moments : of x and x̂
    """
    bare = replace(moments, residual=None) if moments.residual is not None else moments
    layer = Layer.of(weight, Hessian(moments.reference, moments.tokens, name=moments.name), name=moments.name)
    mean_error = error(layer, EffectiveLayer(quantized, InputMap(columns=weight.shape[1])), bare).mean
    energy = layer.statistics.energy
    return mean_error, mean_error / energy if energy > 0 else float("nan")


def given_inputs(
    opened: OpenModel,
    inputs: Sequence[SharedInput],
    tokens: Tokens,
    *,
    hessians: HessianKind,
    corrections: Collection[str],
    quantizer: Callable[[str], Quantizer],
    seed: int,
    weights: Callable[[SharedInput], Mapping[LayerKey, Float64Array]],
    replaced: Mapping[str, Float64Array],
    biases: Mapping[str, Float64Array],
    done: Callable[[SharedInput], bool],
    folder: Path,
    progress: Progress,
) -> Iterator[tuple[SharedInput, Given | None]]:
    """Inputs of an opened model in the order in which they are read, None beside those that are done.

    Parameters
    ----------
    opened, inputs, tokens : the model, its inputs inside blocks, and what runs through it
    hessians : of the original model or of the partly quantized one; only with the latter are inputs that are done among them
    corrections : names
    quantizer, seed : of a layer by its name, and of the run; trials are made by them
    weights : W of the layers of an input
    replaced, biases : Ŵ and b by layer, which the caller fills in before the next input is asked for; no bias beside corrections
    done, folder, progress : as of `rdtools.model.sequential.capture_sequentially`
    """
    from rdtools.model.beside import capture_beside
    from rdtools.model.capture import capture
    from rdtools.model.sequential import capture_sequentially

    stages = opened.stages
    assert stages is not None
    if compares_models(corrections):
        residual, attention, mixing = (name in corrections for name in ("residual", "attention", "mixing"))
        options = {"residual": residual, "attention": attention, "mixing": mixing}
        both = capture_beside(stages, inputs, tokens, replaced=replaced, done=done, folder=folder, progress=progress, **options)
        for beside in both:
            item = beside.item
            yield item, None if beside.moments is None else given_beside(beside, corrections, quantizer, weights(item), seed=seed)
        return
    if hessians == "sequential":
        run: Iterator[tuple[SharedInput, Hessian | None]] = capture_sequentially(
            stages, inputs, tokens, replaced=replaced, biases=biases, done=done, folder=folder, progress=progress
        )
    else:
        run = capture(opened.model, [item for item in inputs if not done(item)], tokens, stages=stages, folder=folder, progress=progress)
    for item, hessian in run:
        yield item, None if hessian is None else given_alone(hessian, corrections, quantizer(item.layers[0].name))
