"""Types of tensors in GGUF files: weights and bytes of a block, and how many of its bits are integers or indices of codewords."""

from __future__ import annotations

import re
from typing import NamedTuple


class GGUFType(NamedTuple):
    """A type: `codes` are the bits of a block that are not scales, minima or shifts."""

    name: str
    block: int
    bytes: int
    codes: int

    @property
    def bpw(self) -> float:
        """Bits per weight."""
        return 8 * self.bytes / self.block


#: Number in the file → type.
TYPES = {
    0: GGUFType("F32", 1, 4, 32),
    1: GGUFType("F16", 1, 2, 16),
    2: GGUFType("Q4_0", 32, 18, 128),
    3: GGUFType("Q4_1", 32, 20, 128),
    6: GGUFType("Q5_0", 32, 22, 160),
    7: GGUFType("Q5_1", 32, 24, 160),
    8: GGUFType("Q8_0", 32, 34, 256),
    10: GGUFType("Q2_K", 256, 84, 512),
    11: GGUFType("Q3_K", 256, 110, 768),
    12: GGUFType("Q4_K", 256, 144, 1024),
    13: GGUFType("Q5_K", 256, 176, 1280),
    14: GGUFType("Q6_K", 256, 210, 1536),
    # of 64 bits for 32 weights, 4 are a scale
    16: GGUFType("IQ2_XXS", 256, 66, 480),
    17: GGUFType("IQ2_XS", 256, 74, 512),
    18: GGUFType("IQ3_XXS", 256, 98, 736),
    # of 16 bits for 32 weights beside 8-bit indices, 12 continue these, 3 are a scale and 1 a shift
    19: GGUFType("IQ1_S", 256, 50, 352),
    20: GGUFType("IQ4_NL", 32, 18, 128),
    21: GGUFType("IQ3_S", 256, 110, 832),
    22: GGUFType("IQ2_S", 256, 82, 576),
    23: GGUFType("IQ4_XS", 256, 136, 1024),
    28: GGUFType("F64", 1, 8, 64),
    # of 4 bits for 8 weights beside an 8-bit index, 3 continue it and 1 is a shift
    29: GGUFType("IQ1_M", 256, 56, 352),
    30: GGUFType("BF16", 1, 2, 16),
    34: GGUFType("TQ1_0", 256, 54, 416),
    35: GGUFType("TQ2_0", 256, 66, 512),
    39: GGUFType("MXFP4", 32, 17, 128),
    40: GGUFType("NVFP4", 64, 36, 256),
}
#: Names of mixtures that are not their main type with _S, _M or _L behind it; most tensors of a mixture IQ2_S are IQ2_XS.
_MIXTURES = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S", "MXFP4_MOE": "MXFP4"}
_BY_NAME = {kind.name: kind for kind in TYPES.values()}
_NAME = re.compile(
    r"(?<![A-Za-z0-9])(IQ\d_[A-Z]+|TQ\d_0|Q\d_K(?:_[SML])?|Q\d_[01]|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32)(?![A-Za-z0-9])", re.IGNORECASE
)


def named_type(file_name: str) -> GGUFType | None:
    """The type that the name of a file or of a mixture states, that of most tensors in a mixture; None where it states none.

    Examples
    --------
    >>> [named_type(f"x-{name}.gguf").name for name in ("Q2_K_S", "IQ2_M", "IQ2_S")], named_type("model.gguf")
    (['Q2_K', 'IQ2_S', 'IQ2_XS'], None)
    """
    names = _NAME.findall(file_name)
    if not names:
        return None
    name = names[-1].upper()
    name = _MIXTURES.get(name, name)
    return _BY_NAME.get(name) or _BY_NAME.get(re.sub(r"_[SML]$", "", name))


def type_note(kind: GGUFType, named: GGUFType | None, columns: int) -> tuple[str, bool]:
    """A sentence on a type that is not the one in the file's name, and whether the shape forced it."""
    if named is None or kind == named:
        return "", False
    rates = f"{kind.name} of {kind.bpw:.4g} bpw where the name says {named.name} of {named.bpw:.4g}"
    if columns % named.block and kind.block < named.block:
        return f"{rates}: {columns} columns are no multiple of {named.block}, so that the quantizer fell back", True
    return rates, False
