"""Decoded matrices of a foreign file beside the originals: which reading of the layout is meant, and whether it is the same matrix."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import DataError, NotFiniteInput, ShapeMismatch
from rdtools.foreign.stored import StoredMatrix
from rdtools.model.layer_names import CapturedLayer

#: The errors of two readings have to differ by this factor; at 2 bits the wrong one is still about twice as bad.
_SURE = 0.8
#: Decoded weights that correlate less than this with the original, and leave half of the output energy or more, are of another matrix.
UNRELATED, _USELESS = 0.2, 0.5


def _part(values: Float64Array, stored: StoredMatrix, layer: CapturedLayer) -> Float64Array:
    """The weight (m, n) of a layer from a decoded matrix.

    Raises
    ------
    ShapeMismatch
    """
    if not stored.as_tensor and (layer.rows is not None or layer.outputs is not None):
        raise ShapeMismatch(
            f"{stored.label}: {layer.name} is a part of a tensor of the original, and one matrix here; leave it out with `layers`"
        )
    if stored.as_tensor:
        values = layer.part_of(values)
    if values.shape != layer.shape:
        raise ShapeMismatch(
            f"{stored.label} holds {values.shape}, {layer.name} of the run is {layer.shape}; a file of another model: give the one made "
            "from the run's model, or leave it out with `layers`"
        )
    return values


def check_shape(stored: StoredMatrix, layer: CapturedLayer) -> None:
    """Refuse a matrix whose shape is not that of a layer, before it is decoded.

    Raises
    ------
    ShapeMismatch
    """
    _part(np.broadcast_to(np.float64(0), stored.shape), stored, layer)


def decoded(stored: StoredMatrix, layer: CapturedLayer, original: Float64Array) -> tuple[Float64Array, str]:
    """The weight (m, n) of a layer, and the reading of its layout, the one nearer to the original where the file leaves a choice.

    Parameters
    ----------
    stored : matrix of the file
    layer : of the original
    original : (m, n) its weight

    Raises
    ------
    ShapeMismatch, NotFiniteInput
    DataError
        If two readings are about as near as each other, or the one that the file states is the farther.
    """
    check_shape(stored, layer)
    readings: dict[str, tuple[float, Float64Array]] = {}
    for name, read in stored.readings.items():
        values = _part(np.asarray(read(), dtype=np.float64), stored, layer)
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise NotFiniteInput(f"{stored.label}: {bad} decoded weights are NaN or infinite, such as by a scale of its; copy it again")
        readings[name] = (float(np.square(values - original).sum()), values)
    first = next(iter(readings))
    if len(readings) == 1:
        return readings[first][1], first
    ordered = sorted(readings, key=lambda name: readings[name][0])
    best, second = ordered[0], ordered[1]
    if readings[best][0] == readings[second][0]:
        return readings[first][1], first
    if readings[best][0] > _SURE * readings[second][0]:
        energy = float(np.square(original).sum()) or 1.0
        errors = " and ".join(f"{readings[name][0] / energy:.3g} ({name})" for name in (best, second))
        raise DataError(
            f"{stored.label}: relative errors of its readings are {errors}, too near to tell which is meant; a file of "
            "another model, or too coarse: "
            "leave it out with `layers`"
        )
    if stored.stated and best != first:
        raise DataError(
            f"{stored.label}: the configuration states {first}, and the weights are nearer to the original with {best}; correct its "
            "checkpoint_format"
        )
    return readings[best][1], best


def correlation(weight: Float64Array, values: Float64Array) -> float:
    """Cosine of the angle between two matrices; 0 where one is all zero."""
    size = float(np.linalg.norm(weight) * np.linalg.norm(values))
    return float((weight * values).sum() / size) if size else 0.0


def check_related(stored: StoredMatrix, layer: CapturedLayer, correlated: float, relative_distortion: float) -> None:
    """Refuse a decoded matrix that has nothing to do with the original.

    Raises
    ------
    DataError
    """
    if correlated < UNRELATED and not relative_distortion < _USELESS:
        raise DataError(
            f"{stored.label}: its correlation with {layer.name} of the run's model is {correlated:.3f} and its relative distortion "
            f"{relative_distortion:.3g}; a file of another model, or damaged: give the one made from the run's model, or "
            "leave it out with `layers`"
        )
