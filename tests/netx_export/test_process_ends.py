"""Nothing is left of a run on Lava, however it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from support.processes import wait_until

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


INTERRUPTED = """
    import logging, multiprocessing, threading, time
    import numpy as np
    from netx_export import network, run
    from netx_export.backends.runtime import LavaRunError

    dense = network.Dense(weight=np.ones((5, 4), int))
    layer = network.Layer(
        name="dense",
        connections=(network.Connection(source="input", synapse=dense),),
        neuron=network.LIF(threshold=3, bias=np.ones(5, int)),
        shape=(5,),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(4,)), layers=(layer,))
    x = np.ones((1, 4, 3), int)
    run(net, x, "lava-fused")  # imports and compiles
    start = time.monotonic()
    run(net, x, "lava-fused")
    whole = time.monotonic() - start
    late = 0
    for timeout in np.linspace(0.05, 1, 12) * whole:
        try:
            run(net, x, "lava-fused", timeout=float(timeout))
        except LavaRunError:
            late += 1
        assert not multiprocessing.active_children(), timeout
    def ask():
        logging.getLogger("another")
        print("logging is free", late, flush=True)
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
"""


def test_time_limits_that_end_while_processes_start_do_no_harm():
    """An exception from a signal handler inside a fork would leave the lock of Python's logging held."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("logging is free"), done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 0
    assert "Exception ignored" not in done.stderr and "Warning" not in done.stderr


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


LONG_RUN = """
    import sys
    import numpy as np
    from netx_export import network, run
    rng = np.random.default_rng(0)
    layer = network.Layer(
        name="dense",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=rng.integers(-9, 9, (5, 4)))),
        ),
        neuron=network.LIF(threshold=3, bias=np.ones(5, int)),
        shape=(5,),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(4,)), layers=(layer,))
    x = rng.integers(0, 2, (100, 4, 2000))
    print("ready", flush=True)
    try:
        run(net, x, "BACKEND")
    except KeyboardInterrupt:
        sys.exit(77)
"""


def processes_of(session):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(entry.name))
    return found


def named_memory_of(processes):
    """Files in /dev/shm that the processes have mapped."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found |= set(re.findall(r"/dev/shm/psm_\w+", Path(f"/proc/{process}/maps").read_text()))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(
    ("backend", "number", "code"),
    [
        ("lava", signal.SIGKILL, -signal.SIGKILL),
        ("lava-fused", signal.SIGKILL, -signal.SIGKILL),
        ("lava-fused", signal.SIGTERM, -signal.SIGTERM),
        ("lava-fused", signal.SIGINT, 77),
    ],
)
def test_a_killed_run_leaves_nothing(backend, number, code):
    script = textwrap.dedent(LONG_RUN).replace("BACKEND", backend)
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout.readline() == b"ready\n"
    wait_until(lambda: len(processes_of(child.pid)) >= 5)
    assert not named_memory_of(processes_of(child.pid))
    if number == signal.SIGINT:  # a terminal sends it to all
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    assert child.wait(timeout=20) == code
    wait_until(lambda: not processes_of(child.pid), 10)
