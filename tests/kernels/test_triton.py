"""Triton's kernels, in processes of their own: whether they are interpreted is decided when Triton is first imported."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).parent / "triton_cases.py"

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


def _run(**environment):
    command = [sys.executable, "-P", "-m", "pytest", "-n", "0", "-q", str(CASES)]
    done = subprocess.run(command, cwd=CASES.parents[2], env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kernels_under_the_interpreter():
    _run(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU with its driver")
def test_kernels_on_a_gpu():
    _run(TRITON_INTERPRET="0")
