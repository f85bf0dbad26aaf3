"""When Ctrl-C, other signals with a handler, and a time limit may interrupt a run on Lava.

An exception that a signal handler raises inside a fork would be lost, and leave locks of Python's logging
held; one inside the creation or the end of processes would leak them. So signals wait. A run asks for them
where it can end (:meth:`Interrupts.check`), or lets them in while it computes (:meth:`Interrupts.allowed`).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_AGAIN = 1.0
"""Seconds until the alarm of a deadline rings again: what it raised may have been lost."""

_ALARM = getattr(signal, "SIGALRM", None)
_NAMES = ("SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class TimeIsOver(BaseException):
    """The deadline passed. Not an Exception, which Lava's compiler would catch and forget."""


class Interrupts:
    """Holds signals back while the context is entered, except where they are asked for.

    Once one was delivered, all others wait, so that what it raised can end the run undisturbed.
    Handlers are exchanged in the main thread only, since Python delivers signals there; in other threads
    the deadline is looked at in :meth:`check` only.

    Args:
        deadline: of ``time.monotonic``; None for none.
    """

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self._ours = None if deadline is None else _ALARM  # else, alarms are the caller's
        self._held = True
        self._waiting: set[int] = set()
        self._handlers: dict[int, Any] = {}
        self._timer: tuple[float, float] = (0, 0)

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._started = time.monotonic()
            try:
                self._exchange()
            except BaseException:  # of a handler that was not ours yet
                self._give_back()
                raise
        return self

    def _exchange(self) -> None:
        if self._deadline is not None and self._ours is not None:
            self._timer = signal.setitimer(signal.ITIMER_REAL, 0)
            self._take(self._ours)
            left = max(1e-3, self._deadline - self._started)
            signal.setitimer(signal.ITIMER_REAL, left, _AGAIN)
        for number in _SIGNALS:
            if number != self._ours and callable(signal.getsignal(number)):
                self._take(number)

    def _take(self, number: int) -> None:
        self._handlers[number] = signal.getsignal(number)
        signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        self._give_back()
        self._deliver_waiting()

    def _give_back(self) -> None:
        if self._ours in self._handlers:
            signal.setitimer(signal.ITIMER_REAL, 0)
            before = self._handlers.pop(self._ours)
            signal.signal(self._ours, signal.SIG_DFL if before is None else before)  # None: not of Python
        rings, interval = self._timer
        if rings:
            left = max(1e-3, rings - (time.monotonic() - self._started))
            signal.setitimer(signal.ITIMER_REAL, left, interval)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._waiting.add(number)
        else:
            self._deliver(number, frame)

    def _deliver(self, number: int, frame: FrameType | None) -> None:
        before, self._held = self._held, True
        self._waiting.discard(number)
        if number == self._ours:
            raise TimeIsOver
        self._handlers[number](number, frame)
        self._held = before

    def _deliver_waiting(self) -> None:
        for number in sorted(self._waiting):
            if number != self._ours:
                self._deliver(number, None)

    def check(self) -> None:
        """Deliver the signals that wait.

        Raises:
            TimeIsOver: the deadline passed.
        """
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeIsOver
        self._deliver_waiting()

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Deliver signals at once until the end of the block."""
        self.check()
        self._held = False
        try:
            yield
        finally:
            self._held = True
        self.check()
