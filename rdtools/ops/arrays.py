"""Arrays that operations take: their types, and one check of shapes and dtypes for all."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from rdtools.arrays import dtype_name
from rdtools.errors import ShapeMismatch, UnsupportedDtype

if TYPE_CHECKING:
    from torch import Tensor

#: NumPy arrays or torch tensors, one kind in a call; results are of that kind.
Array = TypeVar("Array", NDArray[Any], "Tensor")

#: What most operations compute in.
FLOATS = ("float64", "float32")


@cache
def _alternatives(expected: str) -> tuple[tuple[bool, tuple[str | int, ...]], ...]:
    """The alternatives of a shape such as "(..., 8) or (k, d)": for each, if it begins with an ellipsis, and its sizes and letters."""
    shapes = []
    for shape in expected.split(" or "):
        names = [name.strip() for name in shape.strip("()").split(",") if name.strip()]
        any_before = names[0] == "..."
        shapes.append((any_before, tuple(int(name) if name.isdigit() else name for name in names[any_before:])))
    return tuple(shapes)


def _fits(shape: tuple[int, ...], any_before: bool, names: tuple[str | int, ...], sizes: dict[str, int]) -> bool:
    """Compare a shape with sizes and letters; letters that are new get their size."""
    if any_before:
        shape = shape[-len(names) :]
    return len(names) == len(shape) and all(
        size == (name if isinstance(name, int) else sizes.setdefault(name, size)) for name, size in zip(names, shape, strict=True)
    )


def check_arrays(op: str, **arrays: tuple[Any, str, tuple[str, ...]]) -> None:
    """Check that shapes agree with each other and dtypes are among those that the operation takes.

    Parameters
    ----------
    op : name of the operation, for the message
    arrays : for each argument the array or tensor, its shape, and the dtypes, none for any. Shapes are such as "(m, n)", "(k, 8)" or
        "(..., n)", where a letter means the same size everywhere, and " or " joins several

    Raises
    ------
    ShapeMismatch, UnsupportedDtype
    """
    sizes: dict[str, int] = {}
    if not all(any(_fits(tuple(x.shape), *shape, sizes) for shape in _alternatives(shapes)) for x, shapes, _ in arrays.values()):
        actual = ", ".join(f"{name} {tuple(x.shape)}" for name, (x, _, _) in arrays.items())
        raise ShapeMismatch(f"{op}: {actual}; expected {', '.join(shapes for _, shapes, _ in arrays.values())}")
    for name, (x, _, dtypes) in arrays.items():
        if dtypes and dtype_name(x) not in dtypes:
            raise UnsupportedDtype(f"{op}: {name} of {dtype_name(x)}, expected {' or '.join(dtypes)}; convert it")
