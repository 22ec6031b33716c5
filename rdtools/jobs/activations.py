"""Further passes of the model for methods that quantize activations: their maps are chosen, and the moments of their errors summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import OutputError, UsageError, counted, explained
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest, read_tokens
from rdtools.machine import check_disk, free_memory
from rdtools.model.tokens import Tokens
from rdtools.moments.activations import ActivationAccumulator
from rdtools.quantizers import ActivationQuantizer, Quantizer, quantizes_activations
from rdtools.records import ActivationGrid, InputMap
from rdtools.runs.activations import (
    ActivationKey,
    TokenSet,
    missing_keys,
    read_activations,
    reference_moment,
    write_activations,
    write_failure,
)
from rdtools.runs.store import Run
from rdtools.sweep.activations import activation_key
from rdtools.threads import one_blas_thread

if TYPE_CHECKING:
    from rdtools.model.activations import Consumer, Sample  # which load torch
    from rdtools.model.inputs import ModelLayers

Progress = Callable[[int, int], None]
#: Memory for running sums of one pass; more keys than fit are summed in further passes.
SUM_BYTES = 4 * 2**30


def collect_activations(
    run: Run,
    quantizers: Sequence[Quantizer],
    *,
    seeds: Sequence[int],
    layers: Sequence[str] | None,
    calibration: CalibrationRequest,
    evaluation: EvaluationRequest | None,
    trust_remote_code: bool = False,
    device: str = "cpu",
    say: Callable[[str], None] = lambda sentence: None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Sum the moments of quantized activations that methods need and the run lacks, over its calibration and its held-out tokens.

    Each is durable once its pass has finished; the same call after an interrupt makes the others. Nothing is loaded where nothing lacks.
    An error of one input or method is said, and noted in the run as the reason of its rows; the others go on.

    Parameters
    ----------
    run : with its Hessians
    quantizers : all methods; those that leave activations alone ask for nothing
    seeds : of the run
    layers : names of the layers that are worked on; None for all
    calibration, evaluation : the data of the run
    trust_remote_code, device : as the run was captured with
    say, progress : as for `rdtools.jobs.collect.collect`

    Raises
    ------
    UsageError
        If the data are not those of the run.
    ModelUnreadable, BadTokens, BadActivations, NotEnoughMemory, OutputError
    """
    inputs = sorted({entry.hessian for entry in run.layers if layers is None or entry.name in layers})
    quantizer_of: dict[ActivationKey, tuple[ActivationQuantizer, int]] = {}
    for quantizer in quantizers:
        if quantizes_activations(quantizer):
            for seed in seeds:
                for hessian in inputs:
                    quantizer_of.setdefault(activation_key(quantizer, hessian, seed=seed), (quantizer, seed))
    passes: dict[TokenSet, list[ActivationKey]] = {"calibration": missing_keys(run, list(quantizer_of))}
    held = [ActivationKey(key.hessian, key.grid, key.map_key, "heldout") for key in quantizer_of]
    passes["heldout"] = missing_keys(run, held)
    if not any(passes.values()):
        return
    _Passes(run, calibration, evaluation, trust_remote_code, device, say, progress).make(quantizer_of, passes)


#: By key of calibration tokens: the map and the grid.
Behind = dict[ActivationKey, tuple[InputMap, ActivationGrid]]


def of_calibration(key: ActivationKey) -> ActivationKey:
    """The key of the same moments over calibration tokens, on which map and grid are chosen."""
    return replace(key, tokens="calibration")


class _Passes:
    """A model, its tokens, and the run that moments go to; arguments as of `collect_activations`."""

    def __init__(
        self,
        run: Run,
        calibration: CalibrationRequest,
        evaluation: EvaluationRequest | None,
        trust_remote_code: bool,
        device: str,
        say: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self._run, self._say, self._progress = run, say, progress
        self._trust, self._device = trust_remote_code, device
        tokens, heldout = read_tokens(calibration, evaluation, run.checkpoint(), trust_remote_code=trust_remote_code)
        self._tokens: dict[TokenSet, Tokens | None] = {"calibration": tokens, "heldout": heldout}

    def _tokens_of(self, token_set: TokenSet) -> Tokens:
        """The tokens of a set, which must be those of the run."""
        held = self._run.manifest.heldout
        entry = self._run.manifest.calibration if token_set == "calibration" or held is None else held.tokens
        tokens = self._tokens[token_set]
        if tokens is None or tokens.sha256 != entry.token_sha256:
            raise UsageError(
                f"{self._run.path}: the {token_set} tokens are not those of the run, {entry.source}, over which moments of quantized "
                "activations are summed; give the data that the run was made with"
            )
        return tokens

    def make(
        self, quantizer_of: Mapping[ActivationKey, tuple[ActivationQuantizer, int]], passes: Mapping[TokenSet, list[ActivationKey]]
    ) -> None:
        """Choose maps, then sum over each set of tokens what is missing."""
        from rdtools.model.inputs import find_layers
        from rdtools.model.pretrained import load_model

        run = self._run
        tokens = {token_set: self._tokens_of(token_set) for token_set, keys in passes.items() if keys}  # refused before the model is loaded
        model = load_model(run.checkpoint(), trust_remote_code=self._trust, device=self._device, say=self._say)
        layers = find_layers(model, run.checkpoint(), head=run.manifest.model.head_analysed)
        behind = self._chosen(model, layers, quantizer_of, passes)
        for token_set, all_keys in passes.items():
            keys = [key for key in all_keys if of_calibration(key) in behind]
            if keys:
                self._say(f"quantized activations: {counted(len(keys), 'moment')} over the {token_set} tokens")
                self._sum(model, layers, tokens[token_set], keys, behind)

    def _chosen(
        self,
        model: Any,
        model_layers: ModelLayers,
        quantizer_of: Mapping[ActivationKey, tuple[ActivationQuantizer, int]],
        passes: Mapping[TokenSet, list[ActivationKey]],
    ) -> Behind:
        """Maps and grids of all keys that something is missing for."""
        run, lacking = self._run, {of_calibration(key) for keys in passes.values() for key in keys}
        behind: Behind = {}
        maps: dict[tuple[int, str], InputMap] = {}
        for key in quantizer_of:  # chosen already: a sample is not drawn anew
            if key not in passes["calibration"] and any((key.hessian, key.map_key) == (of.hessian, of.map_key) for of in lacking):
                moments = read_activations(run, key)
                assert moments is not None  # every input has calibration tokens
                maps[key.hessian, key.map_key] = moments.input_map
                behind[key] = moments.input_map, moments.grid
        chosen = {key: of for key, of in quantizer_of.items() if key in lacking - behind.keys()}
        samples = self._samples(model, model_layers, {(key.hessian, seed) for key, (method, seed) in chosen.items() if method.needs_sample})
        for key, (method, seed) in chosen.items():
            try:
                layers = [run[entry.name] for entry in run.layers if entry.hessian == key.hessian]
                sample = _checked(run.hessians[key.hessian].name, samples.get((key.hessian, seed)))
                with one_blas_thread():  # else their number decides about last bits, and those about a map
                    if (key.hessian, key.map_key) not in maps:
                        maps[key.hessian, key.map_key] = method.choose_map(layers, sample, seed=seed)
                    behind[key] = (chain := maps[key.hessian, key.map_key]), method.choose_grid(layers, sample, chain)
            except Exception as error:  # of these rows alone, in which it stands
                self._give_up([of for keys in passes.values() for of in keys if of_calibration(of) == key], error)
        return behind

    def _give_up(self, keys: Sequence[ActivationKey], error: Exception) -> None:
        """Say that there will be no moments of some keys of one input and map, and note it for their rows."""
        self._say(f"{self._run.hessians[keys[0].hessian].name}: no moments of quantized activations: {explained(error)}")
        for key in keys:
            write_failure(self._run, key, explained(error))

    def _samples(self, model: Any, layers: ModelLayers, keys: set[tuple[int, int]]) -> dict[tuple[int, int], Sample]:
        """Samples of activations over the calibration tokens, by input and seed."""
        from rdtools.model.activations import sample_activations

        run = self._run
        samples: dict[tuple[int, int], Sample] = {}
        for seed in sorted({seed for _, seed in keys}):
            names = {run.hessians[hessian].name: hessian for hessian, of in keys if of == seed}
            inputs = [item for item in layers.inputs if item.name in names]
            drawn = sample_activations(model, self._tokens_of("calibration"), inputs, seed=seed, progress=self._progress)
            samples |= {(names[name], seed): sample for name, sample in drawn.items()}
        return samples

    def _sum(self, model: Any, layers: ModelLayers, tokens: Tokens, keys: list[ActivationKey], behind: Behind) -> None:
        from rdtools.model.activations import check_dropped, run_activations

        run = self._run
        sizes = {key: _sum_bytes(behind[of_calibration(key)][0]) for key in keys}
        check_disk(run.path, sum(sizes.values()), counted(len(keys), "moment") + " of quantized activations")
        for part in _parts(sizes):
            sums: dict[ActivationKey, _Sum] = {}

            def begin(part: Sequence[ActivationKey] = part, sums: dict[ActivationKey, _Sum] = sums) -> dict[str, Consumer]:
                sums.update({key: _Sum(ActivationAccumulator(*behind[of_calibration(key)])) for key in part})
                return {run.hessians[hessian].name: _adding([sums[key] for key in part if key.hessian == hessian]) for hessian in
                        {key.hessian for key in part}}  # fmt: skip

            run_activations(model, tokens, begin, layers.inputs, progress=self._progress)
            for key in part:
                done, name = sums.pop(key).of, run.hessians[key.hessian].name
                try:
                    if isinstance(done, Exception):
                        raise done
                    check_dropped(name, done.kept, done.dropped)
                    write_activations(run, key, done.finish(reference_moment(run, key), name=name))
                except OutputError:
                    raise
                except Exception as error:  # of these rows alone, in which it stands
                    self._give_up([key], error)


@dataclass
class _Sum:
    """The running sums of a key, or the error that ended them."""

    of: ActivationAccumulator | Exception


def _adding(sums: Sequence[_Sum]) -> Consumer:
    def add(rows: Any) -> None:
        for each in sums:
            if isinstance(each.of, ActivationAccumulator):
                try:
                    each.of.add(rows)
                except Exception as error:
                    each.of = error

    return add


def _checked(name: str, sample: Sample | None) -> Float64Array | None:
    """The rows of a sample, if nearly all of them were finite."""
    from rdtools.model.activations import check_dropped

    if sample is None:
        return None
    check_dropped(name, sample.seen - sample.dropped, sample.dropped)
    return sample.rows.astype(np.float64)


def _sum_bytes(of: InputMap) -> int:
    """Bytes of the running sums of one key."""
    return 8 * of.outputs * (of.inputs + of.outputs + 1)


def _parts(sizes: Mapping[ActivationKey, int]) -> list[list[ActivationKey]]:
    """Keys in passes whose sums fit SUM_BYTES and half of the free memory; a larger one goes alone."""
    parts: list[list[ActivationKey]] = []
    used, budget = 0, min(SUM_BYTES, free_memory() // 2)
    for key, need in sizes.items():
        if not parts or used + need > budget:
            parts.append([])
            used = 0
        parts[-1].append(key)
        used += need
    return parts
