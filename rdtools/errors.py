"""Errors. A message is one line: where, what was got, what was expected, the likely cause, the remedy.

``exit_code`` is what the command line exits with: 1 some task failed, 2 usage, 65 bad data, 69 service unavailable,
71 too little memory, 74 input or output, 75 busy: try again later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


class RdtoolsError(Exception):
    """Base of everything that rdtools raises on purpose."""

    exit_code = 1


class UsageError(RdtoolsError, ValueError):
    """A setting that cannot be meant: a negative rate, an unknown method."""

    exit_code = 2


class InvalidRate(UsageError):
    """A rate that is zero, negative, not finite or beyond what codes of 32 bits can carry."""


class WrongType(UsageError, TypeError):
    """An argument of another type than the one that is needed."""


class UnknownMethod(UsageError):
    """A method name outside the registry."""


class UnsupportedOrder(UsageError):
    """No Hadamard matrix of this order can be built."""


class RateUnreachable(RdtoolsError, ValueError):
    """The method has no setting with this rate on this layer; the message says which rates it has."""


class NoChoices(RateUnreachable):
    """No choices have a sum that was asked for; `nearest` has the sums just below and above it, as far as there are any."""

    def __init__(self, message: str, nearest: tuple[float, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class TheoryError(RdtoolsError, ValueError):
    """An argument outside the domain of a formula: a singular spectrum where a determinant is needed, a probability above one."""


class DataError(RdtoolsError, ValueError):
    """Input that cannot be used as it is."""

    exit_code = 65


class NotFiniteInput(DataError):
    """NaN or infinity in a weight or a Hessian."""


class NotSymmetric(DataError):
    """A Hessian that differs from its transpose by more than rounding."""


class NotPositiveSemidefinite(DataError):
    """A Hessian with an eigenvalue below zero by more than rounding, or one that resists the largest damping."""


class ScaleOutOfRange(DataError):
    """Weights so small or large that a stored scale cannot hold their step."""


class ShapeMismatch(DataError):
    """Arrays whose shapes do not belong together."""


class UnsupportedDtype(DataError):
    """Numbers of a kind that cannot be computed with: complex, integer or quantized weights."""


class CorruptFile(DataError):
    """A file that is truncated, altered or not what its name says."""


class CodingError(RdtoolsError, RuntimeError):
    """Symbols that the entropy coder cannot code; a fault of rdtools."""


class ModelUnreadable(DataError):
    """A directory without a model, a missing shard, a checkpoint that is not safetensors."""


class NotByBlocks(RdtoolsError, RuntimeError):
    """A model cannot be run one decoder block at a time; the message says why."""

    exit_code = 65


class BadTokens(DataError):
    """Calibration data that is empty, ragged or outside the vocabulary."""


class BadActivations(DataError):
    """Too many calibration tokens with NaN or infinite activations."""


class ServiceUnavailable(RdtoolsError, ConnectionError):
    """The model hub, or the scheduler of a cluster, could not be reached or refused."""

    exit_code = 69


class OutputError(RdtoolsError, OSError):
    """A result could not be written."""

    exit_code = 74


class NotEnoughMemory(RdtoolsError, MemoryError):
    """Work that does not fit the memory of the machine or of a device."""

    exit_code = 71


class WorkerDied(RdtoolsError, RuntimeError):
    """A worker process ended in the middle of a task."""


class Busy(RdtoolsError, RuntimeError):
    """Another process is writing to the same run directory."""

    exit_code = 75


class BackendUnavailable(RdtoolsError, RuntimeError):
    """A kernel backend that was asked for by name and is missing."""


class MissingPackage(UsageError, ImportError):
    """An option that needs a package which is not installed, or which cannot be imported; the message says how to install it."""


class NotConverged(RdtoolsError, RuntimeError):
    """An iteration that did not reach its tolerance in the iterations it was given."""


def check_type(verb: str, got: type, expected: type, example: str) -> None:
    """Refuse an argument of another type, in a sentence that names the function and where such a thing comes from.

    Raises
    ------
    WrongType
    """
    if not issubclass(got, expected):
        raise WrongType(f"{verb}: got {got.__name__}, expected {expected.__name__}, {example}")


def optional_module(module: str, need: str, install: str) -> Any:
    """Module of a package that rdtools can do without.

    Parameters
    ----------
    module : its full name
    need : what needs it, for the message
    install : what pip installs it by, such as ``rdtools[export]``

    Raises
    ------
    MissingPackage
    """
    package = module.partition(".")[0]
    try:
        import_module(package)  # alone first: of a package that is there and too old, a part may be missing
        return import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "which is not installed" if absent else f"which cannot be imported ({one_line(error)})"
        command = f'pip install {"" if absent else "--upgrade "}"{install}"'
        raise MissingPackage(f"{need} needs the package {package.replace('_', '-')}, {reason}: {command}") from error


def one_line(error: BaseException) -> str:
    """The message of an error of another library, in one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def explained(error: BaseException) -> str:
    """Message of an error; its type too where it was not raised on purpose."""
    return str(error) if isinstance(error, RdtoolsError) else f"{type(error).__name__}: {error}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things, such as ``1 row`` and ``2 rows``, ``1 matrix`` and ``2 matrices``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors of rdtools raised inside begin with a name, such as that of a layer."""
    try:
        yield
    except RdtoolsError as error:
        text = str(error)
        raise type(error)(text if text.startswith(name) else f"{name}: {text}") from error
