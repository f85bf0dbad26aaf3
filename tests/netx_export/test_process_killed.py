"""Nothing is left of a run on Lava that is killed or stopped, each in a Python of its own.

As those fork and not pytest, they run beside the other tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.processes import wait_until

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
