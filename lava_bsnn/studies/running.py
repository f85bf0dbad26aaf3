"""Cells in processes of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Generator, Sequence

from ..training.processes import Ended, run_all, start_python
from ..training.run_folder import METRICS
from .cells import Cell

TASK = "cell.json"
"""What the process of a cell is told, in the cell's folder."""


def run_cells(
    cells: Sequence[Cell],
    *,
    parallel: int = 1,
    before: Sequence[str] = (),
    on_look: Callable[[Sequence[Cell]], None] = lambda running: None,
) -> Generator[Ended[Cell], None, None]:
    """Train and measure cells; one that was stopped goes on where it was.

    The processes share the cores and a GPU; how they end is told at
    :func:`lava_bsnn.training.processes.run_all`.

    Args:
        parallel: processes at a time.
        before: options of the ``lava-bsnn`` command itself, as ``--import FILE``.
        on_look: called with the running cells some times a second.

    Yields:
        each cell as it ends, well or not.
    """

    def start(cell: Cell) -> subprocess.Popen[bytes]:
        cell.folder.mkdir(parents=True, exist_ok=True)
        task = cell.folder.absolute() / TASK
        task.write_text(json.dumps(cell.as_dict()), encoding="utf-8")
        return start_python(["lava_bsnn.studies.cell", *before, str(task)], cell.folder, parallel)

    return run_all(cells, start, parallel=parallel, on_look=on_look)


def epochs_done(cell: Cell) -> int:
    """Epochs that a cell has behind it, fine-tuning included."""
    done = 0
    for path in cell.folder.glob(f"*/{METRICS}"):
        done += max(0, path.read_text(encoding="utf-8").count("\n") - 1)
    return min(done, cell.epochs)
