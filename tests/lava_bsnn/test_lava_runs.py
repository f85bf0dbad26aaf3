"""Runs that users start themselves: what a Lava process raises reaches them, and nothing is left."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from lava_bsnn.compat import import_lava
from lava_bsnn.errors import LavaRunError

pytestmark = pytest.mark.lava
io = import_lava("lava.proc.io")
conditions = import_lava("lava.magma.core.run_conditions")
configs = import_lava("lava.magma.core.run_configs")
TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def ends_soon():
    """An exception where a run hangs, again and again until the test ends."""

    def late(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 60, 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture(scope="module")
def failing():
    path = TESTS / "stand_ins/user_process/failing.py"
    spec = importlib.util.spec_from_file_location("failing", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["failing"] = module
    spec.loader.exec_module(module)
    yield module.Failing
    del sys.modules["failing"]


def between_source_and_sink(process):
    source, sink = io.source.RingBuffer(data=np.ones((3, 8), int)), io.sink.RingBuffer(shape=(3,), buffer=8)
    source.s_out.connect(process.a_in)
    process.s_out.connect(sink.a_in)
    return process


def start(process, condition, tag="fixed_pt"):
    process.run(condition=condition, run_cfg=configs.Loihi2SimCfg(select_tag=tag))


def steps(number, **options):
    return conditions.RunSteps(num_steps=number, **options)


def blocking(process):
    start(process, steps(8))


def second_run(process):
    start(process, steps(4))
    process.run(condition=steps(4))


def asked_for(name, condition, seconds):
    def ask(process):
        start(process, condition)
        time.sleep(seconds)
        getattr(process, name)()

    ask.__name__ = f"{name}_{type(condition).__name__}"
    return ask


SOME, ON = steps(8, blocking=False), conditions.RunContinuous()
FORMS = [
    blocking,
    second_run,
    *(asked_for("wait", condition, 0) for condition in (SOME, ON)),
    *(asked_for(name, condition, 0.2) for name in ("pause", "stop") for condition in (SOME, ON)),
]


@pytest.mark.parametrize("form", FORMS)
def test_an_exception_in_a_process_of_a_user_is_told_wherever_its_end_is_awaited(form, failing):
    process = between_source_and_sink(failing())
    begin = time.monotonic()
    try:
        with pytest.raises(LavaRunError, match="a Lava process failed: ValueError: of the user") as told:
            form(process)
        assert "in run_spk" in str(told.value.__cause__)
        assert multiprocessing.active_children() == []  # before it is stopped, too
    finally:
        process.stop()
    assert time.monotonic() - begin < 10
    with pytest.raises(LavaRunError, match="this run on Lava has ended; make its processes anew"):
        process.run(condition=steps(1))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raise after it sent", "failed: ValueError: of the user"),
        ("raise much", "failed: ValueError: of the user!!!"),
        ("raise what cannot be sent", "failed: RuntimeError: CannotBeSentError: this and that"),
        ("die", "a Lava process died"),
    ],
)
def test_a_process_may_fail_in_any_way(how, text, failing):
    process = between_source_and_sink(failing(how))
    try:
        with pytest.raises(LavaRunError, match=text):
            blocking(process)
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("raise", ValueError, "of the user"),
        ("raise what cannot be sent", RuntimeError, "CannotBeSentError: this and that"),
        ("die", LavaRunError, "a Lava process died"),
    ],
)
def test_a_process_may_fail_while_it_is_made(how, kind, text, failing):
    process = between_source_and_sink(failing(how, at=0))
    try:
        with pytest.raises(kind, match=text):
            blocking(process)
    finally:
        process.stop()


def test_who_waits_for_data_of_a_process_that_failed_is_told(failing):
    process, extractor = failing(), io.extractor.Extractor(shape=(3,))
    injector = io.injector.Injector(shape=(3,), buffer_size=2)
    injector.out_port.connect(process.a_in)
    process.s_out.connect(extractor.in_port)
    try:
        start(process, ON, tag=None)
        for _ in range(5):
            injector.send(np.ones(3))
            assert extractor.receive().tolist() == [1, 1, 1]
        injector.send(np.ones(3))
        with pytest.raises(LavaRunError, match="a Lava process failed: ValueError: of the user"):
            extractor.receive()
    finally:
        process.stop()


def test_who_sends_data_to_a_process_that_failed_is_told(failing):
    process = failing()
    injector = io.injector.Injector(shape=(3,), buffer_size=2)
    injector.out_port.connect(process.a_in)
    process.s_out.connect(io.extractor.Extractor(shape=(3,)).in_port)

    def send_for_ever():
        while True:
            injector.send(np.ones(3))

    try:
        start(process, ON, tag=None)
        with pytest.raises(LavaRunError, match="a Lava process failed: ValueError: of the user"):
            send_for_ever()
    finally:
        process.stop()


@pytest.mark.parametrize("condition", [SOME, ON])
def test_runs_without_failures_go_on_as_before(condition, failing):
    process = between_source_and_sink(failing(at=-1))
    start(process, steps(3))
    process.run(condition=condition)
    time.sleep(0.2)
    process.pause()
    process.stop()
    process.stop()


def test_a_forked_copy_of_a_run_does_not_end_it(failing):
    process = between_source_and_sink(failing(at=-1))
    start(process, steps(3))
    child = multiprocessing.get_context("fork").Process(target=process.stop)
    child.start()
    child.join()
    assert child.exitcode == 0
    process.run(condition=steps(3))
    process.stop()


KILLED = """
    import multiprocessing, os, sys
    import numpy as np
    import lava_bsnn
    from lava.magma.core.run_conditions import RunContinuous
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc import io
    source, sink = io.source.RingBuffer(data=np.ones((3, 8), int)), io.sink.RingBuffer(shape=(3,), buffer=8)
    source.s_out.connect(sink.a_in)
    sink.run(condition=RunContinuous(), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_script_that_is_killed_leaves_no_process():
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS.parent,
    )
    pids = child.stdout.readline().split()
    assert len(pids) == 3
    assert child.wait() == -signal.SIGKILL
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.05)


INTERRUPTED = """
    import sys
    import numpy as np
    import lava_bsnn
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc import io
    source, sink = io.source.RingBuffer(data=np.ones((3, 8), int)), io.sink.RingBuffer(shape=(3,), buffer=8)
    source.s_out.connect(sink.a_in)
    executable = sink.compile(Loihi2SimCfg(select_tag="fixed_pt"))
    print("ready", flush=True)
    try:
        sink.create_runtime(executable=executable)
        sink.run(condition=RunSteps(num_steps=10**7))
    except KeyboardInterrupt:
        sys.exit(77)
    finally:
        sink.stop()
"""


@pytest.mark.parametrize("delay", [0, 0.01, 0.03, 1])
def test_ctrl_c_ends_a_script_while_processes_are_made_and_while_they_run(delay):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=TESTS.parent,
    )
    assert child.stdout.readline() == b"ready\n"
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal sends it
    try:
        code = child.wait(timeout=20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert code in (77, -signal.SIGINT)  # the latter before it is caught


OTHER_START_METHOD = """
    import multiprocessing, sys
    import numpy as np
    if __name__ == "__main__":
        multiprocessing.set_start_method(sys.argv[1])
        from netx_export import network, run, simulate
        layer = network.Layer(
            name="dense",
            connections=(
                network.Connection(source="input", synapse=network.Dense(weight=np.ones((5, 4), int))),
            ),
            neuron=network.LIF(threshold=2, bias=np.zeros(5, int)),
            shape=(5,),
        )
        net = network.FixedPointNetwork(input=network.Input(shape=(4,)), layers=(layer,))
        x = np.random.default_rng(0).integers(0, 2, (2, 4, 9))
        same = np.array_equal(run(net, x, "lava-fused", timeout=60).spikes, simulate(net, x).spikes)
        print(same, multiprocessing.get_start_method(), len(multiprocessing.active_children()))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_runs_do_not_depend_on_the_start_method(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(OTHER_START_METHOD))
    done = subprocess.run(
        [sys.executable, script, method],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )
    assert done.stdout.split() == ["True", method, "0"], done.stderr
