from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import time

import pytest
from support.processes import wait_until

from netx_export.backends import interrupts as tested
from netx_export.backends.interrupts import Interrupts, TimeIsOver

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")


def ctrl_c(reached, name):
    signal.raise_signal(signal.SIGINT)
    reached.append(name)


def ctrl_c_while_held(reached):
    with Interrupts(None) as interrupts:
        ctrl_c(reached, "held")
        ctrl_c(reached, "held again")
        interrupts.check()
        reached.append("not")


def ctrl_c_until_the_end(reached):
    with Interrupts(None):
        ctrl_c(reached, "held")


def ctrl_c_while_allowed(reached):
    with Interrupts(None) as interrupts, interrupts.allowed():
        ctrl_c(reached, "not")


def ctrl_c_before_allowed(reached):
    with Interrupts(None) as interrupts:
        ctrl_c(reached, "held")
        with interrupts.allowed():
            reached.append("not")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ctrl_c_while_held, ["held", "held again"]),
        (ctrl_c_until_the_end, ["held"]),
        (ctrl_c_while_allowed, []),
        (ctrl_c_before_allowed, ["held"]),
    ],
)
def test_ctrl_c_waits_until_it_is_asked_for(body, expected):
    reached = []
    with pytest.raises(KeyboardInterrupt):
        body(reached)
    assert reached == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGTERM", "SIGALRM"])
def test_other_signals_with_a_handler_wait_too(name):
    number, rang = getattr(signal, name), []
    before = signal.signal(number, lambda number, frame: rang.append(number))
    try:
        with Interrupts(None) as interrupts:
            signal.raise_signal(number)
            assert not rang
            interrupts.check()
            assert rang == [number]
    finally:
        signal.signal(number, before)


def late(seconds, allowed, reached):
    with Interrupts(time.monotonic() + 0.05) as interrupts:
        with interrupts.allowed() if allowed else contextlib.nullcontext():
            time.sleep(seconds)
            reached.append("end")
        interrupts.check()
        reached.append("checked")


@pytest.mark.parametrize(("seconds", "allowed", "reached"), [(5, True, []), (0.2, False, ["end"])])
def test_the_deadline_raises_where_it_is_asked_for(seconds, allowed, reached):
    start, seen = time.monotonic(), []
    with pytest.raises(TimeIsOver):
        late(seconds, allowed, seen)
    assert time.monotonic() - start < 4
    assert seen == reached


def lose_what_is_raised():
    deadline = time.monotonic() + 0.02
    with Interrupts(deadline) as interrupts, interrupts.allowed(), contextlib.suppress(TimeIsOver):
        time.sleep(5)


def test_a_deadline_that_was_lost_is_seen_at_the_end_of_the_block():
    with pytest.raises(TimeIsOver):
        lose_what_is_raised()


def test_a_handler_that_does_not_raise_ends_nothing():
    rang, reached = [], []
    before = signal.signal(signal.SIGINT, lambda number, frame: rang.append(number))
    try:
        with Interrupts(None) as interrupts:
            with interrupts.allowed():
                ctrl_c(reached, "one")
                ctrl_c(reached, "two")
                assert len(rang) == 2
            ctrl_c(reached, "three")
            assert len(rang) == 2
            interrupts.check()
        assert len(rang) == 3
    finally:
        signal.signal(signal.SIGINT, before)


class Interrupted:
    """Sends Ctrl-C before a line, counted, of a run and of what it calls."""

    def __init__(self, line=None):
        self.line, self.count = line, 0

    def __call__(self, frame, event, arg):
        if event == "line":
            if self.count == self.line:
                signal.raise_signal(signal.SIGINT)
            self.count += 1
        return self

    def run(self, body):
        sys.settrace(self)
        try:
            body()
        finally:
            sys.settrace(None)


@contextlib.contextmanager
def ended(children):
    try:
        yield
    finally:
        for number in list(children):
            children.remove(number)


def live(children, deadline, seconds=0.0):
    with Interrupts(deadline) as interrupts, ended(children):
        with interrupts.allowed():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        children.extend(range(5))
        interrupts.check()


def test_no_line_of_a_run_is_a_line_where_ctrl_c_leaves_something():
    children = []
    body = functools.partial(live, children, time.monotonic() + 100)
    counted = Interrupted()
    counted.run(body)
    assert counted.count > 50
    for line in range(counted.count):
        with pytest.raises(KeyboardInterrupt):
            Interrupted(line).run(body)
        assert children == [], line
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0),
    reason="CPython 3.13.0 may skip the end of a with block where a signal's handler raises",
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the last alarm of all
def test_signals_leave_nothing_where_they_come_while_another_ends_the_run(monkeypatch):
    """Such as a deadline that passes at Ctrl-C, or an impatient user; here, alarms without a pause."""
    monkeypatch.setattr(tested, "_AGAIN", 3e-5)
    children = list(range(5))
    for number in range(1000):
        with pytest.raises(TimeIsOver):
            live(children, time.monotonic() + 1e-3 + number * 1e-6, 1)
        assert children == [], number
        children.extend(range(5))


def test_a_timer_of_the_caller_goes_on():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.monotonic()
        with pytest.raises(TimeIsOver), Interrupts(start + 0.05) as interrupts, interrupts.allowed():
            time.sleep(5)
        wait_until(lambda: rang, 5)
        assert len(rang) == 1 and rang[0] - start > 0.15
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with Interrupts(time.monotonic() + 5):
            time.sleep(0.1)
        wait_until(lambda: len(rang) == 2, 5)  # late, but not lost
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_alarms_of_the_caller_wait_where_there_is_no_deadline():
    """Those of a test runner's time limit, for one; they raise, as Ctrl-C does."""
    reached = []

    def raising(number, frame):
        raise RuntimeError("late")

    def alarms():
        with Interrupts(None) as interrupts:
            signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
            time.sleep(0.05)
            signal.setitimer(signal.ITIMER_REAL, 0)
            reached.append("held")
            interrupts.check()
            reached.append("not")

    before = signal.signal(signal.SIGALRM, raising)
    try:
        with pytest.raises(RuntimeError, match="late"):
            alarms()
        assert signal.getsignal(signal.SIGALRM) is raising
        signal.setitimer(signal.ITIMER_REAL, 50)
        with Interrupts(None):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 40
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert reached == ["held"]


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter():
        with Interrupts(time.monotonic() + 0.01) as interrupts:
            time.sleep(0.05)
            seen.append(signal.getsignal(signal.SIGINT))
            try:
                interrupts.check()
            except TimeIsOver:
                seen.append("late")

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before, "late"]
