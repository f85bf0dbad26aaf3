"""The simulation of a network in plain Python integers, by nested loops, from the definitions."""

from __future__ import annotations

import numpy as np

from lava_bsnn import fixed_point
from netx_export import network


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
    """Value of a parameter per channel, or per neuron, for the neuron at ``index``."""
    if values is None:
        return default
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return int(values[index])
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
    u = wrap24(towards_zero(u * (4096 - at(neuron.current_decay, index))) + current)
    v = clip24(towards_zero(v * (4096 - at(neuron.voltage_decay, index))) + u + bias)
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
        dense = isinstance(connection.synapse, network.Dense)  # else one per channel
        x = message(0).reshape(-1).copy() if dense else message(0).copy()
        for i, steps in enumerate(delay[0]):
            late = message(int(steps))
            x[i] = (late.reshape(-1) if dense else late)[i]
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
    """One sample in Python integers: messages and potentials of every layer, ``[*shape, its steps]``."""
    sent = {network.INPUT: [sample[..., t].astype(object) for t in range(sample.shape[-1])]}
    silent = {network.INPUT: np.zeros(net.input.shape, object)}
    record = {}
    for layer in net.layers:
        arriving = {len(sent[c.source]) for c in layer.connections if c.source != layer.name}
        assert len(arriving) == 1, "paths of different numbers of steps meet"
        steps = arriving.pop()
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
        whole = mix is not None and (
            len(mix.omega) != steps
            or any(int(mix.omega[t, j]) for t in range(steps) for j in range(t + 1, steps))
        )
        if whole:
            seen = [total(t) for t in range(steps)]
        for t in range(steps if mix is None else len(mix.omega)):
            if mix is None:
                current = total(t)
            else:
                if not whole:
                    seen.append(total(t))
                assert not whole or mix.omega.shape[1] == len(seen)
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
