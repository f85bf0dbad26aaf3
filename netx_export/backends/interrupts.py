"""When Ctrl-C, SIGTERM and a time limit may interrupt a run on Lava.

An exception that a signal handler raises inside a fork would be lost, and leave locks of Python's logging
held; one inside the creation of shared memory would leak it. So signals wait while processes start or end.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_AGAIN = 0.25
"""Seconds until a timeout rings again, where what was raised got lost in a destructor."""

_PATIENCE = 10.0
"""Seconds after which a signal that comes again is let through: what it waits for may hang."""

_ALARM = getattr(signal, "SIGALRM", None)
_SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, _ALARM) if number is not None]


class TimeIsOver(BaseException):
    """The deadline passed. Not an Exception, which Lava's compiler would catch and forget."""


class Interrupts:
    """Holds signals back in :meth:`held`, and raises :class:`TimeIsOver` after the deadline.

    Handlers are exchanged while the context is entered, in the main thread only, since Python delivers
    signals there; in other threads nothing happens.

    Args:
        deadline: of ``time.monotonic``; None for none.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._held = False
        self._waiting: dict[int, float] = {}
        self._handlers: dict[int, Any] = {}
        self._timer: tuple[float, float] | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._started = time.monotonic()
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else []),
            ):
                rings = number not in (signal.SIGINT, signal.SIGTERM) and self._deadline is not None
                if rings or callable(signal.getsignal(number)):
                    self._handlers[number] = signal.signal(number, self._on_signal)
                if rings:
                    remaining = max(1e-3, (self._deadline or 0) - self._started)
                    self._timer = signal.setitimer(signal.ITIMER_REAL, remaining, _AGAIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            before, interval = self._timer
            left = max(1e-3, before - (time.monotonic() - self._started)) if before else 0
            signal.setitimer(signal.ITIMER_REAL, left, interval)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            first = self._waiting.setdefault(number, time.monotonic())
            if time.monotonic() - first < _PATIENCE:
                return
        self._deliver(number, frame)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        self._waiting.pop(number, None)
        if self._timer is not None and number == _ALARM:
            raise TimeIsOver
        self._handlers[number](number, frame)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let signals wait until the end of the block."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before
            for number in list(self._waiting) if not before else []:
                self._deliver(number, None)
