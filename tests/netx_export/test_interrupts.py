from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest

from netx_export.backends.interrupts import Interrupts, TimeIsOver

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")


def ctrl_c(reached, name):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    reached.append(name)


def ctrl_c_while_held(reached):
    with Interrupts(None) as interrupts, interrupts.held():
        ctrl_c(reached, "held")
        with interrupts.held():
            ctrl_c(reached, "inner")
        reached.append("still held")


def late(seconds, held, reached):
    interrupts = Interrupts(time.monotonic() + 0.05)
    with interrupts, interrupts.held() if held else contextlib.nullcontext():
        time.sleep(seconds)
        reached.append("end")


def lose_what_is_raised():
    with Interrupts(time.monotonic() + 0.02):
        with contextlib.suppress(TimeIsOver):
            time.sleep(5)
        time.sleep(5)


def test_ctrl_c_raises_at_once_unless_it_is_held():
    reached = []
    with pytest.raises(KeyboardInterrupt), Interrupts(None):
        ctrl_c(reached, "not")
    with pytest.raises(KeyboardInterrupt):
        ctrl_c_while_held(reached)
    assert reached == ["held", "inner", "still held"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("seconds", "held", "reached"), [(5, False, []), (0.2, True, ["end"])])
def test_the_deadline_raises_unless_it_is_held(seconds, held, reached):
    start, seen = time.monotonic(), []
    with pytest.raises(TimeIsOver):
        late(seconds, held, seen)
    assert time.monotonic() - start < 4
    assert seen == reached


def test_the_deadline_rings_again_where_what_it_raised_was_lost():
    with pytest.raises(TimeIsOver):
        lose_what_is_raised()


def test_a_timer_of_the_caller_goes_on():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rang.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.monotonic()
        with pytest.raises(TimeIsOver), Interrupts(start + 0.05):
            time.sleep(5)
        time.sleep(0.3)
        assert len(rang) == 1 and rang[0] - start > 0.15
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with Interrupts(time.monotonic() + 5):
            time.sleep(0.1)
        time.sleep(0.05)
        assert len(rang) == 2  # late, but not lost
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter():
        with Interrupts(time.monotonic() + 0.01) as interrupts, interrupts.held():
            time.sleep(0.05)
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
