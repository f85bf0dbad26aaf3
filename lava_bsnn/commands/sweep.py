"""The command that runs a recipe with several values and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..errors import OptionError
from ..files import write_json
from .compare import save, show
from .jobs import run_left
from .output import FIRST, Assignments, JsonOutput

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.sweep import Ended, Job


@dataclass(frozen=True, kw_only=True)
class Sweep(JsonOutput):
    """Train a recipe with several values and seeds, and compare.

    One process and folder per run. The same command again skips what is done and goes on with
    what was stopped. Exits with 3 if a run fails; the others go on.

    Example: lava-bsnn sweep digits-agmm --set lr=1e-3,3e-3 --seeds 3 --jobs 2
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """A name of `lava-bsnn recipes`, or a YAML file."""
    assignments: Assignments = ()
    """Values of fields, e.g. lr=1e-3,3e-3 width=0.5; all combinations run."""
    seeds: int = 1
    """Seeds per combination, from the recipe's own on."""
    jobs: int = 1
    """Runs at a time; they share the cores."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the runs, compare.png and compare.json; by default runs/RECIPE-sweep."""

    trials: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """So many that Optuna chooses, from lr=1e-4..1e-1 too; not all combinations."""
    storage: str = "sqlite:///sweep.db"
    """Of Optuna; machines with the same one share the trials."""

    def __call__(self) -> int:
        self.check_json()
        if self.jobs < 1:
            raise OptionError(f"sweep: jobs={self.jobs} is not allowed; use 1 or more")
        name = Path(self.recipe).stem if self.recipe.endswith((".yaml", ".yml")) else self.recipe
        out = Path("runs") / f"{name}-sweep" if self.out is None else self.out
        assignments, console = list(chain.from_iterable(self.assignments)), self.console()
        if self.trials is None:
            from ..training.sweep import plan

            jobs = plan(self.recipe, assignments, self.seeds, out)
            failed = _run(self.recipe, jobs, self.jobs, console)
        else:
            if self.seeds > 1 or self.jobs > 1:
                raise OptionError("sweep: trials run one at a time, of one seed; leave seeds and jobs out")
            jobs, failed = _try(self.recipe, assignments, out, self.trials, self.storage, console)
        return self._tell(jobs, failed, out, console)

    def _tell(self, jobs: Sequence[Job], failed: list[Ended], out: Path, console: Console) -> int:
        """Table, figure, JSON, and what failed."""
        from ..training.comparing import compare_runs

        begun = [job.folder for job in jobs if job.figures() is not None]
        if begun:
            found = compare_runs(begun)
            show(found, console)
            save(found, out / "compare.png")
            content = {
                **found.as_dict(),
                "failed": {str(one.job.folder): one.problem for one in failed},
            }
            write_json(out / "compare.json", content)
            self.write(content)
            console.print(f"figure: {out}/compare.png, numbers: {out}/compare.json", soft_wrap=True)
        for one in failed:
            console.print(f"failed: {one.job.folder}: {one.problem}", soft_wrap=True, markup=False)
        return 3 if failed else 0


def _run(recipe: str, jobs: Sequence[Job], parallel: int, console: Console) -> list[Ended]:
    """Run what is not finished; return what failed."""
    from ..training.sweep import run_jobs

    return run_left(
        jobs,
        partial(run_jobs, recipe),
        console,
        what="runs",
        parallel=parallel,
        finished=lambda job: job.finished,
        epochs=lambda job: job.recipe.epochs,
        epochs_done=lambda job: job.epochs_done(),
        line=_line,
    )


def _try(
    recipe: str, assignments: list[str], out: Path, trials: int, storage: str, console: Console
) -> tuple[list[Job], list[Ended]]:
    """Run trials that Optuna chooses; return all, and what failed."""
    from ..training.trials import run_trials

    failed: list[Ended] = []
    done = 0
    with console.status("asking for a trial") as status:

        def look(running: Sequence[Job]) -> None:
            job = running[0]
            status.update(
                f"{done + 1} of {trials} trials: {' '.join(job.assignments)}, {job.epochs_done()} of "
                f"{job.recipe.epochs} epochs"
            )

        def end(ended: Ended) -> None:
            nonlocal done
            done += 1
            if ended.problem:
                failed.append(ended)
            console.print(f"{' '.join(ended.job.assignments)}: {_line(ended)}", soft_wrap=True, markup=False)

        jobs = run_trials(
            recipe, assignments, out, trials=trials, storage=storage, before=FIRST, on_look=look, on_end=end
        )
    return jobs, failed


def _line(ended: Ended) -> str:
    from ..training.processes import LOG

    job = ended.job
    if ended.problem:
        return f"{job.name}: failed: {ended.problem}; see {job.folder / LOG}"
    figures = job.figures()
    accuracy = None if figures is None else figures.last("test_accuracy")
    return f"{job.name}: done" + ("" if accuracy is None else f", test {accuracy:.2%}")
