"""Every operation with the kernel modules that compute it, and tiny inputs that compile them.

This table is the only place that knows a kernel module. A module has a function of the operation's name; all backends of one operation take
the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from rdtools.errors import BackendUnavailable, UsageError

Call = tuple[tuple[Any, ...], dict[str, Any]]
_FLOATS = (np.float64, np.float32)


@dataclass(frozen=True)
class Operation:
    """A computation and who can do it.

    Attributes
    ----------
    name : of the function in each kernel module
    modules : backend → kernel module; every operation has a "reference"
    examples : calls, as positional and named arguments, that compile each signature which quantizers and capture use; fresh arrays each
        time, because some operations overwrite them
    """

    name: str
    modules: Mapping[str, str]
    examples: Callable[[], Iterator[Call]] = field(default=lambda: iter(()), repr=False)


def _sic(*, gains: bool) -> Iterator[Call]:
    for dtype in _FLOATS:
        ones = np.ones(1)
        yield (np.zeros((1, 1), dtype=dtype), np.ones((1, 1)), ones, *([ones] if gains else [])), {"integer_min": -1, "integer_max": 1}


def _cancellation_moments() -> Iterator[Call]:
    channel = np.zeros((2, 4)) + np.arange(2.0)[:, None]
    for n in (1, 60):  # one panel, and several; a fine step, where the statistics are in closed form
        yield (np.eye(n), np.full(n, 0.25), np.full(n, np.nan), np.zeros((n, n)), 1.0, channel), {}


def _coordinate_descent() -> Iterator[Call]:
    for dtype in _FLOATS:
        integers, order = np.zeros((1, 1), dtype=np.int32), np.zeros(1, dtype=np.int64)
        yield (
            (np.zeros((1, 1), dtype=dtype), np.ones((1, 1)), integers, np.ones(1), order),
            {"integer_min": -1, "integer_max": 1, "passes": 1},
        )


def _hadamard() -> Iterator[Call]:
    for dtype in _FLOATS:
        for order in (1, 2):
            yield (np.zeros((1, 4), dtype=dtype), np.ones((order, order))), {}


def _vectors() -> Iterator[Call]:
    for dtype in _FLOATS:
        yield (np.full((1, 8), 0.6, dtype=dtype),), {}  # no tie


def _nearest_centroid() -> Iterator[Call]:
    for dtype in _FLOATS:
        for d, weight in ((4, 1.0), (4, 2.0), (8, 1.0)):  # plain, weighted, and plain in eight coordinates
            yield (np.zeros((1, d), dtype=dtype), np.zeros((2, d), dtype=dtype), np.full(d, weight, dtype=dtype)), {}


def _centroid_update() -> Iterator[Call]:
    for dtype in _FLOATS:
        vectors = np.zeros((1, 4), dtype=dtype)
        yield (vectors, np.zeros(1, dtype=np.int32), np.ones(4, dtype=dtype), vectors.copy()), {}


def _codebook(*, search: bool) -> Iterator[Call]:
    codes, slots, one = np.zeros((1, 1), dtype=np.uint16), np.zeros((1, 2), dtype=np.int64), np.ones(1, dtype=np.int64)
    for dtype in _FLOATS:
        weight, scales, books = (np.ones(shape, dtype=dtype) for shape in ((1, 2), 1, (1, 1, 2)))
        searched = (np.eye(2, dtype=dtype), scales, books, codes, slots, 0 * one, one)
        yield ((weight, *searched), {"beam": 1}) if search else ((weight, scales, books, codes, slots), {})


def _rank_update() -> Iterator[Call]:
    for dtype in _FLOATS:
        yield (np.zeros((1, 1)), np.zeros((1, 1), dtype=dtype)), {}


def _column_histogram() -> Iterator[Call]:
    for columns in (1, 600):  # one strip, and strips of a wider table
        yield (np.zeros((2, columns), dtype=np.int32),), {"low": 0, "width": 1}


def _trellis() -> Iterator[Call]:
    for dtype in _FLOATS:
        yield (np.zeros((1, 4), dtype=dtype), np.zeros((4, 1)), 1, True), {}


def _coset_trellis() -> Iterator[Call]:
    for dtype in _FLOATS:
        yield (np.zeros((1, 1), dtype=dtype), np.ones((1, 1)), np.ones(1), 4), {"segment": 1, "integer_max": 8}


def _coset_coder(*, decode: bool) -> Iterator[Call]:
    tables = (
        np.array([0, 1 << 23, (1 << 24) - 1, 1 << 24] * 2, dtype=np.uint32),
        np.array([0, 4, 8]),
        np.ones(1, np.int64),
        np.zeros(1, np.int64),
    )
    model = (np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), tables, np.zeros((1, 2), np.int32), 1)
    if decode:
        yield (np.ones(1, dtype=np.uint32), np.zeros(0, np.int64), *model), {}
    else:
        yield (np.zeros((1, 1), dtype=np.int32), *model), {}


def _adaptive_coder(*, decode: bool) -> Iterator[Call]:
    zero, one = np.zeros(1, np.int64), np.ones(1)
    # eight rows, so that their products are added and factored
    model = (np.zeros(8, np.int64), zero, (zero, one, one), 1.0, np.zeros((0, 2), np.int32), 1)
    if decode:
        yield (np.zeros(2, dtype=np.uint32), np.zeros(0, np.int64), *model), {}
    else:
        yield (np.zeros((8, 1), dtype=np.int32), *model), {}


def _householder() -> Iterator[Call]:
    yield (np.zeros((1, 2)), np.ones((1, 2)), np.ones(1), np.zeros(1, dtype=np.int64)), {}


def _portable_normal() -> Iterator[Call]:
    yield (0, 0, 0, 2), {}


def _family(family: str, *fast: str) -> dict[str, str]:
    return {backend: f"rdtools.kernels.{family}_{backend}" for backend in ("reference", *fast)}


#: Name → operation.
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("sic_sweep", _family("sic_sweep", "numba", "triton", "torch"), lambda: _sic(gains=True)),
        Operation("sic_sweep_sample_gains", _family("sic_sweep", "numba", "triton", "torch"), lambda: _sic(gains=False)),
        Operation("cancellation_moments", _family("cancellation_moments", "numba"), _cancellation_moments),
        Operation("coordinate_descent", _family("coordinate_descent", "numba", "triton", "torch"), _coordinate_descent),
        Operation("hadamard_inplace", _family("hadamard", "numba", "triton", "torch"), _hadamard),
        Operation("e8p_nearest", _family("e8p", "numba", "triton", "torch"), _vectors),
        Operation("e8_short_nearest", _family("e8p_residual", "numba", "triton", "torch"), _vectors),
        Operation("e8p_codewords", _family("e8p")),
        Operation("e8_short_words", _family("e8p_residual")),
        Operation("householder_product", _family("householder", "numba", "torch"), _householder),
        Operation("portable_normal", _family("gaussian", "numba"), _portable_normal),
        Operation("nearest_centroid", _family("nearest_centroid", "numba"), _nearest_centroid),
        Operation("centroid_update", _family("nearest_centroid", "numba"), _centroid_update),
        Operation("codebook_error", _family("codebook", "numba"), lambda: _codebook(search=False)),
        Operation("codebook_gradient", _family("codebook", "numba"), lambda: _codebook(search=False)),
        Operation("codebook_search", _family("codebook", "numba"), lambda: _codebook(search=True)),
        Operation("rank_update", _family("rank_update", "numba"), _rank_update),
        Operation("column_histogram", _family("column_histogram", "numba", "torch"), _column_histogram),
        Operation("trellis_quantize", _family("trellis", "numba", "triton", "torch"), _trellis),
        Operation("trellis_values", _family("trellis")),
        Operation("trellis_pack", _family("trellis")),
        Operation("trellis_unpack", _family("trellis")),
        Operation("coset_trellis_sweep", _family("coset_trellis", "numba", "triton", "torch"), _coset_trellis),
        Operation("coset_transitions", _family("coset_trellis")),
        Operation("coset_encode", _family("coset_coder", "numba"), lambda: _coset_coder(decode=False)),
        Operation("adaptive_encode", _family("adaptive_coder", "numba"), lambda: _adaptive_coder(decode=False)),
        Operation("adaptive_length", _family("adaptive_coder", "numba"), lambda: _adaptive_coder(decode=False)),
        Operation("adaptive_moment", _family("adaptive_moment")),
        Operation("adaptive_decode", _family("adaptive_coder", "numba"), lambda: _adaptive_coder(decode=True)),
        Operation("coset_decode", _family("coset_coder", "numba"), lambda: _coset_coder(decode=True)),
    )
}


def operation(name: str) -> Operation:
    """The operation of that name.

    Raises
    ------
    UsageError
    """
    if name not in OPERATIONS:
        raise UsageError(f"operation {name!r}: expected one of {', '.join(OPERATIONS)}")
    return OPERATIONS[name]


def backends(name: str) -> tuple[str, ...]:
    """Backends that an operation has, installed here or not.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> backends("rank_update")
    ('reference', 'numba')
    """
    return tuple(operation(name).modules)


def device_backend(name: str, device: str) -> str:
    """The backend of an operation for tensors on a kind of device: Triton's kernel on CUDA where there is one, else torch's own functions.

    Raises
    ------
    UsageError
    BackendUnavailable
        If the operation has neither.

    Examples
    --------
    >>> device_backend("sic_sweep", "cuda"), device_backend("column_histogram", "cuda")
    ('triton', 'torch')
    """
    known = backends(name)
    for backend in ("triton", "torch") if device == "cuda" else ("torch",):
        if backend in known:
            return backend
    raise BackendUnavailable(f"{name}: it works in main memory, there is no kernel of it for tensors on {device}; move them with .cpu()")


def kernel(name: str, backend: str = "reference") -> Any:
    """The function that computes an operation on a backend.

    Raises
    ------
    UsageError
    BackendUnavailable
        If the operation does not have the backend, or Triton cannot be imported.
    """
    modules = operation(name).modules
    if backend not in modules:
        raise BackendUnavailable(f"{name}: there is no {backend.capitalize()} kernel for it; move the tensors with .cpu()")
    try:
        return getattr(import_module(modules[backend]), name)
    except (ImportError, OSError, RuntimeError) as error:
        if backend != "triton":
            raise
        raise BackendUnavailable(f"{name}: backend 'triton' cannot be loaded: {error}; move the tensors with .cpu()") from error


def warm_up(names: Sequence[str] | None = None) -> None:
    """Compile the Numba kernels of these operations, of all for None, so that other processes load them from the cache on disk.

    Without Numba there is nothing to compile.

    Raises
    ------
    UsageError
        For a name that is no operation.
    """
    chosen = [operation(name) for name in (OPERATIONS if names is None else names)]
    if find_spec("numba") is None:
        return
    for entry in chosen:
        if "numba" in entry.modules:
            compiled = kernel(entry.name, "numba")
            for arguments, options in entry.examples():
                compiled(*arguments, **options)
