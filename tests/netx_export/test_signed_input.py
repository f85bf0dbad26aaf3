"""Signed graded messages, from the checks to the stepper; the reference computes in Python integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError, ShapeError
from netx_export import FixedPointNetwork, network, simulate
from netx_export.process.part import blocks, part
from netx_export.simulator.stepper import stream
from netx_export.verify import random_data

IMAGES = network.Encoding.images((0.5, 0.4), (0.25, 0.2))


def layer(name, connections, shape, neuron=None, **options):
    neuron = neuron or network.LIF(threshold=300, bias=np.arange(shape[0]) - 1, voltage_decay=500)
    return network.Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape, **options)


def connect(source, synapse, **options):
    return network.Connection(source=source, synapse=synapse, **options)


def signed_net(bits=8, encoding=None, classes=(), profile="stock", readout=True):
    """Conv on an image of two channels, dense, readout or none; every layer spikes."""
    rng = np.random.default_rng(3)
    conv = network.Conv(weight=rng.integers(-9, 10, (3, 2, 3, 3)), padding=(1, 1), stride=(2, 1))
    dense = network.Dense(weight=rng.integers(-40, 60, (6, 36)))
    layers = [
        layer("conv", [connect("input", conv)], (3, 3, 4)),
        layer("dense", [connect("conv", dense)], (6,)),
    ]
    if readout:
        weight = rng.integers(-9, 10, (4, 6))
        sums = network.Readout(bias=np.array([1, -2, 0, 3]))
        layers.append(layer("readout", [connect("dense", network.Dense(weight=weight))], (4,), sums))
    entry = network.Input(shape=(2, 5, 4), bits=bits, signed=True, encoding=encoding)
    return FixedPointNetwork(input=entry, layers=tuple(layers), profile=profile, classes=classes)


def small(entry, classes=(), **options):
    """One dense layer behind an input."""
    weight = np.arange(3 * int(np.prod(entry.shape))).reshape(3, -1) - 7
    dense = connect("input", network.Dense(weight=weight), **options)
    return FixedPointNetwork(input=entry, layers=(layer("out", [dense], (3,)),), classes=classes)


def assert_equals_reference(slow, net, x):
    result = simulate(net, x, trace=True)
    for n, sample in enumerate(x):
        for name, (messages, before) in slow.simulation(net, sample).items():
            np.testing.assert_array_equal(result.layers[name].spikes[n], messages, err_msg=name)
            np.testing.assert_array_equal(result.layers[name].potential[n], before, err_msg=name)
    return result


def signed_data(net, num_samples, num_steps, seed=0):
    rng = np.random.default_rng(seed)
    low, high = net.input.min_value, net.input.max_value
    return rng.integers(low, high + 1, (num_samples, *net.input.shape, num_steps))


def images_of(bits):
    """An encoding whose messages go to both ends of so many bits."""
    high = (1 << (bits - 1)) - 1
    return network.Encoding(kind="images", bits=bits, mean=(500_000,) * 2, std=(500_000,) * 2, gain=high)


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_negative_messages_take_part_in_sums_with_their_sign(slow, bits, encoded):
    """An encoding has no message of which the negative does not exist: with 2 bits they are -1, 0, 1."""
    net = signed_net(bits, images_of(bits) if encoded else None)
    if bits < 8:  # small messages, low thresholds
        quiet = replace(net.layers[0].neuron, threshold=5)
        net = replace(net, layers=(replace(net.layers[0], neuron=quiet), *net.layers[1:]))
    x = signed_data(net, 2, 6)
    result = assert_equals_reference(slow, net, x)
    assert (x < 0).any() and x.min() == encoded - (1 << (bits - 1))
    assert net.input.largest == (1 << (bits - 1)) - encoded
    assert all(result.layers[name].spikes.any() for name in ("conv", "dense"))
    positive = simulate(net, x.clip(0, None), trace=True)
    assert (positive.layers["conv"].spikes != result.layers["conv"].spikes).any()


def test_a_frame_that_is_repeated_gives_what_its_copies_give(slow):
    net = signed_net()
    frames = signed_data(net, 3, 1)
    repeated = np.broadcast_to(frames, (*frames.shape[:-1], 7))
    result = assert_equals_reference(slow, net, repeated)
    np.testing.assert_array_equal(simulate(net, repeated.copy()).readout, result.readout)
    assert result.layers["dense"].spikes.any()


@settings(max_examples=40)
@given(st.integers(0, 1 << 32), st.integers(2, 8))
def test_skips_delays_loops_gates_and_mixings_take_signed_messages(slow, seed, bits):
    try:
        net, num_steps = slow.random_network(seed)
        net = replace(net, input=replace(net.input, bits=bits, signed=True))
    except ExportError:
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    x = signed_data(net, 2, num_steps, seed)
    result = assert_equals_reference(slow, net, x)
    back_to_back = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    deepest = max(net.depth(one.name) for one in net.layers)
    padded = np.concatenate([back_to_back, np.repeat(back_to_back[..., -1:], deepest, -1)], -1)
    streamed = stream(net, padded, reset_interval=num_steps, clear_delays=True)
    for name, trace in result.layers.items():
        depth = net.depth(name)
        cut = streamed.messages[name][..., depth : depth + x.shape[-1] * len(x)]
        cut = np.moveaxis(cut.reshape(*cut.shape[:-1], len(x), num_steps), -2, 0)
        np.testing.assert_array_equal(cut, trace.spikes, err_msg=name)


def test_a_shortcut_from_the_input_keeps_signs(slow):
    entry = network.Input(shape=(3,), bits=8, signed=True)
    skip = connect("input", network.Identity(), scale=np.array([64, -64, 3]), delay=np.array([0, 1, 2]))
    neuron = network.LIF(threshold=3000, bias=np.array([9, 0, 5]), exponent=0)
    net = FixedPointNetwork(input=entry, layers=(layer("a", [skip], (3,), neuron),), profile="extended")
    result = assert_equals_reference(slow, net, signed_data(net, 3, 9))
    assert result.spikes.any() and not result.spikes.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, r"input: bits=1 is not allowed for signed input; use 2\.\.8, or 13"),
        ({"bits": 9}, r"input: bits=9 is not allowed for signed input; use 2\.\.8, or 13"),
        ({"bits": 13}, "out: signed input and BiasInput go together"),
        ({"encoding": 3}, "input: encoding=3 is not an Encoding"),
        ({"encoding": IMAGES, "bits": 7}, r"bits=7, signed=True do not fit .*use bits=8, signed=True"),
        ({"encoding": IMAGES, "signed": False}, r"bits=8, signed=False do not fit .*use bits=8, signed=True"),
        ({"encoding": network.Encoding()}, "do not fit the encoding .*use bits=0, signed=False"),
        (
            {"encoding": network.Encoding.images((0.5,), (0.5,))},
            "2 channels do not fit the encoding, which makes 1",
        ),
        (
            {"encoding": replace(IMAGES, bits=7, rails=True), "bits": 7, "signed": False},
            "2 channels do not fit the encoding, which makes 4",
        ),
        ({"encoding": replace(IMAGES, steps=1 << 40)}, "numbers up to 1099511627776 is not allowed"),
    ],
)
def test_an_input_that_contradicts_itself_is_refused(options, message):
    with pytest.raises(ExportError, match=message) as caught:
        small(network.Input(**{"shape": (2, 5, 4), "bits": 8, "signed": True, **options}))
    assert "\n" not in str(caught.value)


def test_the_steps_of_encoding_gates_and_mixings_agree():
    def net(steps):
        entry = network.Input(shape=(2,), encoding=network.Encoding(steps=steps))
        mix = network.Mix(omega=np.full((3, 3), 999))
        dense = connect("input", network.Dense(weight=np.ones((1, 2), int)))
        return FixedPointNetwork(
            input=entry, layers=(layer("a", [dense], (1,), mix=mix),), profile="extended"
        )

    assert net(0).num_steps == net(3).num_steps == 3
    with pytest.raises(ExportError, match="the encoding is of 4 steps, gates and mixings of 3"):
        net(4)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("a", "b"), "classes: 2 names do not fit 3 output channels"),
        (["a", "b", "c"], "classes: a list is not allowed; use a tuple"),
        (("a", "b", ""), "classes: '' is not allowed; use texts of 1..256"),
        (("a", "b", "c\n"), "is not allowed; use texts"),
        (("a", "b", "\x1b[31m"), "is not allowed; use texts"),
        (("a", "b", "x" * 257), "is not allowed; use texts"),
        (("a", "b", 3), "classes: 3 is not allowed"),
    ],
)
def test_names_of_classes_fit_the_output(classes, message):
    entry = network.Input(shape=(4,))
    assert small(entry, ("cat", "große Katze", "猫")).classes[2] == "猫"
    with pytest.raises(ExportError, match=message):
        small(entry, classes)


def test_bounds_count_both_signs_of_a_message():
    weight = np.array([[60, -60]])

    def bound(**options):
        entry = network.Input(shape=(2,), **options)
        neuron = network.Readout(bias=np.zeros(1, int), exponent=0)
        out = layer("out", [connect("input", network.Dense(weight=weight))], (1,), neuron)
        return FixedPointNetwork(input=entry, layers=(out,), profile="extended").max_steps

    assert bound(bits=8) == 131_071 * 64 // (60 * 255 * 64)
    assert bound(bits=8, signed=True) == 131_071 * 64 // (120 * 128 * 64)
    assert bound(bits=2, signed=True) == 131_071 * 64 // (120 * 2 * 64)
    assert bound(bits=2, signed=True, encoding=images_of(2)) == 131_071 * 64 // (120 * 64)
    large = connect("input", network.Dense(weight=np.full((1, 9), 127)))
    with pytest.raises(ExportError, match=r"sum\|w\| \* largest input = 146304 overflows"):
        FixedPointNetwork(
            input=network.Input(shape=(9,), bits=8, signed=True), layers=(layer("out", [large], (1,)),)
        )


def test_data_beyond_the_sign_are_refused():
    net = signed_net()
    with pytest.raises(ShapeError, match=r"values -129\.\.0 do not fit; use -128\.\.127"):
        simulate(net, np.full((1, 2, 5, 4, 3), -129) * np.array([1, 0, 0]))
    with pytest.raises(ShapeError, match=r"values -128\.\.0 do not fit; use -127\.\.127"):
        simulate(signed_net(8, IMAGES), np.full((1, 2, 5, 4, 3), -128) * np.array([1, 0, 0]))


def test_random_data_are_dense_and_sparse_still_and_moving():
    net = signed_net()
    x = random_data(net, 5, 6)
    assert x.min() >= -127 and x.max() <= 127 and (x < 0).any() and (x > 0).any()
    assert [round(float((sample != 0).mean()), 1) for sample in x] == [0.5, 0.1, 0.9, 0.0, 1.0]
    still = [bool((sample == sample[..., :1]).all()) for sample in x]
    assert still == [True, False, True, False, True]
    counts = small(network.Input(shape=(40,), bits=4, encoding=network.Encoding(kind="counts", bits=4)))
    x = random_data(counts, 2, 50)
    assert x.max() == 15 and [round(float((sample != 0).mean()), 1) for sample in x] == [0.5, 0.1]


def test_the_table_names_the_sign():
    assert str(signed_net()).splitlines()[1].split() == ["input", "8", "bit", "signed", "2x5x4"]


def test_a_part_has_a_plain_input_and_names_only_with_the_output():
    net = signed_net(encoding=IMAGES, classes=("a", "b", "c", "d"))
    order = blocks(net)
    assert [None if one is None else one.name for one in order] == [None, "conv", None, "dense", "readout"]
    head, tail = part(net, order, 0, 2), part(net, order, 2, None)
    assert head.input == net.input and head.classes == ()
    assert tail.input == network.Input(shape=(3, 3, 4)) and tail.classes == net.classes
    assert part(net, order, 0, None) == net
