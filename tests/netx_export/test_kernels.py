from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_bsnn import fixed_point
from lava_bsnn.errors import ShapeError
from netx_export import FixedPointNetwork, Stepper, network, simulate
from netx_export.simulator import kernels
from netx_export.simulator.layer import EventDrivenProjection
from netx_export.simulator.rows import Messages, from_row, message_width, to_row

TOP = fixed_point.STATE_MAX
BITS24 = st.one_of(st.sampled_from([-TOP, 1 - TOP, -1, 0, 1, TOP - 1, TOP]), st.integers(-TOP, TOP))
FACTOR = st.one_of(st.sampled_from([0, 1, 2048, 4095, 4096]), st.integers(0, 4096))


def rows(values, width=None):
    """Values as ``[1, T, width]``, T rows of equal neurons' values."""
    array = np.zeros((1, len(values), width or len(values[0])), dtype=np.int32)
    array[0, :, : len(values[0])] = values
    return array


@settings(max_examples=300)
@given(
    st.lists(st.lists(BITS24, min_size=5, max_size=5), min_size=1, max_size=4),
    st.lists(BITS24, min_size=5, max_size=5),
    st.lists(st.integers(0, TOP), min_size=5, max_size=5),
    FACTOR,
    FACTOR,
    st.one_of(st.none(), st.tuples(st.integers(2, 24), st.integers(0, 22))),
)
def test_leaky_neurons_equal_the_definition(currents, bias, threshold, keep_u, keep_v, membrane):
    bound, shift = (0, 0) if membrane is None else ((1 << (membrane[0] - 1)) - 1, membrane[1])
    bias = [b // 4 for b in bias]
    parameters = np.array([[1] * 5, [0] * 5, bias, threshold], dtype=np.int32)
    u, v = np.zeros((1, 5), np.int32), np.zeros((1, 5), np.int32)
    sent = np.zeros((1, len(currents), 64), np.uint8)
    kept = np.zeros((1, len(currents), 5), np.int32)
    factors = np.array([keep_u, keep_v, bound, shift], np.int32)
    kernels.lif(rows(currents), parameters, factors, u, v, sent, kept)
    current = potential = np.zeros(5, np.int64)
    for t, activation in enumerate(currents):
        current, before = fixed_point.integrate(
            current,
            potential,
            np.array(activation),
            current_decay=4096 - keep_u,
            voltage_decay=4096 - keep_v,
            bias=np.array(bias),
            exponent=0,
        )
        spikes, potential = fixed_point.fire(before, np.array(threshold), exponent=0)
        if membrane is not None:
            potential = fixed_point.quantize_potential(potential, *membrane)
        np.testing.assert_array_equal(kept[0, t], before)
        np.testing.assert_array_equal(sent[0, t, :5], spikes)
    np.testing.assert_array_equal(u[0], current)
    np.testing.assert_array_equal(v[0], potential)
    assert not sent[..., 5:].any()


@settings(max_examples=300)
@given(
    st.lists(st.lists(BITS24, min_size=5, max_size=5), min_size=1, max_size=4),
    st.lists(BITS24, min_size=5, max_size=5),
    st.lists(st.one_of(st.integers(1, 9), st.integers(1, TOP)), min_size=5, max_size=5),
    st.lists(st.integers(0, 8 * 4096), min_size=1, max_size=3),
    st.integers(1, 255),
)
def test_multi_threshold_neurons_equal_the_definition(currents, initial, threshold, lam, levels):
    parameters = np.array([[1] * 5, [0] * 5, [0] * 5, threshold], dtype=np.int32)
    v = np.array([initial], np.int32)
    sent = np.zeros((1, len(currents), 64), np.uint8)
    kept = np.zeros((1, len(currents), 5), np.int32)
    lams = np.array(lam, np.int32)
    kernels.multi_threshold(rows(currents), parameters, lams, levels, 2, v, sent, kept)
    potential = np.array(initial)
    for t, current in enumerate(currents):
        spikes, before, potential = fixed_point.multi_threshold_step(
            potential,
            np.array(current),
            threshold=np.array(threshold),
            levels=levels,
            lam=lam[(2 + t) % len(lam)],
        )
        np.testing.assert_array_equal(kept[0, t], before)
        np.testing.assert_array_equal(sent[0, t, :5], spikes)
    np.testing.assert_array_equal(v[0], potential)


@pytest.mark.parametrize("outputs", [1, 16, 17, 64, 80, 130])
@pytest.mark.parametrize("largest", [1, 255])
def test_weighted_inputs_of_many_events_are_exact(outputs, largest):
    rng = np.random.default_rng(outputs)
    shape = (3, 20, 30)  # 1800 inputs, more than a kernel's list of events
    weight = rng.choice([-128, 127, 5], (outputs, 1800))
    x = rng.integers(0, largest + 1, (2, 3, *shape))
    connection = network.Connection(source="input", synapse=network.Dense(weight=weight))
    synapse = EventDrivenProjection(connection, shape, (outputs,), Messages(largest))
    messages = np.zeros((2, 3, message_width(shape)), np.uint8)
    messages[..., :1800] = to_row(x, shape)
    out = np.full((2, 3, synapse.width), 9, synapse.dtype)
    synapse.multiply(messages, out, synapse.start())
    np.testing.assert_array_equal(out[..., :outputs], x.reshape(2, 3, -1) @ weight.T)


def test_rows_are_in_height_width_channel_order():
    x = np.arange(24).reshape(1, 2, 3, 4)
    row = to_row(x, (2, 3, 4))
    assert row[0, :4].tolist() == [0, 12, 1, 13]
    np.testing.assert_array_equal(from_row(row, (2, 3, 4)), x)


def test_even_weights_beyond_eight_bits_are_exact(slow):
    weight = 2 * np.random.default_rng(0).integers(-128, 128, (3, 4))
    weight[0, :2] = -256, 254
    layer = network.Layer(
        name="first",
        connections=(network.Connection(source="input", synapse=network.Dense(weight=weight)),),
        neuron=network.LIF(threshold=300, bias=np.zeros(3, int), voltage_decay=100),
        shape=(3,),
    )
    net = FixedPointNetwork(input=network.Input(shape=(4,)), layers=(layer,))
    x = np.random.default_rng(1).integers(0, 2, (1, 4, 9))
    result = simulate(net, x, trace=True).layers["first"]
    messages, potentials = slow.simulation(net, x[0])["first"]
    np.testing.assert_array_equal(result.potential[0], potentials)
    np.testing.assert_array_equal(result.spikes[0], messages)


def test_threads_do_not_change_the_result(make_network, make_data):
    net = make_network()
    x = make_data(net, num_samples=9)
    one = simulate(net, x, trace=True, num_threads=1)
    many = simulate(net, x, trace=True, num_threads=4, batch_size=2)
    for name, trace in one.layers.items():
        np.testing.assert_array_equal(trace.potential, many.layers[name].potential)
    with pytest.raises(ShapeError, match="num_threads=0 is not allowed; use 1 or more"):
        simulate(net, x, num_threads=0)


def test_an_error_in_a_thread_reaches_the_caller(make_network, make_data):
    net = make_network()

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(net, make_data(net, num_samples=9), num_threads=2, batch_size=1, progress=stop)


def test_the_stepper_refuses_input_out_of_range(make_network):
    stepper = Stepper(make_network(bits=4))
    for x in (np.full((2, 6, 5), 16), np.full((2, 6, 5), -1), np.zeros((2, 6, 5))):
        with pytest.raises(ShapeError, match=r"do not fit; use integers 0\.\.15"):
            stepper.step(x)


def run_python(code, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SMALL = (
    "import numpy as np\nfrom netx_export import Stepper, simulate, network as g, FixedPointNetwork\n"
    "layer = g.Layer(name='a', connections=(g.Connection(source='input', "
    "synapse=g.Dense(weight=np.ones((2, 3), int))),), neuron=g.LIF(threshold=2, "
    "bias=np.zeros(2, int)), shape=(2,))\n"
    "net = FixedPointNetwork(input=g.Input(shape=(3,)), layers=(layer,))\n"
)


def test_kernels_run_in_a_forked_process():
    code = SMALL + (
        "import os\nx = np.ones((4, 3, 2), int)\nsimulate(net, x, num_threads=2, batch_size=1)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    stepper = Stepper(net)\n"
        "    ok = [int(stepper.step(x[0, :, 0]).sum()) for _ in range(2)] == [0, 2]\n"
        "    ok &= bool(simulate(net, x, num_threads=2, batch_size=1).spikes.all())\n"
        "    os._exit(0 if ok else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert run_python(code) == "0"


def test_without_a_folder_for_machine_code_kernels_still_run():
    code = (
        "import numba.core.caching as c\n"
        "def nowhere(*args): raise RuntimeError('cannot cache function: no locator available')\n"
        "c.FunctionCache.__init__ = nowhere\n"
    ) + SMALL
    code += "print(simulate(net, np.ones((1, 3, 2), int)).spikes.all())"
    assert run_python(code) == "True"


def test_simulating_needs_no_torch():
    code = SMALL + ("import sys\nsimulate(net, np.ones((1, 3, 2), int))\nprint('torch' in sys.modules)")
    assert run_python(code) == "False"
