"""Nothing is left of a run on Lava, however it ends."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest

from netx_export import run
from netx_export.backends.runtime import LavaRunError, _lock

pytestmark = pytest.mark.lava
ON_LAVA = ("lava", "lava-fused", "stock")


@pytest.mark.parametrize("backend", ON_LAVA)
def test_a_run_that_takes_too_long_is_stopped(backend, make_network, make_data, nothing_left):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x = make_data(net, num_samples=2000, num_steps=50)
    start = time.monotonic()
    with pytest.raises(LavaRunError, match="longer than timeout=1.5 seconds"):
        run(net, x, backend, timeout=1.5)
    assert time.monotonic() - start < 8


def test_an_exception_in_a_process_is_told(make_network, make_data, nothing_left, monkeypatch, capfd):
    from netx_export.backends import fused

    step = fused.PyFusedModel.run_spk

    def fail(self):
        if self.time_step == 7:
            raise ValueError("the seventh step")
        step(self)

    monkeypatch.setattr(fused.PyFusedModel, "run_spk", fail)
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(LavaRunError, match="a Lava process failed: ValueError: the seventh step"):
        run(net, make_data(net), "lava-fused", timeout=20)


def test_an_exception_while_a_process_starts_is_told(make_network, make_data, nothing_left, monkeypatch):
    from netx_export.backends import fused

    def fail(self, params):
        raise MemoryError("no room")

    monkeypatch.setattr(fused.PyFusedModel, "__init__", fail)
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(LavaRunError, match="Lava could not start the run: MemoryError: no room"):
        run(net, make_data(net), "lava-fused", timeout=20)


def test_a_process_that_cannot_be_made_in_time_is_stopped(make_network, make_data, nothing_left, monkeypatch):
    from netx_export.backends import fused

    monkeypatch.setattr(fused.PyFusedModel, "__init__", lambda self, params: time.sleep(1000))
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(LavaRunError, match="longer than timeout=3 seconds"):
        run(net, make_data(net), "lava-fused", timeout=3)


def test_a_process_that_dies_is_noticed(make_network, make_data, nothing_left, monkeypatch):
    from netx_export.backends import fused

    monkeypatch.setattr(fused.PyFusedModel, "run_spk", lambda self: os.kill(os.getpid(), signal.SIGKILL))
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(LavaRunError, match="a Lava process died"):
        run(net, make_data(net), "lava-fused", timeout=20)


def test_runs_in_threads_wait_for_each_other_within_their_time_and_may_print(make_network, make_data, capsys):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x, told, stop = make_data(net, num_samples=20, num_steps=20), [], threading.Event()

    def tick():
        ticks = 0
        while not stop.is_set():
            print("tick")
            ticks += 1
            time.sleep(0.005)
        told.append(ticks)

    def late():
        with pytest.raises(LavaRunError, match="longer than timeout=0.05 seconds"):
            run(net, x, "lava-fused", timeout=0.05)
        told.append("late")

    threads = [threading.Thread(target=tick), threading.Thread(target=late)]
    threads[0].start()
    with _lock:  # as a run in another thread has it
        threads[1].start()
        threads[1].join(10)
    run(net, x, "lava-fused")
    stop.set()
    threads[0].join()
    assert told[0] == "late"
    assert capsys.readouterr().out.count("tick") == told[1] > 3


@pytest.mark.parametrize("backend", ["lava", "lava-fused", "stock"])
def test_runs_leave_no_lava_process_in_memory(make_network, make_data, backend):
    from lava.magma.core.process.process import AbstractProcess, ProcessServer
    from lava.proc.lif.process import LIF

    def alive():
        return [one for one in gc.get_objects() if AbstractProcess in type(one).__mro__]

    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    x = make_data(net, num_samples=1, num_steps=2)
    users, frozen = LIF(shape=(1,)), gc.get_freeze_count()
    before = len(alive())
    for _ in range(2):
        run(net, x, backend)
        assert len(alive()) == before
    assert users in ProcessServer().processes
    assert gc.get_freeze_count() <= frozen
