"""The matrix products of a forward pass that multiply activations by a parameter, whatever module or function computes them."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Block:
    """The matrix by which activations are multiplied: rows of a parameter, taken as a matrix with its last dimension as columns.

    Attributes
    ----------
    parameter : name
    rows : first row and the one after the last
    transposed : whether the rows hold (in_features, out_features)
    """

    parameter: str
    rows: tuple[int, int]
    transposed: bool


#: Function → (place and name of the activations, place and name of the weight, whether the weight is given as (in, out)). In a product of
#: matrices the weight may also be the left one.
_PRODUCTS: dict[str, tuple[tuple[int, str], tuple[int, str], bool]] = {
    "linear": ((0, "input"), (1, "weight"), False),
    "matmul": ((0, "input"), (1, "other"), True),
    "__matmul__": ((0, "input"), (1, "other"), True),
    "mm": ((0, "input"), (1, "mat2"), True),
    "bmm": ((0, "input"), (1, "mat2"), True),
    "addmm": ((1, "mat1"), (2, "mat2"), True),
    "baddbmm": ((1, "batch1"), (2, "batch2"), True),
}

#: Called with the matrix and its inputs (k, n), one row for each vector.
See = Callable[[Block, torch.Tensor], None]


class ParameterPlaces:
    """Places in memory of the matrices among a model's parameters; those on the meta device are nowhere.

    Parameters
    ----------
    model : its parameters must not be moved or replaced without a call of `update`
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.update()

    def update(self) -> None:
        """Look again."""
        parameters = [
            (p.data_ptr(), name, p)
            for name, p in self._model.named_parameters()
            if p.ndim >= 2 and p.numel() and not p.is_meta and p.is_contiguous()
        ]
        self._parameters = sorted(parameters, key=lambda entry: entry[0])
        self._starts = [start for start, _, _ in self._parameters]

    def locate(self, matrix: torch.Tensor, is_in_out: bool) -> Block | None:
        """The rows of a parameter that a matrix is, as it is or transposed; None if it is none."""
        index = bisect.bisect_right(self._starts, matrix.data_ptr()) - 1
        if index < 0:
            return None
        start, name, parameter = self._parameters[index]
        first = matrix.data_ptr() - start
        if first >= parameter.nbytes or matrix.dtype != parameter.dtype:
            return None
        columns = parameter.shape[-1]
        row, rest = divmod(first // parameter.element_size(), columns)
        if rest == 0 and matrix.shape[1] == columns and matrix.stride() == (columns, 1):
            return Block(name, (row, row + matrix.shape[0]), is_in_out)
        if rest == 0 and matrix.shape[0] == columns and matrix.stride() == (1, columns):
            return Block(name, (row, row + matrix.shape[1]), not is_in_out)
        return None


@dataclass(frozen=True, eq=False)
class Product:
    """A call that multiplies activations by matrices of a model.

    Attributes
    ----------
    name : of the function
    parts : each matrix with its inputs (k, n)
    output : shape of the result without its last dimension; None where the result is not (…, m)
    bias : what is added to the product, or None
    """

    name: str
    parts: list[tuple[Block, torch.Tensor]]
    output: tuple[int, ...] | None
    bias: torch.Tensor | None


#: Function → place and name of what it adds to the product, where it adds something.
_BIASES = {"linear": (2, "bias"), "addmm": (0, "input"), "baddbmm": (0, "input")}


def _argument(args: Any, kwargs: Any, position: tuple[int, str]) -> Any:
    number, name = position
    return args[number] if len(args) > number else kwargs.get(name)


def product_of(places: ParameterPlaces, func: Any, args: Any, kwargs: Any) -> Product | None:
    """The product of activations by parameters that a call is; None if it is none."""
    name = getattr(func, "__name__", "")
    kind = _PRODUCTS.get(name)
    if kind is None:
        return None
    left_place, right_place, is_in_out = kind
    left, right = _argument(args, kwargs, left_place), _argument(args, kwargs, right_place)
    if not (isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)):
        return None
    bias = _argument(args, kwargs, _BIASES[name]) if name in _BIASES else None
    parts = _blocks(places, left, right, is_in_out)
    if parts:
        return Product(name, parts, None if {"alpha", "beta"} & set(kwargs) else tuple(left.shape[:-1]), bias)
    if is_in_out and left.ndim == 2 and right.ndim >= 2:  # W X, whose columns are the vectors
        parts = _blocks(places, right.transpose(-1, -2), left, False)
    return Product(name, parts, None, bias) if parts else None


def _blocks(places: ParameterPlaces, x: torch.Tensor, weight: torch.Tensor, is_in_out: bool) -> list[tuple[Block, torch.Tensor]]:
    """Matrix and inputs (k, n) of each product in a call: one, or one for each matrix of a stack; none if it is no parameter's."""
    if weight.ndim == 2 and x.ndim >= 1:
        pairs = [(x, weight)]
    elif weight.ndim == 3 and x.ndim == 3 and len(x) == len(weight):
        pairs = list(zip(x, weight, strict=True))
    else:
        return []
    blocks = []
    for inputs, matrix in pairs:
        block = places.locate(matrix, is_in_out)
        if block is None:
            return []
        vectors = inputs.reshape(-1, inputs.shape[-1])
        # a stack of experts is given every token, zeros where it is not sent
        routed = len(pairs) > 1 and "experts" in block.parameter.split(".")
        blocks.append((block, vectors[vectors.any(dim=1)] if routed else vectors))
    return blocks


class Products(TorchFunctionMode):
    """Inside this context, `see` is called for every product of activations by a parameter or a part of it.

    A hook on modules would miss experts that are slices of one parameter, and cannot know which slice a function was given. Here the
    weight is recognized by its memory: a view of a parameter, as it is or transposed. A weight that was computed from a parameter
    (normalized, expanded) is not recognized.

    Parameters
    ----------
    model : its parameters, or their places
    see : receives products; inputs may be changed in place after it returns
    """

    def __init__(self, model: nn.Module | ParameterPlaces, see: See) -> None:
        super().__init__()
        self._see = see
        self._places = model if isinstance(model, ParameterPlaces) else ParameterPlaces(model)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and look at it if it is a product."""
        kwargs = kwargs or {}
        product = product_of(self._places, func, args, kwargs)
        for block, vectors in () if product is None else product.parts:
            self._see(block, vectors)
        return func(*args, **kwargs)
