"""Jobs in processes of their own, with a progress bar over their epochs and a line for each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, TypeVar

from .output import FIRST

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.processes import Ended, HasFolder

    class Named(HasFolder, Protocol):
        """A job that can be told of."""

        @property
        def name(self) -> str: ...


J = TypeVar("J", bound="Named")


def run_left(
    jobs: Sequence[J],
    run: Callable[..., Generator[Ended[J], None, None]],
    console: Console,
    *,
    what: str,
    parallel: int,
    finished: Callable[[J], bool],
    epochs: Callable[[J], int],
    epochs_done: Callable[[J], int],
    line: Callable[[Ended[J]], str],
) -> list[Ended[J]]:
    """Run the jobs that are not finished; return those that failed.

    Args:
        run: takes jobs, and ``parallel``, ``before`` and ``on_look`` of
            :func:`lava_bsnn.training.sweep.run_jobs`.
        what: they are called, in the plural.
        epochs, epochs_done: of a job, in all and behind it.
        line: what is said of one that ended.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    left = [job for job in jobs if not finished(job)]
    if len(left) < len(jobs):
        console.print(f"{len(jobs) - len(left)} of {len(jobs)} {what} are done already")
    failed: list[Ended[J]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("starting", total=sum(map(epochs, left)))
        done = 0

        def look(running: Sequence[J]) -> None:
            names = ", ".join(job.name for job in running)
            now = done + sum(map(epochs_done, running))
            progress.update(task, completed=now, description=f"{len(left)} {what}: {names}")

        try:
            with closing(run(left, parallel=parallel, before=FIRST, on_look=look)) as results:
                for ended in results:
                    done += epochs(ended.job)
                    if ended.problem:
                        failed.append(ended)
                    console.print(line(ended), soft_wrap=True, markup=False)
        except KeyboardInterrupt:
            console.print("the same command goes on with what was stopped")
            raise
    return failed
