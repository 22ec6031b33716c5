"""Whatever `encode` takes decodes to the same record; whatever would not is refused, and not written."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from golden_weights import WEIGHTS

from rdtools.coding import decode, encode
from rdtools.errors import RdtoolsError, ShapeMismatch, UsageError
from rdtools.measure.point import same_weight
from rdtools.records import Rotation

#: Too large for hundreds of files.
_LARGE = {"blocks", "wide", "coset wide"}
_SAMPLE = 6


def _others(value):
    """Values of about the same kind as one, that may not belong where it stands."""
    if isinstance(value, bool | np.bool_):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, 1000 * value + 7, 2**70]
    if isinstance(value, float):
        return [value * (1 + 1e-12), -value, float("nan"), 1e300]
    if isinstance(value, np.ndarray):
        changed = [value[:-1], np.concatenate([value, value]), value[None], value.astype(np.float32), value.astype(np.int64)]
        if value.size and value.dtype != bool:
            for number in (value.flat[0] + 1, value.flat[0] / 3, np.iinfo(np.int8).max, 0):
                changed.append(value.copy())
                changed[-1].flat[-1] = number
        return changed
    return [value[:-1], value + value[-1:], value[::-1]] if isinstance(value, tuple) else [f"{value}x"] if isinstance(value, str) else []


def _variants(record):
    """Functions that make the record with one thing changed, at any depth; the record may refuse."""
    if is_dataclass(record):
        for field in fields(record):
            for make in _variants(getattr(record, field.name)):
                yield lambda name=field.name, make=make: replace(record, **{name: make()})
    for value in [] if is_dataclass(record) else _others(record):
        yield lambda value=value: value
    for place, part in enumerate(record if isinstance(record, tuple) else ()):
        for make in _variants(part):
            yield lambda place=place, make=make: (*record[:place], make(), *record[place + 1 :])


@pytest.mark.filterwarnings("ignore:.*encountered in (cast|divide)")
def test_what_is_encoded_decodes_to_the_same_and_everything_else_is_refused():
    rng, refused, same = np.random.default_rng(5), 0, 0
    for name, weight in WEIGHTS.items():
        makers = [] if name in _LARGE else list(_variants(weight))
        for number in rng.permutation(len(makers))[:_SAMPLE]:
            try:
                changed = makers[number]()
            except (ValueError, TypeError, OverflowError):  # by the record itself
                continue
            try:
                data = encode(changed).data
            except (RdtoolsError, TypeError, OverflowError):
                refused += 1
                continue
            assert same_weight(decode(data), changed), name
            same += 1
    assert refused > 50
    assert same > 10


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"rows": 3}, ShapeMismatch, r"not those of 3 rows and 3 coded columns.* make the basis of the matrix"),
        ({"active": np.ones(4, dtype=bool), "rotation": None}, ShapeMismatch, "not those of 2 rows and 4 coded columns"),
        ({"rotation": Rotation("haar", 4, 7)}, ShapeMismatch, "a rotation of order 4, expected 3"),
        ({"row_rotation": Rotation("hadamard", 3, 7)}, ShapeMismatch, "a row rotation of order 3, expected 2"),
        ({"column_scales": np.array([1.0, 1.001, 1.0])}, UsageError, "a scale of .*1.001.* expected finite numbers of bfloat16"),
        ({"column_scales": np.ones(2)}, ShapeMismatch, r"column scales of float64 and shape \(2,\), expected float64 and \(3,\)"),
    ],
)
def test_a_basis_of_another_matrix_is_refused_with_both_sizes(change, error, words):
    weight = WEIGHTS["column"]
    with pytest.raises(error, match=words):
        encode(replace(weight, basis=replace(weight.basis, **change)))


def test_numbers_that_a_file_does_not_hold_are_refused():
    fixed, column = WEIGHTS["fixed"], WEIGHTS["column"]
    with pytest.raises(UsageError, match=r"0\.1.* would be stored as .*0.10000000149"):
        encode(replace(column, symbols=replace(column.symbols, grid=replace(column.symbols.grid, step=0.1))))
    with pytest.raises(UsageError, match="integers beyond the levels of their columns"):
        encode(replace(fixed, symbols=replace(fixed.symbols, integers=fixed.symbols.integers + np.int32(1))))
