"""Random networks of the extended profile, and their simulation in plain Python integers."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lava_bsnn import fixed_point
from netx_export import FixedPointNetwork, limits, network
from netx_export.checks import current_bound


def per_channel(rng, low, high, channels):
    """An integer, or one per channel."""
    return rng.integers(low, high, channels) if rng.random() < 0.7 else int(rng.integers(low, high))


def random_conv(rng, shape):
    groups = int(rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = np.maximum(rng.integers(0, 3, 2), (dilation * (kernel - 1) + 1 - shape[1:] + 1) // 2).clip(0)
    size = (groups * int(rng.integers(1, 3)), shape[0] // groups, *kernel)
    return network.Conv(
        weight=random_weights(rng, size),
        stride=tuple(int(v) for v in rng.integers(1, 3, 2)),
        padding=tuple(int(v) for v in padding),
        dilation=tuple(int(v) for v in dilation),
        groups=groups,
    )


def random_weights(rng, size):
    kind = rng.integers(0, 3)
    if kind == 0:
        return rng.choice([-1, 1], size)
    return rng.integers(-128, 128, size) if kind == 1 else rng.choice([-128, 127], size)


def random_neuron(rng, channels, typical):
    typical = max(2, int(typical))
    kind = rng.integers(0, 3)
    if kind == 0:
        return network.MultiThreshold(
            threshold=per_channel(rng, 1, typical, channels),
            levels=int(rng.integers(1, 9)),
            initial=per_channel(rng, -typical, typical, channels),
            lam=int(rng.choice([4096, rng.integers(2048, 6145)])),
            bias=per_channel(rng, -typical, typical, channels),
        )
    bits = int(rng.integers(2, 25))
    membrane = network.Membrane(bits=bits, shift=int(rng.integers(0, 23)))
    return network.LIF(
        threshold=per_channel(rng, 0, typical, channels),
        bias=per_channel(rng, -typical // 2, typical, channels),
        current_decay=int(rng.choice([4096, rng.integers(0, 4097)])),
        voltage_decay=int(rng.choice([0, 4096, rng.integers(0, 4097)])),
        membrane=membrane if kind == 1 else None,
        exponent=0,
    )


def random_connection(rng, source, synapse, shape, num_steps, *, delays, gates=True):
    channels, options = shape[0], {}
    magnitude = int(rng.choice([3, 64, 700]))
    if rng.random() < 0.7:
        options["scale"] = rng.integers(-magnitude, magnitude + 1, channels)
    if rng.random() < 0.5:
        options["bias"] = rng.integers(-2000, 2000, channels)
    if gates and rng.random() < 0.4:
        size = (num_steps, channels) if rng.random() < 0.5 else (num_steps,)
        per = str(rng.choice(["channel", "layer"]))
        options["gate"] = network.Gate(
            multiplier=rng.integers(-99, 100, size), shift=int(rng.integers(0, 15)), per=per
        )
    if delays and rng.random() < 0.4:
        inputs = isinstance(synapse, network.Dense) and rng.random() < 0.5
        size = (1, synapse.weight.shape[1]) if inputs else (channels,)
        options["delay"] = rng.integers(0, 6, size)
    return network.Connection(source=source, synapse=synapse, **options)


def neuron_at_limits(rng, room):
    """A neuron with parameters at their limits; biases take all the ``room`` [C] that currents leave."""
    top, kind = limits.POTENTIAL_MAX, rng.integers(0, 3)
    bias = rng.choice([-1, 0, 1], room.shape) * room
    if kind == 0:
        return network.MultiThreshold(
            threshold=rng.choice([1, top], room.shape),
            levels=int(rng.choice([1, 8])),
            initial=rng.choice([-top, 0, top], room.shape),
            lam=int(rng.choice([0, 4096, limits.FACTOR_MAX])),
            bias=bias,
        )
    decays = {"current_decay": 4096, "voltage_decay": int(rng.choice([0, 1, 4095, 4096]))}
    if kind == 1:  # mantissas
        bias = (bias >> 6).clip(limits.BIAS_MIN, limits.BIAS_MAX)
        return network.LIF(threshold=int(rng.choice([0, limits.THRESHOLD_MAX])), bias=bias, **decays)
    membrane = network.Membrane(bits=int(rng.choice([2, 24])), shift=int(rng.choice([0, 22])))
    threshold = rng.choice([0, 1, top], room.shape)
    return network.LIF(threshold=threshold, bias=bias, membrane=membrane, exponent=0, **decays)


def at_limits(rng, entry, layers, layer):
    """The layer with a neuron at its limits."""
    quiet = replace(layer, neuron=network.LIF(threshold=0))
    net = FixedPointNetwork(input=entry, layers=(*layers, quiet), profile="extended")
    room = limits.POTENTIAL_MAX - np.broadcast_to(current_bound(net, quiet), layer.shape[:1])
    return replace(layer, neuron=neuron_at_limits(rng, room))


def random_layer(rng, name, shapes, num_steps, *, recurrent, delays, corners=False):
    source = str(rng.choice(list(shapes)[-2:]))
    shape = shapes[source]
    if corners and len(shape) == 3 and min(shape[1:]) > 1 and rng.random() < 0.2:  # a sum pooling
        synapse = network.Conv(weight=np.ones((shape[0], 1, 2, 2), int), stride=(2, 2), groups=shape[0])
    elif len(shape) == 3 and rng.random() < 0.7:
        synapse = random_conv(rng, shape)
    else:
        synapse = network.Dense(weight=random_weights(rng, (int(rng.integers(1, 7)), int(np.prod(shape)))))
    shape = synapse.output_shape(shape)
    connections = [random_connection(rng, source, synapse, shape, num_steps, delays=delays)]
    for other, its_shape in shapes.items():
        if its_shape == shape and rng.random() < 0.6:
            skip = network.Identity()
        elif len(shape) == 1 and rng.random() < 0.3:
            skip = network.Dense(weight=random_weights(rng, (shape[0], int(np.prod(its_shape)))))
        else:
            continue
        connections.append(random_connection(rng, other, skip, shape, num_steps, delays=delays))
    mix = None
    if rng.random() < 0.35:
        omega = rng.integers(-3000, 8000, (num_steps, num_steps))
        mix = network.Mix(omega=np.tril(omega) if rng.random() < 0.5 else omega)
    if recurrent and len(shape) == 1 and (mix is None or mix.causal) and rng.random() < 0.5:
        loop = network.Dense(weight=random_weights(rng, (shape[0], shape[0])))
        connections.append(random_connection(rng, name, loop, shape, num_steps, delays=delays))
    typical = 200 * int(rng.choice([1, 5, 100]))
    neuron = random_neuron(rng, shape[0], typical)
    return network.Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape, mix=mix)


def random_extended(seed, *, num_steps=None, recurrent=True, delays=True, depth=None, corners=False):
    """A network of the extended profile with a bit of everything; small.

    Args:
        depth: layers, without a readout; by default 1..4.
        corners: some layers are poolings or have parameters at their limits.
    """
    rng = np.random.default_rng(seed)
    num_steps = num_steps or int(rng.integers(1, 21))
    shape = (int(rng.integers(1, 4)), *rng.integers(2, 6, 2).tolist())
    entry = network.Input(
        shape=shape if rng.random() < 0.8 else shape[:1], bits=int(rng.choice([0, 0, 3, 8]))
    )
    shapes, layers = {network.INPUT: entry.shape}, []
    options = {"recurrent": recurrent, "delays": delays, "corners": corners}
    for i in range(depth or int(rng.integers(1, 5))):
        layer = random_layer(rng, f"layer{i}", shapes, num_steps, **options)
        if corners and rng.random() < 0.25:
            layer = at_limits(rng, entry, layers, layer)
        layers.append(layer)
        shapes[layers[-1].name] = layers[-1].shape
    if rng.random() < 0.4:
        weight = random_weights(rng, (3, int(np.prod(layers[-1].shape))))
        connection = random_connection(
            rng, layers[-1].name, network.Dense(weight=weight), (3,), num_steps, delays=False, gates=False
        )
        readout = network.Readout(bias=per_channel(rng, -50, 50, 3), exponent=0)
        layers.append(network.Layer(name="readout", connections=(connection,), neuron=readout, shape=(3,)))
    net = FixedPointNetwork(input=entry, layers=tuple(layers), profile="extended")
    return net, net.num_steps or num_steps


def slow_weighted_input(synapse, x):
    """Weighted input of one step by nested loops, from the definition."""
    if isinstance(synapse, (network.Identity, network.BiasInput)):
        return x.astype(object)
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


def at(values, index, default=0):
    """Value of a per-channel parameter for the neuron at ``index``."""
    if values is None:
        return default
    return int(values[index[0]]) if isinstance(values, np.ndarray) else int(values)


def slow_gate(gate, x, t):
    """Gated currents of one step."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        whole = gate.per == "layer" or x.ndim == 1
        total = sum(int(v) for v in (x if whole else x[index[0]]).flat)
        multiplier = int(gate.multiplier[t] if gate.multiplier.ndim == 1 else gate.multiplier[t, index[0]])
        z = (total * multiplier + (2**gate.shift // 2)) // 2**gate.shift
        g = int(fixed_point.SIGMOID[max(-2048, min(2047, z)) + 2048])
        result[index] = (int(x[index]) * g + 2048) // 4096
    return result


def towards_zero(product):
    """``product / 4096`` without its fraction."""
    return product // 4096 if product >= 0 else -(-product // 4096)


def clip24(value):
    return max(-(2**23) + 1, min(2**23 - 1, value))


def wrap24(value):
    return value - 2**24 if value > 2**23 else value + 2**24 if value <= -(2**23) else value


def slow_neuron(neuron, state, current, injected, index):
    """Next (u, v), message, and potential before reset, of one neuron."""
    u, v = state
    bias = (at(neuron.bias, index) + injected) * 2**neuron.exponent
    if isinstance(neuron, network.MultiThreshold):
        m = clip24(towards_zero(v * neuron.lam) + current + bias)
        theta = at(neuron.threshold, index)
        s = max(0, min(neuron.levels, m // theta))
        return (u, m - theta * s), s, m
    u = wrap24(towards_zero(u * (4096 - neuron.current_decay)) + current)
    v = clip24(towards_zero(v * (4096 - neuron.voltage_decay)) + u + bias)
    if isinstance(neuron, network.Readout):
        return (u, v), 0, v
    s, kept = int(v > at(neuron.threshold, index) * 2**neuron.exponent), v
    kept = 0 if s else v
    if neuron.membrane is not None:
        step, top = 2**neuron.membrane.shift, 2 ** (neuron.membrane.bits - 1) - 1
        kept = max(-top, min(top, (2 * kept + step) // (2 * step))) * step
    return (u, kept), s, v


def slow_current(connection, history, t, shape):
    """Current of one connection at one step; ``history`` holds what its source sent."""
    recurrent = 1 if connection.source == history["name"] else 0
    sent = history[connection.source]
    delay = connection.delay

    def message(steps):
        past = t - steps - recurrent
        return sent[past] if past >= 0 else np.zeros_like(history["silent"][connection.source])

    if delay is None:
        weighted = slow_weighted_input(connection.synapse, message(0))
    elif delay.ndim == 2:
        x = message(0).reshape(-1).copy()
        for i, steps in enumerate(delay[0]):
            x[i] = message(int(steps)).reshape(-1)[i]
        weighted = slow_weighted_input(connection.synapse, x)
    else:
        weighted = np.zeros(shape, object)
        for channel, steps in enumerate(delay):
            weighted[channel] = slow_weighted_input(connection.synapse, message(int(steps)))[channel]
    x = np.zeros(shape, object)
    for index in np.ndindex(shape):
        x[index] = at(connection.scale, index, 64) * int(weighted[index]) + at(connection.bias, index)
    return x if connection.gate is None else slow_gate(connection.gate, x, t)


def slow_simulation(net, sample):
    """One sample in Python integers: messages and potentials of every layer, ``[*shape, T]``."""
    steps = sample.shape[-1]
    sent = {network.INPUT: [sample[..., t].astype(object) for t in range(steps)]}
    silent = {network.INPUT: np.zeros(net.input.shape, object)}
    record = {}
    for layer in net.layers:
        sent[layer.name], silent[layer.name], potentials = [], np.zeros(layer.shape, object), []
        history = {**sent, "name": layer.name, "silent": silent}
        states = {
            index: (0, at(getattr(layer.neuron, "initial", None), index)) for index in np.ndindex(layer.shape)
        }

        def total(t, layer=layer, history=history):
            real = [c for c in layer.connections if not isinstance(c.synapse, network.BiasInput)]
            currents = [slow_current(c, history, t, layer.shape) for c in real]
            return sum(currents) if currents else np.zeros(layer.shape, object)

        mix, seen = layer.mix, []
        if mix is not None and not mix.causal:
            seen = [total(t) for t in range(steps)]
        for t in range(steps):
            if mix is None:
                current = total(t)
            else:
                if mix.causal:
                    seen.append(total(t))
                rows = [int(mix.omega[t, j]) * x for j, x in enumerate(seen)]
                current = (sum(rows) + 2048) // 4096
            messages, before = np.zeros(layer.shape, object), np.zeros(layer.shape, object)
            injects = isinstance(layer.connections[0].synapse, network.BiasInput)
            for index in np.ndindex(layer.shape):
                injected = int(sample[(*index, t)]) if injects else 0
                states[index], messages[index], before[index] = slow_neuron(
                    layer.neuron, states[index], int(current[index]), injected, index
                )
            sent[layer.name].append(messages)
            potentials.append(before)
        record[layer.name] = (
            np.stack(sent[layer.name], -1).astype(int),
            np.stack(potentials, -1).astype(int),
        )
    return record


def _module(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def float_models():
    """Random samples, and batch norm with statistics; see ``float_models.py``."""
    return _module("float_models")


@pytest.fixture(scope="session")
def rounding_errors():
    """Errors of a network's currents, measured on its integers; see ``rounding.py``."""
    return _module("rounding").rounding_errors


@pytest.fixture(scope="session")
def settle(float_models):
    """Run random batches through a model in training mode."""
    return float_models.settle


@pytest.fixture(scope="session")
def slow():
    """Slow references and random networks."""
    return SimpleNamespace(simulation=slow_simulation, random_network=random_extended)
