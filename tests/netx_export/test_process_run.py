"""Runs on Lava: equal results, and nothing left of them however they end."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import ExportError, OptionError, ShapeError
from netx_export import compare, network, run, simulate
from netx_export.backends import runtime
from netx_export.backends.runtime import LavaRunError, _lock

pytestmark = pytest.mark.lava
ON_LAVA = ("lava", "lava-fused", "stock")


def shared_mappings():
    """Lines of the map of this process that are memory which children share."""
    maps = Path("/proc/self/maps").read_text() if sys.platform == "linux" else ""
    return [line for line in maps.splitlines() if "/dev/zero" in line or "/dev/shm" in line]


@pytest.fixture
def nothing_left():
    """Child processes, threads and the run's shared memory are gone afterwards."""
    gc.collect()
    threads, shared = threading.active_count(), shared_mappings()
    yield
    assert multiprocessing.active_children() == []
    end = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    gc.collect()  # an exception keeps what its traceback shows
    assert len(shared_mappings()) <= len(shared)


def bias_network():
    dense = network.Dense(weight=np.arange(8).reshape(2, 4) - 3)
    return network.FixedPointNetwork(
        input=network.Input(shape=(4,), bits=13, signed=True),
        layers=(
            network.Layer(
                name="pixels",
                connections=(network.Connection(source="input", synapse=network.BiasInput()),),
                neuron=network.LIF(threshold=30, bias=np.zeros(4, int), voltage_decay=500),
                shape=(4,),
            ),
            network.Layer(
                name="out",
                connections=(network.Connection(source="pixels", synapse=dense),),
                neuron=network.LIF(threshold=3, bias=np.ones(2, int)),
                shape=(2,),
            ),
        ),
    )


@pytest.mark.parametrize("backend", ON_LAVA)
def test_an_input_as_bias_may_change_at_every_step(backend, nothing_left):
    net = bias_network()
    x = np.random.default_rng(0).integers(-9, 60, (3, 4, 7))
    result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
    assert result.mismatches == 0, result.first
    assert result.compared == 3 * 7 * 6


def late_network(loop):
    rng = np.random.default_rng(4)
    connections = [
        network.Connection(
            source="input", synapse=network.Dense(weight=rng.integers(-50, 100, (6, 9))), delay=np.arange(6)
        )
    ]
    if loop:
        weight = rng.integers(-60, 60, (6, 6))
        connections.append(network.Connection(source="late", synapse=network.Dense(weight=weight)))
    neuron = network.LIF(threshold=90, bias=np.full(6, 20), voltage_decay=300)
    layer = network.Layer(name="late", connections=tuple(connections), neuron=neuron, shape=(6,))
    return network.FixedPointNetwork(input=network.Input(shape=(9,)), layers=(layer,))


@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_samples_do_not_mix_through_delays_and_loops(backend, make_data):
    net = late_network(loop=True)
    x = make_data(net, num_samples=3, num_steps=8)
    result = compare(simulate(net, x, trace=True), run(net, x, backend, trace=True))
    assert result.mismatches == 0, result.first


def test_what_is_no_network_or_no_data_is_refused(make_network, make_data):
    net = make_network(in_shape=(9,), convs=(), dense=(8,))
    with pytest.raises(OptionError, match=r"run: net is a str; use a FixedPointNetwork, .* or read\(path\)"):
        run("demo.net", make_data(net))
    with pytest.raises(ShapeError, match="data: this Tensor is no array of integers; use net.encode"):
        run(net, torch.zeros(1, 9, 4, requires_grad=True))
    with pytest.raises(OptionError, match=r"run: timeout=-1 is not allowed; use seconds > 0"):
        run(net, make_data(net), "lava", timeout=-1)


def test_backends_refuse_what_they_cannot_compute(make_data, slow):
    net = late_network(loop=False)
    with pytest.raises(ExportError, match="late: stock Lava keeps messages in delays .* use backend 'lava'"):
        run(net, make_data(net), "stock")
    net = network.FixedPointNetwork(input=net.input, layers=net.layers, profile="extended")
    with pytest.raises(ExportError, match="profile 'stock' only; use backend 'lava'"):
        run(net, make_data(net), "stock")
    with pytest.raises(OptionError, match="run: option='speed' is unknown"):
        run(net, make_data(net), "lava", speed=1)


def first_valid(slow, seed):
    while True:
        try:
            net, steps = slow.random_network(seed)
        except ExportError:
            seed += 1
            continue
        if net.max_steps is None or net.max_steps >= steps:
            return net, steps
        seed += 1


@pytest.mark.parametrize("backend", ["lava", "lava-fused"])
def test_potentials_of_all_layers_are_traced(backend, slow, nothing_left):
    net, steps = first_valid(slow, 21_000)
    x = np.random.default_rng(1).integers(0, net.input.max_value + 1, (3, *net.input.shape, steps))
    expected, found = simulate(net, x, trace=True), run(net, x, backend, trace=True)
    for name, trace in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name].spikes, trace.spikes, err_msg=name)
        np.testing.assert_array_equal(found.layers[name].potential, trace.potential, err_msg=name)
        assert found.layers[name].spikes.dtype == trace.spikes.dtype
    assert found.latency == expected.latency


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


def test_models_of_a_class_of_processes_are_looked_for_once(make_network, make_data, monkeypatch):
    """Lava's compiler would execute all modules beside a process for each process anew."""
    net = make_network(in_shape=(9,), convs=(), dense=(8, 6, 5))
    graphs = import_lava("lava.magma.compiler.compiler_graphs").ProcGroupDiGraphs
    find, asked = graphs._find_proc_models, []
    monkeypatch.setattr(runtime, "_models", {})
    monkeypatch.setattr(
        graphs, "_find_proc_models", staticmethod(lambda proc: asked.append(type(proc)) or find(proc))
    )
    for _ in range(2):
        run(net, make_data(net), "stock")
    assert len(asked) == len(set(asked)) > 3


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
    users = LIF(shape=(1,))
    before = len(alive())
    for _ in range(2):
        run(net, x, backend)
        assert len(alive()) == before
    assert users in ProcessServer().processes
    assert not gc.get_freeze_count()


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
    x = rng.integers(0, 2, (1000, 4, 2000))
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
    end = time.monotonic() + 60
    while len(processes_of(child.pid)) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    during = processes_of(child.pid)
    assert len(during) >= 5
    assert not named_memory_of(during)
    if number == signal.SIGINT:  # a terminal sends it to all
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    assert child.wait(timeout=20) == code
    end = time.monotonic() + 10
    while processes_of(child.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert processes_of(child.pid) == []


@pytest.mark.lava
@pytest.mark.parametrize("whole", [False, True])
def test_a_factor_per_step_acts_at_its_step_in_every_backend(whole):
    from netx_export import network, run, simulate

    rng = np.random.default_rng(0)
    omega = np.full((4, 4), 1024) if whole else None
    layer = network.Layer(
        name="dense",
        connections=(
            network.Connection(source="input", synapse=network.Dense(weight=rng.integers(-3, 9, (6, 5)))),
        ),
        neuron=network.MultiThreshold(threshold=700, levels=3, lam=np.array([4096, 1000, 6000, 0])),
        shape=(6,),
        mix=None if omega is None else network.Mix(omega=omega),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(5,)), layers=(layer,), profile="extended")
    x = rng.integers(0, 2, (3, 5, 4))
    expected = simulate(net, x).spikes
    assert len(np.unique(expected)) > 2
    for backend in ("lava", "lava-fused"):
        np.testing.assert_array_equal(run(net, x, backend).spikes, expected, err_msg=backend)
