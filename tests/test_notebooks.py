"""Notebooks are stored without outputs and run from top to bottom in two minutes each.

Each has a process of its own, so those that run Lava fork none of pytest's.

The copies that ran go to build/notebooks, where `make docs` takes them.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from support.processes import ONE_THREAD

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 120


def run(source, target):
    arguments = [sys.executable, ROOT / "tests/run_notebook.py", source, target]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=ONE_THREAD)


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_notebooks_hold_no_outputs():
    for path in NOTEBOOKS:
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
            stripped = cell.cell_type != "code" or not (cell.outputs or cell.execution_count)
            assert stripped, f"{path.name}, cell {index} has outputs; run nbstripout --keep-id on it"


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_notebook_runs(path):
    started, computed = time.monotonic(), children_seconds()
    done = run(path, ROOT / "build/notebooks" / path.name)
    assert done.returncode == 0, done.stderr
    # on a machine with other work, what its processes computed bounds the time on a quiet one
    assert min(time.monotonic() - started, children_seconds() - computed) < SECONDS


def test_outputs_are_kept_and_a_cell_that_raises_is_reported(tmp_path):
    code = nbformat.v4.new_code_cell
    nbformat.write(nbformat.v4.new_notebook(cells=[code("print(6 * 7)")]), tmp_path / "good.ipynb")
    assert run(tmp_path / "good.ipynb", tmp_path / "out/good.ipynb").returncode == 0
    (cell,) = nbformat.read(tmp_path / "out/good.ipynb", as_version=4).cells
    assert cell.outputs[0].text == "42\n"
    nbformat.write(nbformat.v4.new_notebook(cells=[code("6 / 0")]), tmp_path / "bad.ipynb")
    done = run(tmp_path / "bad.ipynb", tmp_path / "out/bad.ipynb")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert not (tmp_path / "out/bad.ipynb").exists()
