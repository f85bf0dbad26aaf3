"""A progress bar for ``fit``, in terminals and notebooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from .history import Step

_EVERY = 0.2  # seconds between updates of a notebook


def told(step: Step, epochs: int) -> str:
    """Figures of a step in a line."""
    accuracy = "" if step.accuracy is None else f" accuracy {step.accuracy:.1%}"
    return f"epoch {step.epoch}/{epochs} loss {step.loss:.3f}{accuracy} rate {step.firing_rate:.1%}"


@contextmanager
def bar(epochs: int, wanted: bool | None = None) -> Iterator[Callable[[Step], None] | None]:
    """Show how far a run is, until it ends; nothing stays.

    Args:
        wanted: None shows it in terminals, on standard error, and in notebooks.
    """
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_jupyter:
        with _notebook(epochs) as told_there:
            yield told_there
        return
    if not wanted and not (sys.stderr is not None and sys.stderr.isatty()):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    try:
        progress.start()
    except LiveError:  # the caller shows a display of its own
        yield None
        return
    task = progress.add_task("training", total=None)

    def show(step: Step) -> None:
        done = (step.epoch - 1) * step.num_steps + step.step
        progress.update(task, completed=done, total=epochs * step.num_steps, description=told(step, epochs))

    try:
        yield show
    finally:
        progress.stop()


@contextmanager
def _notebook(epochs: int) -> Iterator[Callable[[Step], None]]:
    """The same by IPython alone: rich needs widgets there, which not every notebook has."""
    from IPython.display import HTML, display

    handle: Any = display(HTML("training"), display_id=True)
    last = 0.0

    def show(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _EVERY:
            last = now
            done, total = (step.epoch - 1) * step.num_steps + step.step, epochs * step.num_steps
            handle.update(
                HTML(f'<progress value="{done}" max="{total}"></progress> {escape(told(step, epochs))}')
            )

    try:
        yield show
    finally:
        handle.update(HTML(""))
