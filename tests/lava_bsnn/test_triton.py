"""Kernels for GPUs without one: they compute what the definition does, and they compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", "3.0", reason="needs Triton 3, which newer versions of torch bring on Linux")
SUPPORT = Path(__file__).parents[1] / "support"


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_kernels_compute_what_the_definition_does():
    options = ("-q", "-p", "no:cacheprovider", "-c", str(SUPPORT.parents[1] / "pyproject.toml"))
    out = run("-m", "pytest", *options, str(SUPPORT / "triton_cases.py"), TRITON_INTERPRET="1")
    assert " passed" in out
    assert "skipped" not in out


def test_kernels_compile(tmp_path):
    """To machine code of a GPU, by the compiler that triton brings; nothing is launched."""
    out = run(str(SUPPORT / "triton_compiled.py"), TRITON_CACHE_DIR=str(tmp_path))
    lines = [line.split() for line in out.splitlines()]
    assert {name for name, *_ in lines} == {
        "lif_forward",
        "lif_backward",
        "levels_forward",
        "levels_backward",
        "sums",
        "add_slopes",
    }
    # of 2048 numbers each of 256 threads has 8; only keep * v + current is rounded once
    assert {int(fused) for name, fused in lines if name.startswith(("lif", "levels"))} == {8}
