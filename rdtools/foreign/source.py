"""Files of a foreign checkpoint in safetensors, and its configuration; headers are read, tensors when they are asked for."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rdtools.errors import CorruptFile, DataError, UnsupportedDtype
from rdtools.model.config_limits import LARGEST
from rdtools.model.weight_files import tensor_names, weight_files

#: Bits of the types of numbers that safetensors name.
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class TensorHeader:
    """Type and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Size in the file."""
        return _BITS.get(self.dtype, 8) * math.prod(self.shape)


@dataclass(frozen=True)
class Source:
    """A path with safetensors.

    Attributes
    ----------
    path : directory, or one file
    """

    path: Path

    @property
    def directory(self) -> Path:
        """The directory."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def quantization(self) -> dict[str, Any]:
        """Configuration of the quantizer; empty where there is none.

        Raises
        ------
        CorruptFile
        """
        for name, inside in (("config.json", True), ("quantize_config.json", False)):
            path = self.directory / name
            if not path.is_file():
                continue
            try:
                if path.stat().st_size > LARGEST:
                    raise ValueError(f"more than {LARGEST} bytes")
                content = json.loads(path.read_text())
                settings = content.get("quantization_config") if inside else {"quant_method": "gptq", **content}
            except (ValueError, OSError, RecursionError, AttributeError, TypeError) as error:
                raise CorruptFile(f"{path}: not a configuration ({error}); copy it again") from error
            if settings is not None and not isinstance(settings, dict):
                raise CorruptFile(f"{path}: quantization_config is {settings!r:.80}, expected an object; copy it again")
            if settings:
                return settings
        return {}

    @cached_property
    def _file_of(self) -> dict[str, Path]:
        if self.path.is_file():
            return dict.fromkeys(tensor_names(self.path), self.path)
        single = sorted(path for path in self.path.glob("*.safetensors") if path.is_file())
        standard = any((self.path / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))
        if not standard and len(single) == 1:
            return dict.fromkeys(tensor_names(single[0]), single[0])
        return {name: self.path / file for name, file in weight_files(self.path, None)[0].items()}

    @cached_property
    def headers(self) -> dict[str, TensorHeader]:
        """Type and shape of every tensor.

        Raises
        ------
        CorruptFile, ModelUnreadable
        """
        from safetensors import safe_open

        headers = {}
        for path in sorted(set(self._file_of.values())):
            with safe_open(path, framework="np") as file:
                for name in (n for n, file in self._file_of.items() if file == path):
                    part = file.get_slice(name)
                    headers[name] = TensorHeader(part.get_dtype(), tuple(part.get_shape()))
        return headers

    def label(self, tensor: str) -> str:
        """File and tensor, for messages."""
        return f"{self._file_of.get(tensor, self.path)}: {tensor}"

    def expect(self, tensor: str, *, dtypes: tuple[str, ...], shapes: tuple[tuple[int, ...], ...] = ()) -> TensorHeader:
        """Header of a tensor that has to be there, with one of these types and, where some are given, of these shapes.

        Raises
        ------
        DataError, UnsupportedDtype
        """
        header = self.headers.get(tensor)
        if header is None:
            raise DataError(f"{self.path}: no tensor {tensor}, which this format needs; the file is incomplete: copy it again")
        if header.dtype not in dtypes:
            raise UnsupportedDtype(f"{self.label(tensor)} has dtype {header.dtype}, expected {' or '.join(dtypes)}; of another format")
        if shapes and header.shape not in shapes:
            raise DataError(
                f"{self.label(tensor)} has shape {header.shape}, expected {' or '.join(map(str, shapes))}: it does not belong to the "
                "tensors beside it, or the configuration is of another file; copy both again"
            )
        return header

    def tensor(self, name: str) -> Any:
        """A tensor of torch."""
        from safetensors import safe_open

        with safe_open(self._file_of[name], framework="pt") as file:
            return file.get_tensor(name)
