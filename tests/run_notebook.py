"""Run a notebook from top to bottom, in an empty folder, and keep the copy with its outputs.

python tests/run_notebook.py notebooks/NAME.ipynb build/notebooks/NAME.ipynb
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

CELL_TIMEOUT = 240


def run_notebook(source: Path, target: Path) -> None:
    """Run ``source`` and write ``target``; exit with the traceback of the first cell that fails."""
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        try:
            NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=where).execute()
        except CellExecutionError as error:
            sys.exit(f"{source}: {error}")
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of the run
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


if __name__ == "__main__":
    run_notebook(Path(sys.argv[1]), Path(sys.argv[2]))
