from __future__ import annotations

import numpy as np
import pytest

from lava_bsnn.errors import ShapeError
from netx_export import network, simulate


def slow_weighted_input(synapse, x):
    """Weighted input of one step by nested loops, from the definition."""
    weight = synapse.weight.astype(object)
    if isinstance(synapse, network.Dense):
        return weight @ x.reshape(-1).astype(object)
    out = np.zeros(synapse.output_shape(x.shape), dtype=object)
    per_group_out, per_group_in = len(weight) // synapse.groups, weight.shape[1]
    for o, row, column in np.ndindex(out.shape):
        for i, a, b in np.ndindex(weight.shape[1:]):
            y = row * synapse.stride[0] + a * synapse.dilation[0] - synapse.padding[0]
            z = column * synapse.stride[1] + b * synapse.dilation[1] - synapse.padding[1]
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                channel = o // per_group_out * per_group_in + i
                out[o, row, column] += weight[o, i, a, b] * int(x[channel, y, z])
    return out


def slow_simulation(net, sample):
    """One sample in Python integers: spikes and potentials of every layer, step by step."""
    towards_zero = lambda p: p // 4096 if p >= 0 else -(-p // 4096)  # noqa: E731
    states = {
        layer.name: (np.zeros(layer.shape, object), np.zeros(layer.shape, object)) for layer in net.layers
    }
    record = {layer.name: ([], []) for layer in net.layers}
    for t in range(sample.shape[-1]):
        messages = {"input": sample[..., t]}
        for layer in net.layers:
            neuron = layer.neuron
            a = sum(slow_weighted_input(c.synapse, messages[c.source]) for c in layer.connections)
            u, v = states[layer.name]
            spikes, potentials = np.zeros(layer.shape, int), np.zeros(layer.shape, object)
            for index in np.ndindex(layer.shape):
                u[index] = towards_zero(u[index] * (4096 - neuron.current_decay)) + a[index] * 64
                kept = towards_zero(v[index] * (4096 - neuron.voltage_decay))
                total = kept + u[index] + int(neuron.bias[index[0]]) * 64
                potentials[index] = max(-(2**23) + 1, min(2**23 - 1, total))
                spikes[index] = potentials[index] > neuron.threshold * 64
                v[index] = 0 if spikes[index] else potentials[index]
            messages[layer.name] = spikes
            record[layer.name][0].append(spikes)
            record[layer.name][1].append(potentials)
    return {name: tuple(np.stack(part, -1) for part in parts) for name, parts in record.items()}


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(bits=4, weight_limit=127),
        dict(in_shape=(4, 5, 3), groups=2, convs=((4, 3, 1, 1),)),
        dict(in_shape=(9,), convs=(), dense=(8, 6), classes=0),
    ],
    ids=["spikes", "intensities", "groups", "dense only"],
)
def test_simulation_equals_the_slow_reference(make_network, make_data, options):
    net = make_network(**options)
    x = make_data(net)
    result = simulate(net, x, trace=True)
    rates = []
    for n, sample in enumerate(x):
        for name, (spikes, potentials) in slow_simulation(net, sample).items():
            np.testing.assert_array_equal(result.layers[name].spikes[n], spikes.astype(bool))
            np.testing.assert_array_equal(result.layers[name].potential[n], potentials.astype(int))
            rates.append(spikes.mean())
    assert max(rates) > 0.05  # a silent network would prove nothing


def test_batches_do_not_change_the_result(make_network, make_data):
    net = make_network()
    x = make_data(net, num_samples=7)
    done = []
    whole = simulate(net, x, trace=True)
    parts = simulate(net, x, trace=True, batch_size=3, progress=done.append)
    assert done == [3, 6, 7]
    for name, trace in whole.layers.items():
        np.testing.assert_array_equal(trace.spikes, parts.layers[name].spikes)
        np.testing.assert_array_equal(trace.potential, parts.layers[name].potential)
    np.testing.assert_array_equal(whole.readout, parts.readout)


def test_a_repeated_frame_gives_what_its_copy_gives(make_network):
    net = make_network(bits=4)
    frames = np.random.default_rng(0).random((2, *net.input.shape))
    repeated = net.encode(frames, 6)
    assert repeated.strides[-1] == 0
    a, b = simulate(net, repeated), simulate(net, repeated.copy())
    np.testing.assert_array_equal(a.readout, b.readout)


def test_prediction_is_the_largest_potential_or_the_most_spikes(make_network, make_data):
    net = make_network()
    result = simulate(net, make_data(net))
    np.testing.assert_array_equal(result.prediction, result.readout[..., -1].argmax(1))
    net = make_network(classes=0)
    result = simulate(net, make_data(net))
    assert result.readout is None
    np.testing.assert_array_equal(result.prediction, result.spikes.sum(-1).argmax(1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 2, 6, 5), int), r"does not fit; use \[N, 2, 6, 5, T\]"),
        (np.zeros((2, 2, 6, 5, 3)), "float64 values are not allowed"),
        (np.full((2, 2, 6, 5, 3), 2), "values 2..2 do not fit; use 0..1"),
        (np.full((2, 2, 6, 5, 3), -1), "values -1..-1 do not fit"),
        (np.zeros((0, 2, 6, 5, 3), int), "is empty"),
        (np.zeros((1, 2, 6, 5, 10_000), int), "could overflow the readout"),
    ],
)
def test_data_that_does_not_fit_is_named(make_network, data, message):
    with pytest.raises(ShapeError, match=message):
        simulate(make_network(), data)
