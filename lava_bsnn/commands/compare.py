"""The command that puts runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..files import atomic_path, check_writable
from .output import JsonOutput

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.comparing import RunComparison


@dataclass(frozen=True, kw_only=True)
class Compare(JsonOutput):
    """Show runs side by side, means and deviations over seeds.

    Runs whose recipes differ in their seed only are one line. Runs that are not finished are named
    and in no mean.

    Example: lava-bsnn compare runs/a runs/b runs/c --figure compare.png
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR ...")]
    """Folders of runs, or one whose folders are runs."""
    figure: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw accuracies, mean and deviation: .png, .svg or .pdf."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write one page: table, curves, confusion matrices, sizes, what analyze drew."""

    def __call__(self) -> None:
        from ..training.comparing import compare_runs

        self.check_json()
        for path in (self.figure, self.html):
            if path is not None:
                check_writable(path)
        found = compare_runs([run for folder in self.folders for run in _runs(folder)])
        show(found, self.console(), self.figure)
        if self.html is not None:
            from ..training.run_report import page

            with self.console().status("writing the page"), atomic_path(self.html) as temporary:
                temporary.write_text(page(found, beside=self.html.parent), encoding="utf-8")
            self.console().print(f"page: {self.html}", soft_wrap=True, markup=False)
        self.write(found.as_dict())


def show(found: RunComparison, console: Console, figure: Path | None = None) -> None:
    """Print the table, and draw it where asked for."""
    console.print(found.table(), markup=False)
    for run in found.unfinished:
        total = run.recipe.epochs
        console.print(f"not finished: {run.folder}, {len(run.epochs)} of {total} epochs", soft_wrap=True)
    if figure is None:
        return
    save(found, figure)
    console.print(f"figure: {figure}", soft_wrap=True, markup=False)


def save(found: RunComparison, path: Path) -> None:
    """Write the figure of a comparison."""
    from matplotlib.figure import Figure

    from ..analysis.comparison import plot_comparison

    drawn: Any = Figure(figsize=(9, max(3.2, 1.6 + 0.5 * len(found.groups))), layout="constrained")
    plot_comparison(found, drawn.subplots(1, 2))
    with atomic_path(path) as temporary:
        drawn.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")


def _runs(folder: Path) -> list[Path]:
    """The folder of a run, or those in a folder of runs."""
    from ..training.recipe import CONFIG

    inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    return [folder] if (folder / CONFIG).is_file() or not inside else inside
