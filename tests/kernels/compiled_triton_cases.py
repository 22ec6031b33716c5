"""Triton's kernels compiled for an H100 that is not there; `test_triton` runs this in a process of its own, without the interpreter.

Every product is rounded before it is added, quotients are right to rounding and shared memory is enough.
"""

from __future__ import annotations

import importlib
import re

import pytest

TABLES = {"vectors": "*{}", "table": "*fp64", "codes": "*i32", "words": "*{}"}
#: Module, kernel, constants by name (a string is one of the module), types of arguments that are no int32, and warps.
KERNELS = {
    "e8p": ("e8p", "_nearest", {"ROWS": "ROWS"}, TABLES, 4),
    "e8p_residual": ("e8p_residual", "_nearest_short", {"ROWS": "ROWS"}, TABLES, 4),
    "coordinate_descent": (
        "coordinate_descent",
        "_move_strip",
        {"WIDTH": "STRIP", "ROWS": "ROWS"},
        dict.fromkeys(("weight", "moment", "steps", "constants", "gradient", "error", "change"), "*{}")
        | dict.fromkeys(("integers", "moved"), "*i32"),
        4,
    ),
} | {
    f"walks of {states} states": (
        "coset_trellis",
        "_decide_strip",
        {"STATES": states, "STATE_BITS": states.bit_length() - 1, "RENEW": 32, "NEVER": 1e30}
        | {"ROWS": "ROWS", "COLUMNS": "COLUMNS", "KEEPS_RESIDUAL": True},
        dict.fromkeys(("feedback", "factor", "spacings", "error", "residual"), "*{}")
        | {"targets": "*fp64", "distances": "*fp32"}
        | dict.fromkeys(("labels", "integers", "marks", "words"), "*i32"),
        None,
    )
    for states in (256, 1024)
}


def _compiled(name, kind):
    compiler, backend = (importlib.import_module(f"triton.{part}") for part in ("compiler", "backends.compiler"))
    family, function_name, constants, types, warps = KERNELS[name]
    module = importlib.import_module(f"rdtools.kernels.{family}_triton")
    function = getattr(module, function_name)
    constants = {key: getattr(module, value) if isinstance(value, str) else value for key, value in constants.items()}
    names = function.arg_names
    signature = {key: "constexpr" if key in constants else types.get(key, "i32").format(kind) for key in names}
    source = compiler.ASTSource(function, signature, {(names.index(key),): value for key, value in constants.items()}, {})
    warps = warps or max(1, constants["STATES"] // module.STATES_PER_WARP)
    options = {"num_warps": warps, "enable_fp_fusion": False}
    return compiler.compile(source, target=backend.GPUTarget("cuda", 90, 32), options=options)


@pytest.mark.parametrize(
    ("name", "kind", "barriers"),
    [
        ("e8p", "fp32", 0),
        ("e8p_residual", "fp64", 0),
        ("coordinate_descent", "fp32", 0),
        ("coordinate_descent", "fp64", 0),
        ("walks of 256 states", "fp64", 5),
        ("walks of 1024 states", "fp32", 5),
    ],
)
def test_kernels_compile_for_a_gpu_that_is_not_there(name, kind, barriers):
    compiled = _compiled(name, kind)
    ptx = compiled.asm["ptx"]
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= 227 * 1024
    assert not re.findall(r"\bfma\.|tf32|div\.full|div\.approx", ptx)
    assert len(re.findall(r"\b(?:bar|barrier)\.", ptx)) >= barriers
