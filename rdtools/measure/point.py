"""One measured point: coded, decoded, compared with the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from rdtools.coding import MAX_WEIGHTS, Container, MatrixBits, codec_of, container_bits, decode_all, encode, rows_of, sampled_bits
from rdtools.coding.reconstruct import effective_layer
from rdtools.errors import CorruptFile, ShapeMismatch, UsageError, WrongType, check_type
from rdtools.measure import distortion
from rdtools.measure.bias import bias_beside
from rdtools.measure.distortion import errors_of
from rdtools.measure.effective_error import error
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.records import Coding, InputMoments, QuantizedLayer, QuantizedWeight, RDPoint
from rdtools.threads import one_blas_thread


def same_weight(a: QuantizedWeight, b: QuantizedWeight) -> bool:
    """True if two quantized weights are equal to the bit."""

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, np.ndarray):
            return isinstance(y, np.ndarray) and x.dtype == y.dtype and np.array_equal(x, y)
        if isinstance(x, tuple):
            return isinstance(y, tuple) and len(x) == len(y) and all(map(same, x, y))
        if is_dataclass(x):
            return type(x) is type(y) and all(same(getattr(x, f.name), getattr(y, f.name)) for f in fields(x))
        return bool(x == y)

    return same(a, b)


@dataclass(frozen=True, eq=False)
class CodedWeight:
    """A weight in a file that decodes to it.

    Attributes
    ----------
    weight : what the file decodes to, to the bit
    data : the file; empty where a sample of it was made
    index : of the matrix in the file
    layers : matrices in the file
    bits : of the matrix, its own and its part of what the file has once for all
    share : of the integers that were coded, decoded and compared; None for all
    """

    weight: QuantizedWeight
    data: bytes
    index: int
    layers: int
    bits: MatrixBits
    share: float | None = None


def _checked(container: Container, weights: Sequence[QuantizedWeight], names: Sequence[str]) -> list[CodedWeight]:
    """The matrices of a file, decoded and found to be those that were written."""
    for weight, read, name in zip(weights, decode_all(container.data, name=", ".join(names), max_weights=MAX_WEIGHTS), names, strict=True):
        if not same_weight(read, weight):
            raise CorruptFile(
                f"{name}: the coded file does not decode to what was encoded; a fault of rdtools or of this machine: please report it"
            )
    shares = enumerate(zip(weights, container_bits(container), strict=True))
    return [CodedWeight(weight, container.data, index, len(weights), bits) for index, (weight, bits) in shares]


def coded(weights: Sequence[QuantizedWeight], names: Sequence[str]) -> list[CodedWeight]:
    """Weights of one input coded and decoded again, all in one file or each in its own, whichever takes fewer bytes in all.

    One file has the active columns, the seed of the rotation and the exponents of the steps once, and models that the decoder learns go on
    from one matrix to the next. The integers are the same, and so are all weights and errors.

    Parameters
    ----------
    weights : of one or more layers
    names : of these, for messages

    Raises
    ------
    CorruptFile
        If a file does not decode to what was encoded.
    """
    single = [encode(weight) for weight in weights]
    if len(weights) > 1:
        together = encode(weights, following=True)
        if len(together.data) < sum(len(container.data) for container in single):
            return _checked(together, weights, names)
    return [_checked(container, [weight], [name])[0] for container, weight, name in zip(single, weights, names, strict=True)]


def sampled(weight: QuantizedWeight, name: str) -> CodedWeight:
    """A weight of whose file every eighth block of columns is coded, decoded and compared, and the others are counted by their model.

    It is coded whole where it has few blocks, and where its symbols have no blocks that can be counted by themselves.

    Parameters
    ----------
    weight : of one layer
    name : of this, for messages

    Raises
    ------
    CorruptFile, CodingError
        If what is coded does not decode to its integers, or a block takes another length than by its model.
    """
    sample = sampled_bits(weight)
    return coded([weight], [name])[0] if sample is None else CodedWeight(weight, b"", 0, 1, sample.bits, sample.share)


def measure(
    layer: Layer,
    quantized: QuantizedLayer,
    heldout: HeldoutMoment | None = None,
    *,
    file: CodedWeight | None = None,
    coding: Coding = "exact",
    moments: InputMoments | None = None,
    heldout_moments: InputMoments | None = None,
) -> RDPoint:
    """Code a quantized layer, decode it, and measure what came back.

    The distortion is that of the decoded file, and the file must decode to exactly what was encoded.

    Parameters
    ----------
    layer : the original
    quantized : a quantizer's answer for it
    file : what `coded` gave for its weight, beside those of other layers; None for a file of its own
    heldout : a held-out moment of the layer's input, for `RDPoint.heldout_distortion`, which is nan without
    coding : "sampled" for a file of its own of which a part is coded, see `sampled`; the distortion is then that of the weights that were
        to be coded
    moments : of x beside Q(T x), for an answer that quantizes activations; see `rdtools.measure.error`
    heldout_moments : the same over held-out tokens, without which `RDPoint.heldout_distortion` of such an answer is nan

    Raises
    ------
    CorruptFile
        If the file does not decode to what was encoded.
    UsageError
        If another layer was quantized; layers are told apart by their weights. If `moments` are missing, or not those of the answer.
    WrongType
        If they are not a layer, an answer and a held-out moment, in this order.
    ShapeMismatch
        If the held-out moment is of another number of inputs.
    """
    if not (isinstance(layer, Layer) and isinstance(quantized, QuantizedLayer)):
        raise WrongType(
            f"measure: got {type(layer).__name__} and {type(quantized).__name__}, expected a Layer and what a quantizer answered: "
            "measure(layer, quantizer.quantize(layer))"
        )
    _check_beside(layer, heldout, moments, heldout_moments)
    if quantized.weight_checksum != layer.weight_checksum:
        raise UsageError(
            f"measure: got the layer {layer.key.name!r} of {layer.weight.shape} and what became of {quantized.key.name!r} of "
            f"{quantized.weight.shape}, whose weights are others (CRC-32 {layer.weight_checksum:08x} and {quantized.weight_checksum:08x}); "
            "expected the layer that was quantized; against other weights: measure.weighted_error(weight, reconstruct(quantized.weight), H)"
        )
    with one_blas_thread():  # many small products are far slower with several
        if file is None:
            name = layer.key.name
            file = sampled(quantized.weight, name) if coding == "sampled" else coded([quantized.weight], [name])[0]
        return _measure(layer, file, heldout, moments, heldout_moments)


def measure_weight(
    layer: Layer,
    weight: QuantizedWeight,
    heldout: HeldoutMoment | None = None,
    *,
    moments: InputMoments | None = None,
    heldout_moments: InputMoments | None = None,
) -> RDPoint:
    """`measure` for weights of which only the file is known, such as one that was loaded; the layer must have their shape.

    Raises
    ------
    WrongType, ShapeMismatch, CorruptFile, UsageError
        As `measure` does.
    """
    if not isinstance(layer, Layer):
        raise WrongType(f"measure: got {type(layer).__name__}, expected the Layer whose weights these stand for: weight.measure(layer)")
    shape = weight.basis.rows, len(weight.basis.active)
    if shape != layer.weight.shape:
        raise ShapeMismatch(f"{layer.key.name}: weights {tuple(layer.weight.shape)} beside quantized ones {shape}, expected the same shape")
    _check_beside(layer, heldout, moments, heldout_moments)
    with one_blas_thread():  # many small products are far slower with several
        return _measure(layer, coded([weight], [layer.key.name])[0], heldout, moments, heldout_moments)


def _check_beside(layer: Layer, heldout: object, *moments: object) -> None:
    if heldout is not None and not isinstance(heldout, HeldoutMoment):
        raise WrongType(
            f"measure: got {type(heldout).__name__} as held-out moment, expected a HeldoutMoment: HeldoutMoment.of(matrix), "
            "or open_run(path).heldout(number)"
        )
    for moment in moments:
        if moment is not None:
            check_type("measure", type(moment), InputMoments, "such as `moments` of the ActivationMoments that were given to quantize")
    if heldout is not None and heldout.columns != layer.weight.shape[1]:
        raise ShapeMismatch(
            f"{layer.key.name}: {heldout.name} of {heldout.columns} inputs beside weights {layer.weight.shape}, expected the moment of "
            f"this layer's {layer.weight.shape[1]} inputs"
        )


def _ratio(value: float, by: float) -> float:
    return value / by if by > 0 else math.nan


def _measure(
    layer: Layer,
    file: CodedWeight,
    heldout: HeldoutMoment | None,
    moments: InputMoments | None,
    heldout_moments: InputMoments | None,
) -> RDPoint:
    weight, bits = file.weight, file.bits
    alone = weight.parts.activation is None and moments is None
    blocks = rows_of(weight, distortion.BLOCK_ENTRIES, layer.weight)
    beside = {} if weight.parts.bias is None else bias_beside(layer, weight.parts.bias, heldout)
    moment, other = (layer.hessian.matrix, heldout) if alone else (None, None)
    errors = errors_of(layer.weight, blocks, moment, other, **beside)
    effective = None if alone else effective_layer(weight)
    measured = errors.distortion if effective is None else error(layer, effective, moments)
    size, low = math.prod(layer.weight.shape), weight.parts.low_rank
    codec = codec_of(weight.symbols)
    symbols = codec.diagnostics(weight.symbols)
    coded_share = symbols.symbols / size
    symbol_bpw, total_bpw = symbols.length_bits / size, bits.total / size
    active_fraction = float(layer.active.mean())
    relative = _ratio(measured.mean, layer.statistics.energy)
    held = math.nan
    if heldout is not None and effective is None:
        held = _ratio(errors.heldout, heldout.energy(layer))
    elif heldout is not None and effective is not None and heldout_moments is not None:
        held = _ratio(error(layer, effective, heldout_moments).mean, heldout.energy(layer))
    return RDPoint(
        distortion=measured.mean,
        distortion_stderr=measured.stderr,
        relative_distortion=relative,
        heldout_distortion=held,
        heldout_over_calibration=_ratio(held, relative),
        sqnr_db=-10 * math.log10(relative) if relative > 0 else math.inf if relative == 0 else math.nan,
        squared_error=errors.mean_square,
        clipped_fraction=symbols.clipped_fraction,
        rate_kind=codec.rate_kind(weight.symbols),
        symbol_bpw=symbol_bpw,
        symbol_active_bpw=symbol_bpw / active_fraction if active_fraction else 0.0,
        entropy_pooled_bpw=symbols.entropy_shared_bits * coded_share,
        entropy_per_column_bpw=symbols.entropy_column_bits * coded_share,
        payload_bpw=bits.payload / size,
        overhead_bpw=total_bpw - symbol_bpw,
        total_bpw=total_bpw,
        coded_share=file.share,
        container_layers=file.layers,
        low_rank=0 if low is None else low.rank,
        low_rank_bpw=0.0 if low is None else low.bits / size,
    )
