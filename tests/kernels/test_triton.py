"""Triton's kernels, in processes of their own: whether they are interpreted is decided when Triton is first imported."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def _run(*cases, **environment):
    command = [sys.executable, "-P", "-m", "pytest", "-n", "0", "-q", *(str(HERE / f"{case}_cases.py") for case in cases)]
    done = subprocess.run(command, cwd=HERE.parents[1], env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kernels_under_the_interpreter():
    _run("triton", "search_triton", TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    _run("compiled_triton", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path), CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU with its driver")
def test_kernels_on_a_gpu():
    _run("triton", "search_triton", TRITON_INTERPRET="0")
