"""The command that repeats studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..errors import OptionError
from .jobs import run_left
from .output import Flag, JsonOutput

if TYPE_CHECKING:
    from rich.console import Console

    from ..studies import Cell, Study
    from ..training.processes import Ended

RESULTS = Path("docs/results-data")
"""Where results are kept, if the folder is there."""


@dataclass(frozen=True, kw_only=True)
class StudyCommand(JsonOutput):
    """Repeat a study: variants over sets and paired seeds, with intervals.

    Without NAME: a list. A cell (set, variant, seed) has a process of its own and one JSON; the same
    command goes on with what is missing. Exits with 3 if a cell fails; the others go on.

    Example: lava-bsnn study agmm --seeds 5 --jobs 2
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """One of the list, or a YAML file."""
    quick: Flag = False
    """Try everything: one seed, few epochs."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Paired seeds; by default the study's."""
    jobs: int = 1
    """Cells at a time; they share the cores, and a GPU."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TEXT ...")] = ()
    """Cells with one of these in SET/VARIANT."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the runs; by default runs/study/NAME."""
    results: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Of JSON, tables, figures; by default docs/results-data if there, else OUT/results."""
    data_root: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Where data are that are found nowhere else."""
    report: Flag = False
    """Run nothing; table and figure of what is there."""

    def __call__(self) -> int:
        from ..studies import cells_of, load_study

        self.check_json()
        if self.jobs < 1:
            raise OptionError(f"study: jobs={self.jobs} is not allowed; use 1 or more")
        console = self.console()
        if self.name is None:
            return self._list(console)
        study = load_study(self.name)
        if self.quick:
            study = study.shortened()
        out, results = self._folders(study)
        failed: list[Ended[Cell]] = []
        if not self.report:
            cells = cells_of(study, out, results, seeds=self.seeds, data_root=self.data_root, only=self.only)
            failed = _run(cells, self.jobs, console)
        self._tell(study, results, console)
        for one in failed:
            console.print(f"failed: {one.job.name}: {one.problem}", soft_wrap=True, markup=False)
        return 3 if failed else 0

    def _folders(self, study: Study) -> tuple[Path, Path]:
        out = Path("runs/study") / study.name if self.out is None else self.out
        if self.results is not None:
            return out, self.results
        return out, RESULTS if RESULTS.is_dir() and not self.quick else out / "results"

    def _list(self, console: Console) -> int:
        from rich.table import Table

        from ..studies import cells_of, load_study, study_names

        table = Table(box=None, pad_edge=False)
        for heading in ("study", "question", "cells", "done", "hours (estimate)"):
            table.add_column(heading, justify="left" if heading in ("study", "question") else "right")
        content = []
        for name in study_names():
            study = load_study(name)
            cells = cells_of(study, *self._folders(study), seeds=self.seeds)
            done = sum(cell.found() is not None for cell in cells)
            table.add_row(name, study.question, str(len(cells)), str(done), f"{study.budget_hours:g}")
            content.append(
                {
                    "name": name,
                    "title": study.title,
                    "question": study.question,
                    "cells": len(cells),
                    "done": done,
                    "hours": study.budget_hours,
                }
            )
        console.print(table)
        self.write(content)
        return 0

    def _tell(self, study: Study, results: Path, console: Console) -> None:
        from ..studies.figure import draw
        from ..studies.gathering import gathered
        from ..studies.table import table, write_table

        found = gathered(study, results)
        text = table(found)
        console.print(text, soft_wrap=True)
        path = write_table(text, results / study.name)
        figure = draw(found, results / f"{study.name}.png")
        self.write(found.as_dict())
        console.print(f"table: {path}" + (f", figure: {figure}" if figure else ""), soft_wrap=True)


def _run(cells: Sequence[Cell], parallel: int, console: Console) -> list[Ended[Cell]]:
    """Run cells without a result; return what failed."""
    from ..studies.running import epochs_done, run_cells

    return run_left(
        cells,
        run_cells,
        console,
        what="cells",
        parallel=parallel,
        finished=lambda cell: cell.found() is not None,
        epochs=lambda cell: cell.epochs,
        epochs_done=epochs_done,
        line=_line,
    )


def _line(ended: Ended[Cell]) -> str:
    from ..training.processes import LOG

    cell = ended.job
    found = cell.found()
    if ended.problem or found is None:
        return f"{cell.name}: failed: {ended.problem}; see {cell.folder / LOG}"
    return f"{cell.name}: test {found['accuracy']:.2%}, {found['seconds']['process']:.0f} s"
