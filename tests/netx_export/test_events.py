"""The kernels of weighted input and of currents against products of torch and the definition of the gate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bsnn import fixed_point
from netx_export import network
from netx_export.network import Gate
from netx_export.simulator import kernels
from netx_export.simulator.layer import EventDrivenProjection
from netx_export.simulator.rows import Messages, fill, from_row, message_width
from netx_export.simulator.tables import Gather, Scatter

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))
MESSAGES = st.sampled_from(
    [Messages(), Messages(4), Messages(15), Messages(16), Messages(255), Messages(127, True)]
)


def projection_of(synapse, shape, messages, **options):
    connection = network.Connection(source="input", synapse=synapse, **options)
    return EventDrivenProjection(connection, shape, synapse.output_shape(shape), messages)


def random_messages(rng, shape, messages, rate):
    low = -messages.largest if messages.signed else 0
    x = rng.integers(low, messages.largest + 1, (2, *shape, 3))
    return x * (rng.random(x.shape) < rate)


def weighted_of(projection, x, shape, messages):
    """Weighted input ``[N, T, *target]`` of messages ``[N, *shape, T]``, written over garbage."""
    rows = np.zeros((len(x), x.shape[-1], message_width(shape)), messages.type)
    fill(rows, x, shape)
    out = np.full((len(x), x.shape[-1], projection.width), 77, projection.dtype)
    projection.multiply(rows, out, projection.start())
    return out, from_row(out, projection.target)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 16, 17, 32, 49, 64, 65, 128, 130, 256, 300]),
    st.sampled_from([(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (130, 1)]),
    PAIR,
    PAIR,
    PAIR,
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from([1, 7, 8, 127, 128, 2047, 70000]),
    MESSAGES,
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_convolutions_equal_those_of_torch(
    seed, outputs, channels, kernel, stride, dilation, padding, largest, messages, rate
):
    rng = np.random.default_rng(seed)
    inputs, groups = channels
    shape = (inputs, *rng.integers(1, 7, 2).tolist())
    outputs *= groups
    fits = [n + 2 * p > d * (k - 1) for n, p, d, k in zip(shape[1:], padding, dilation, kernel, strict=True)]
    assume(all(fits))
    top = min(largest, 127 if largest == 127 else largest - (largest == 128))
    weight = rng.integers(-largest, top + 1, (outputs, inputs // groups, *kernel))
    conv = network.Conv(weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    x = random_messages(rng, shape, messages, rate)
    projection = projection_of(conv, shape, messages)
    _, found = weighted_of(projection, x, shape, messages)
    images = torch.from_numpy(np.moveaxis(x, -1, 1).reshape(-1, *shape)).double()
    expected = torch.nn.functional.conv2d(
        images, torch.from_numpy(weight).double(), None, stride, padding, dilation, groups
    )
    np.testing.assert_array_equal(found.reshape(expected.shape), expected.numpy())


@pytest.mark.parametrize("padding", [(0, 1), (1, 1)])
def test_kernels_larger_than_the_image_take_the_tap_in_its_place(padding):
    weight = np.arange(64 * 2 * 9).reshape(64, 2, 3, 3)[:, :, 1 - padding[0] :][:, :, : 1 + 2 * padding[0]]
    conv, x = network.Conv(weight=weight, padding=padding), np.ones((1, 2, 1, 1, 1), int)
    _, found = weighted_of(projection_of(conv, (2, 1, 1), Messages()), x, (2, 1, 1), Messages())
    np.testing.assert_array_equal(found.reshape(-1), weight[:, :, padding[0], 1].sum(1))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 10, 63, 64, 65, 128, 200, 257]),
    st.sampled_from([1, 3, 127, 128, 2047]),
    MESSAGES,
)
def test_dense_products_equal_those_of_numpy(seed, outputs, largest, messages):
    rng = np.random.default_rng(seed)
    shape = (3, 20, 30)  # more inputs than fit in a list of events
    weight = rng.choice([-largest, min(largest, 127 if largest == 128 else largest), 1], (outputs, 1800))
    x = random_messages(rng, shape, messages, 0.5)
    _, found = weighted_of(projection_of(network.Dense(weight=weight), shape, messages), x, shape, messages)
    expected = np.moveaxis(x, -1, 1).reshape(2, 3, -1) @ weight.T
    np.testing.assert_array_equal(found, expected)


def test_sums_of_few_bits_are_split_before_they_overflow():
    """All weights of one sign, all inputs active: 8 bits hold 127 // 7 rows, and the sum needs 16."""
    for top, inputs in ((7, 300), (1, 1000), (127, 250), (-128, 250)):
        dense = network.Dense(weight=np.full((64, inputs), top))
        projection = projection_of(dense, (inputs,), Messages())
        assert isinstance(projection._tables, Gather)
        _, found = weighted_of(projection, np.ones((1, inputs, 1), int), (inputs,), Messages())
        assert (found == top * inputs).all()


def test_kernels_are_chosen_by_outputs_and_messages():
    def tables(outputs, messages, **options):
        conv = network.Conv(weight=np.ones((outputs, 4 // options.get("groups", 1), 3, 3), int), **options)
        return type(projection_of(conv, (4, 8, 8), messages)._tables)

    assert tables(64, Messages()) is tables(64, Messages(15)) is Gather
    assert tables(16, Messages()) is tables(64, Messages(16)) is tables(64, Messages(7, True)) is Scatter
    assert tables(64, Messages(), groups=4) is Scatter


def test_weighted_input_has_16_bits_where_they_hold_it():
    for weight, dtype in ((32767, np.int16), (32768, np.int32)):
        assert projection_of(network.Dense(weight=np.array([[weight]])), (1,), Messages()).dtype == dtype


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_currents_equal_the_definition(seed, image, whole, per_channel, adds):
    rng = np.random.default_rng(seed)
    shape = (5, 3, 4) if image else (5,)
    channels = [5] if per_channel else []
    synapse = network.Identity()
    gate = Gate(
        multiplier=rng.integers(-(1 << 12), 1 << 12, (3, *channels)),
        shift=10,
        per="layer" if whole else "channel",
    )
    for chosen in (None, gate):
        projection = projection_of(
            synapse,
            shape,
            Messages(255),
            scale=rng.integers(-90, 91, 5),
            bias=rng.integers(-9999, 9999, 5),
            gate=chosen,
        )
        for steps in (3, 1):  # one step: constant input
            weighted = np.zeros((2, steps, projection.width), projection.dtype)
            weighted[..., : projection.size] = rng.integers(0, 256, (2, steps, projection.size))
            before = rng.integers(-99, 99, (2, 3, projection.size)).astype(np.int32)
            total = before.copy()
            projection.add_currents(weighted, total, adds=adds)
            expected = projection.currents(weighted, range(3)) + before * adds
            np.testing.assert_array_equal(total, np.broadcast_to(expected, total.shape))
            last = before[:, :1].copy()
            projection.add_currents(weighted[:, :1], last, first=2, adds=adds)
            expected = projection.currents(weighted[:, :1], range(2, 3)) + before[:, :1] * adds
            np.testing.assert_array_equal(last, expected)


def test_gates_do_gate():
    gate = Gate(multiplier=np.full(1, 1 << 10), shift=10, per="layer")
    projection = projection_of(network.Identity(), (2,), Messages(255), gate=gate)
    weighted = np.zeros((1, 1, projection.width), projection.dtype)
    weighted[0, 0, :2] = 3, 250
    total = np.zeros((1, 1, 2), np.int32)
    projection.add_currents(weighted, total, adds=False)
    assert 0 < total[0, 0, 0] <= 3 * 64
    assert pytest.approx(total[0, 0, 1] / total[0, 0, 0], rel=0.01) == 250 / 3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_mixed_steps_equal_the_definition(seed, steps):
    rng = np.random.default_rng(seed)
    total = rng.integers(-fixed_point.STATE_MAX, fixed_point.STATE_MAX, (3, steps, 70)).astype(np.int32)
    omega = rng.integers(-4096, 4097, (steps, steps)) // steps
    mixed = np.empty_like(total)
    kernels.mix(total, omega, mixed)
    expected = np.moveaxis(fixed_point.mix(np.moveaxis(total, 1, 0), omega), 0, 1)
    np.testing.assert_array_equal(mixed, expected)
