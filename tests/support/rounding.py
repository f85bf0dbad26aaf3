"""How far each layer's current in integers is from the model's: numpy on the integers of the network."""

from __future__ import annotations

import math

import numpy as np
import torch

from lava_bsnn import block
from lava_bsnn.training.batches import as_input
from netx_export import network
from netx_export.lowering.names import spiking_layers


def messages_and_currents(model, x):
    """What each layer of a float model sends, as integers, and the current in front of its neurons."""
    blocks, sent, real, hooks = list(model.blocks), {}, {}, []

    def keep(into, name, size=1.0):
        def hook(module, arguments, out):
            into[name] = (out / size).double().numpy()

        return hook

    def keep_input(name):
        def hook(module, arguments):
            real[name] = arguments[0].double().numpy()

        return hook

    for name, module in spiking_layers(blocks):
        neuron = module.neuron
        if neuron is None:
            hooks.append(module.register_forward_hook(keep(real, name)))
            continue
        size = neuron.threshold if getattr(neuron, "scaled", False) else 1.0
        hooks.append(neuron.register_forward_hook(keep(sent, name, size)))
        if getattr(neuron, "mix", None) is None:
            hooks.append(neuron.register_forward_pre_hook(keep_input(name)))
        else:
            hooks.append(neuron.mix.register_forward_hook(keep(real, name)))
    x = as_input(model, torch.as_tensor(x))
    if isinstance(blocks[0], block.Input):
        hooks.append(blocks[0].register_forward_hook(keep(sent, network.INPUT)))
    else:
        sent[network.INPUT] = x.double().numpy()
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    for name, module in spiking_layers(blocks):
        if isinstance(module, block.Recurrent):
            fed = module.feedback.current(torch.from_numpy(later(sent[name], 1)).float())
            real[name] = real[name] + fed.detach().double().numpy()
    return {name: np.rint(messages) for name, messages in sent.items()}, real


def later(messages, steps):
    """``[N, C, ..., T]`` later by a number of steps, or by one per channel."""
    late = np.zeros_like(messages)
    for index in np.ndindex(messages.shape[:-1]):
        each = steps if np.ndim(steps) == 0 else steps[index[1]]
        late[index] = np.concatenate([np.zeros(each), messages[index]])[: messages.shape[-1]]
    return late


def per_channel(values, ndim):
    """Values ``[C]`` or one, for an array ``[N, C, ..., T]``."""
    values = np.asarray(values, np.float64)
    return values if values.ndim == 0 else values.reshape(-1, *[1] * (ndim - 2))


def weighted(synapse, x):
    """Weighted input of messages ``[N, *shape, T]``."""
    steps = np.moveaxis(x, -1, 1)
    images = steps.reshape(-1, *steps.shape[2:])
    if isinstance(synapse, network.Dense):
        images = images.reshape(len(images), -1) @ synapse.weight.T.astype(np.float64)
    elif isinstance(synapse, network.Conv):
        weight = torch.from_numpy(synapse.weight.astype(np.float64))
        options = (None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
        images = torch.nn.functional.conv2d(torch.from_numpy(images), weight, *options).numpy()
    return np.moveaxis(images.reshape(*steps.shape[:2], *images.shape[1:]), 1, -1)


def gated(gate, x):
    """Currents ``[N, C, ..., T]`` times the sigmoid of their mean, in steps of 1/4096."""
    whole = gate.per == "layer" or x.ndim == 3
    total = x.sum(tuple(range(1 if whole else 2, x.ndim - 1)), keepdims=True)
    multiplier = gate.multiplier.astype(np.float64)
    if multiplier.ndim == 2:
        multiplier = multiplier.T.reshape(-1, *[1] * (x.ndim - 3), len(multiplier))
    z = np.floor(total * multiplier / 2.0**gate.shift + 0.5).clip(-2048, 2047)
    sigmoid = np.floor(4096 / (1 + np.exp(-z / 256)) + 0.5)
    return np.floor(x * sigmoid / 4096 + 0.5)


def rounding_errors(model, net, reports, x):
    """Root mean square error of each layer's current, and of its worst channel, in thresholds.

    Of a readout in root mean squares of its logits. Each layer gets the messages of the float model.

    Args:
        reports: of ``convert``, by name of the layer; only their units are used.
    """
    modules = dict(spiking_layers(model.blocks))
    sent, real = messages_and_currents(model, x)
    found = {}
    for layer in net.layers:
        current = 0.0
        for connection in layer.connections:
            messages, delay = sent[connection.source], connection.delay
            if connection.source == layer.name:
                messages = later(messages, 1)
            if delay is not None and isinstance(connection.synapse, network.Dense):
                flat = messages.reshape(len(messages), -1, messages.shape[-1])
                messages = later(flat, delay[0]).reshape(messages.shape)
            elif delay is not None:
                messages = later(messages, delay[0])
            steps = weighted(connection.synapse, messages)
            steps = steps.reshape(len(steps), *layer.shape, -1)
            scale = 64 if connection.scale is None else connection.scale
            steps = steps * per_channel(scale, steps.ndim)
            if connection.bias is not None:
                steps = steps + per_channel(connection.bias, steps.ndim)
            current = current + (steps if connection.gate is None else gated(connection.gate, steps))
        if layer.mix is not None:
            current = np.floor((current @ layer.mix.omega.T.astype(np.float64)) / 4096 + 0.5)
        if layer.name not in modules:  # a pooling that only adds up, or delays of the output
            sent[layer.name] = current / 64
            continue
        neuron = layer.neuron
        current = current + per_channel(neuron.bias, current.ndim) * 2.0**neuron.exponent
        expected, neuron = real[layer.name], modules[layer.name].neuron
        wrong = np.square(current.reshape(expected.shape) / reports[layer.name].unit - expected)
        size = math.sqrt(np.square(expected).mean()) or 1.0 if neuron is None else neuron.threshold
        channels = np.sqrt(wrong.mean(tuple(axis for axis in range(wrong.ndim) if axis != 1)))
        found[layer.name] = (math.sqrt(wrong.mean()) / size, float(channels.max()) / size)
    return found
