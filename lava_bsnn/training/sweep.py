"""Many runs of one recipe, each in a process and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ..errors import LavaBsnnError, OptionError
from .comparing import RunFigures, read_run
from .recipe import CONFIG, Recipe, load_recipe
from .run_folder import settings_of

LOG = "log.txt"
"""What the process of a run printed, in the run's folder."""
_POLL = 0.2
"""Seconds between looks at the processes."""
_PATIENCE = 10.0
"""Seconds that a process has to end after Ctrl-C before it is killed."""
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


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended.

    Attributes:
        job: that ended.
        problem: the last line that its process printed, if it failed; empty otherwise.
    """

    job: Job
    problem: str = ""


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

    The processes share the cores. When the generator is closed, as by an exception such as Ctrl-C, they are
    stopped as by Ctrl-C, and killed if that takes too long.

    Args:
        parallel: processes at a time.
        before: options of the ``lava-bsnn`` command itself, as ``--import FILE``.
        on_look: called with the running jobs some times a second.

    Yields:
        each job as it ends, well or not.
    """
    waiting, running = list(jobs), dict[subprocess.Popen[bytes], Job]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                job = waiting.pop(0)
                running[_start(recipe, job, parallel, before)] = job
            on_look(list(running.values()))
            time.sleep(_POLL)
            for process in [one for one in running if one.poll() is not None]:
                job = running.pop(process)
                yield Ended(job=job, problem=_problem(job, process.returncode))
    finally:
        _end(list(running))


def _start(recipe: str, job: Job, parallel: int, before: Sequence[str]) -> subprocess.Popen[bytes]:
    job.folder.mkdir(parents=True, exist_ok=True)
    words = [*before, "train", recipe, "--set", *job.assignments, "--out", str(job.folder), "--resume"]
    threads = str(max(1, len(_cores()) // parallel))
    with open(job.folder / LOG, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "lava_bsnn", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path), **_environment()},
            start_new_session=True,  # so that what it starts ends with it
        )


def _environment() -> dict[str, str]:
    """Variables of this process, with the width that lines of the log have."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "COLUMNS": "120"}


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _problem(job: Job, code: int) -> str:
    if code == 0:
        return ""
    text = (job.folder / LOG).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return lines[-1].removeprefix("lava-bsnn: ") if lines and code > 0 else ended


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop processes as Ctrl-C does; kill them, and what they started, if they do not end."""
    for process in processes:
        _signal(process, signal.SIGINT)
    until = time.monotonic() + _PATIENCE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
