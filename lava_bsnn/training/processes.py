"""Work in processes of its own, some at a time, that ends when it is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

LOG = "log.txt"
"""What a process printed, in the folder of its job."""
_POLL = 0.2
"""Seconds between looks at the processes."""
_PATIENCE = 10.0
"""Seconds that a process has to end after Ctrl-C before it is killed."""


class HasFolder(Protocol):
    """A job of :func:`run_all`: what it leaves lies in a folder."""

    @property
    def folder(self) -> Path: ...


J = TypeVar("J", bound=HasFolder)


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[J]):
    """How a job ended.

    Attributes:
        job: that ended.
        problem: the last line that its process printed, if it failed; empty otherwise.
    """

    job: J
    problem: str = ""


def run_all(
    jobs: Sequence[J],
    start: Callable[[J], subprocess.Popen[bytes]],
    *,
    parallel: int = 1,
    on_look: Callable[[Sequence[J]], None] = lambda running: None,
) -> Generator[Ended[J], None, None]:
    """Run jobs in processes of their own.

    When the generator is closed, as by an exception such as Ctrl-C, processes are stopped as by Ctrl-C, and
    killed if that takes too long.

    Args:
        start: the process of a job, as :func:`start_python` makes it.
        parallel: processes at a time.
        on_look: called with the running jobs some times a second.

    Yields:
        each job as it ends, well or not.
    """
    waiting, running = list(jobs), dict[subprocess.Popen[bytes], J]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                job = waiting.pop(0)
                running[start(job)] = job
            on_look(list(running.values()))
            time.sleep(_POLL)
            for process in [one for one in running if one.poll() is not None]:
                job = running.pop(process)
                yield Ended(job=job, problem=_problem(job.folder, process.returncode))
    finally:
        _end(list(running))


def start_python(words: Sequence[str], folder: Path, parallel: int) -> subprocess.Popen[bytes]:
    """Start ``python -m words``, which prints into the folder's log and has its share of the cores."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, len(cores()) // parallel))
    with open(folder / LOG, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path), **_environment()},
            start_new_session=True,  # so that what it starts ends with it
        )


def _environment() -> dict[str, str]:
    """Variables of this process, with the width that lines of the log have."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "COLUMNS": "120"}


def cores() -> list[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return list(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _problem(folder: Path, code: int) -> str:
    if code == 0:
        return ""
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
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
