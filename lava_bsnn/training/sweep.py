"""Many runs of one recipe, each in a process and a folder of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..errors import LavaBsnnError, OptionError
from . import processes
from .comparing import RunFigures, read_run
from .recipe import CONFIG, Recipe, load_recipe
from .run_folder import settings_of

_ANY_EPOCHS = ("epochs",)
"""May grow between calls of a sweep."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: what distinguishes it, ``"lr=0.01,seed=0"``.
        folder: of the run.
        recipe: with its values.
        assignments: that make this recipe of the sweep's.
    """

    name: str
    folder: Path
    recipe: Recipe
    assignments: tuple[str, ...]

    def figures(self) -> RunFigures | None:
        """What the folder holds; None before the run began."""
        return read_run(self.folder) if (self.folder / CONFIG).is_file() else None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        found = self.figures()
        return found is not None and found.finished and found.recipe.epochs >= self.recipe.epochs

    def epochs_done(self) -> int:
        """Epochs that the run has behind it."""
        found = self.figures()
        return 0 if found is None else min(self.recipe.epochs, len(found.epochs))


Ended = processes.Ended[Job]
"""How a run of a sweep ended."""


def values_of(text: str) -> tuple[str, list[str]]:
    """Field and values of ``"lr=1e-3,3e-3"``; commas inside of brackets and quotes are part of a value.

    Raises:
        OptionError: not of this form, or a value stands twice.
    """
    key, equals, rest = text.partition("=")
    values = re.findall(r"""(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|'[^']*'|[^,])+""", rest)
    if not equals or not key.strip() or not values:
        raise OptionError(f"--set {text}: is not key=value,value; use e.g. --set lr=1e-3,3e-3")
    values = [value.strip() for value in values]
    if len(set(values)) < len(values):
        raise OptionError(f"--set {text}: a value stands twice; name each once")
    return key.strip(), values


def plan(recipe: str, assignments: Iterable[str], seeds: int, out: Path) -> list[Job]:
    """All combinations of the values, with each seed from the recipe's own on.

    Args:
        recipe: a name, or a YAML file.
        assignments: ``"field=value"`` or ``"field=value,value"``.
        seeds: how many.
        out: folder of the runs' folders.

    Raises:
        OptionError: a field stands twice, or a value is not allowed.
        LavaBsnnError: a run's folder holds a run with other settings.
    """
    if seeds < 1:
        raise OptionError(f"sweep: seeds={seeds} is not allowed; use 1 or more")
    fields: dict[str, list[str]] = {}
    for text in assignments:
        key, values = values_of(text)
        if key in fields or (key == "seed" and seeds > 1):
            raise OptionError(f"--set {text}: {key} is given twice; give all its values at once")
        fields[key] = values
    base = load_recipe(recipe)
    if "seed" not in fields:
        fields["seed"] = [str(base.seed + index) for index in range(seeds)]
    varied = [key for key, values in fields.items() if len(values) > 1 or key == "seed"]
    jobs = []
    for combination in product(*fields.values()):
        chosen_values = dict(zip(fields, combination, strict=True))
        chosen = tuple(f"{key}={value}" for key, value in chosen_values.items())
        name = re.sub(r"[^\w.=,+-]+", "_", ",".join(f"{key}={chosen_values[key]}" for key in varied))
        job = Job(name=name, folder=out / name, recipe=base.replace(chosen), assignments=chosen)
        _check_folder(job)
        jobs.append(job)
    if len({job.folder for job in jobs}) < len(jobs):
        raise OptionError("sweep: two combinations have the same name; give values that differ in letters")
    return jobs


def _check_folder(job: Job) -> None:
    found = job.figures()
    if found is None:
        return
    ours, theirs = settings_of(job.recipe), settings_of(found.recipe)
    for name, value in ours.items():
        if name not in _ANY_EPOCHS and theirs.get(name) != value:
            raise LavaBsnnError(
                f"{job.folder}: holds a run with {name}={theirs.get(name)}, not {value}; use another --out"
            )


def run_jobs(
    recipe: str,
    jobs: Sequence[Job],
    *,
    parallel: int = 1,
    before: Sequence[str] = (),
    on_look: Callable[[Sequence[Job]], None] = lambda running: None,
) -> Generator[Ended, None, None]:
    """Run jobs in processes of their own; a run that was stopped goes on where it was.

    The processes share the cores; how they end is told at :func:`lava_bsnn.training.processes.run_all`.

    Args:
        parallel: processes at a time.
        before: options of the ``lava-bsnn`` command itself, as ``--import FILE``.
        on_look: called with the running jobs some times a second.

    Yields:
        each job as it ends, well or not.
    """

    def start(job: Job) -> subprocess.Popen[bytes]:
        return _start(recipe, job, parallel, before)

    return processes.run_all(jobs, start, parallel=parallel, on_look=on_look)


def _start(recipe: str, job: Job, parallel: int, before: Sequence[str]) -> subprocess.Popen[bytes]:
    words = [*before, "train", recipe, "--set", *job.assignments, "--out", str(job.folder), "--resume"]
    return processes.start_python(["lava_bsnn", *words], job.folder, parallel)
