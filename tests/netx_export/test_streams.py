"""Streams: networks that start from rest and are never reset, against plain integers and torch."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import generators, oracle
from support.torch_models import ModelMaker, random_samples

from lava_bsnn.errors import ExportError
from netx_export import Stepper, convert, simulate
from netx_export.lowering.names import spiking_layers


def random_stream(seed):
    """A stream with skips, delays, loops, biases, and a leaking readout at times."""
    for attempt in range(50):
        try:
            return generators.as_stream(generators.random_extended(100 * seed + attempt, num_steps=5)[0])
        except ExportError:
            continue
    raise AssertionError("no network")


def in_stepper(net, x, **options):
    """Messages and potentials of every layer for one stream ``[*shape, T]``, pipeline delays cut off."""
    stepper, kept = Stepper(net, **options), []
    deepest = max(net.depth(layer.name) for layer in net.layers)
    for t in range(x.shape[-1] + deepest):
        stepper.step(x[..., t] if t < x.shape[-1] else np.zeros(net.input.shape, int))
        kept.append((dict(stepper.messages), dict(stepper.potentials)))
    return {
        layer.name: tuple(
            np.stack([one[part][layer.name] for one in kept], -1)[..., net.depth(layer.name) :][
                ..., : x.shape[-1]
            ]
            for part in (0, 1)
        )
        for layer in net.layers
    }


@pytest.mark.parametrize("seed", range(12))
def test_simulator_and_stepper_equal_plain_integers(seed):
    net = random_stream(seed)
    x = generators.random_messages(net, 11, seed, num_samples=2)
    result = simulate(net, x, trace=True)
    for sample, one in enumerate(x):
        expected, stepped = oracle.slow_simulation(net, one), in_stepper(net, one)
        for name, (sent, potentials) in expected.items():
            np.testing.assert_array_equal(result.layers[name].spikes[sample], sent, err_msg=name)
            np.testing.assert_array_equal(result.layers[name].potential[sample], potentials, err_msg=name)
            np.testing.assert_array_equal(stepped[name][0], sent, err_msg=name)
            np.testing.assert_array_equal(stepped[name][1], potentials, err_msg=name)


def test_biases_in_the_filling_pipeline_do_not_count():
    """What starts at rest differs from what ran on before, for most random networks."""
    different = 0
    for seed in range(12):
        net = random_stream(seed)
        (x,) = generators.random_messages(net, 11, seed)
        running = in_stepper(replace(net, persistent=False), x)
        different += any(
            not np.array_equal(part, other)
            for name, both in in_stepper(net, x).items()
            for part, other in zip(both, running[name], strict=True)
        )
    assert different >= 6


class StreamMaker(ModelMaker):
    """Makes models whose neurons carry their state on."""

    def neuron(self, channels, *, gates=True):
        made = super().neuron(channels, gates=False)
        params = made["neuron_params"]
        for name in ("num_steps", "mix"):
            params.pop(name, None)
        return {**made, "neuron_params": {**params, "persistent_state": True}}


def stream_model(seed, *, num_steps=4, depth=3):
    """A model, and the network of it; the first of some for which 24 bits are enough."""
    for attempt in range(1000 * seed, 1000 * seed + 50):
        torch.manual_seed(attempt)
        model = StreamMaker(np.random.default_rng(attempt), num_steps).model(depth)
        rest(model)
        try:
            return model, convert(model, "extended")
        except ExportError:
            continue
    raise AssertionError("no model")


def rest(model):
    for module in model.modules():
        if hasattr(module, "reset_state"):
            module.reset_state()


@torch.no_grad()
def in_torch(model, x, chunks):
    """Counts and potentials of each layer by name, and logits, of calls on parts of ``[N, *shape, T]``."""
    layers = dict(spiking_layers(model.blocks))
    found = {name: ([], []) for name, module in layers.items() if module.neuron is not None}
    logits, handles = [], []

    def before(neuron, arguments, name):  # a twin, as dynamics steps the neuron on
        found[name][1].append(copy.deepcopy(neuron).dynamics(*arguments)[1] * neuron.unit)

    def behind(neuron, out, name):
        found[name][0].append((out / neuron.theta).round() if getattr(neuron, "scaled", False) else out)

    for name in found:
        neuron = layers[name].neuron
        handles.append(neuron.register_forward_pre_hook(lambda n, a, name=name: before(n, a, name)))
        handles.append(neuron.register_forward_hook(lambda n, a, out, name=name: behind(n, out, name)))
    for part in np.split(x, np.cumsum(chunks)[:-1], -1):
        part = torch.from_numpy(part)
        logits.append(model(part if part.dtype == torch.uint8 else part.float()))
    for handle in handles:
        handle.remove()
    joined = {name: tuple(torch.cat(one, -1).numpy() for one in both) for name, both in found.items()}
    return joined, torch.cat(logits, -1).numpy()


def leaky_sum(steps, decay):
    """Potential ``[..., T]`` of plain integers that add up and leak."""
    result = np.zeros_like(steps)
    for index in np.ndindex(steps.shape[:-1]):
        v = 0
        for t, step in enumerate(steps[index]):
            v = oracle.towards_zero(v * (4096 - decay)) + int(step)
            result[(*index, t)] = v
    return result


@pytest.mark.filterwarnings("ignore:input. .* counts were above")
@pytest.mark.parametrize("seed", range(14))
def test_torch_that_carries_its_state_gives_every_spike_and_potential(seed):
    model, net = stream_model(seed)
    assert net.persistent
    x = np.asarray(random_samples(model, 2, 13, np.random.default_rng(seed)))
    entered = net.encode(x)
    expected, logits = in_torch(model, x, (5, 1, 4, 3))
    result = simulate(net, entered, trace=True)
    stepped = [in_stepper(net, one) for one in entered]
    for name, (spikes, potentials) in expected.items():
        ours = result.layers[name]
        np.testing.assert_array_equal(ours.spikes, spikes.reshape(ours.spikes.shape), err_msg=name)
        np.testing.assert_array_equal(ours.potential, potentials.reshape(ours.spikes.shape), err_msg=name)
        for part in (0, 1):
            np.testing.assert_array_equal(
                np.stack([one[name][part] for one in stepped]), (ours.spikes, ours.potential)[part]
            )
    if net.reads_out:
        steps = np.rint(logits.astype(np.float64) * model.blocks[-1].unit).astype(np.int64)
        decay = net.output.neuron.voltage_decay
        assert decay == 4096 // model.num_steps
        np.testing.assert_array_equal(result.readout, leaky_sum(steps, decay))
        each = replace(net.output, neuron=replace(net.output.neuron, voltage_decay=4096))
        np.testing.assert_array_equal(
            simulate(replace(net, layers=(*net.layers[:-1], each)), entered).readout, steps
        )


def test_torch_that_starts_anew_with_each_part_differs():
    """The comparison above would see it."""
    different = 0
    for seed in range(14):
        model, _ = stream_model(seed)
        x = np.asarray(random_samples(model, 2, 13, np.random.default_rng(seed)))
        whole, _ = in_torch(model, x, (13,))
        rest(model)
        for module in model.modules():
            if hasattr(module, "persistent_state"):
                module.persistent_state = False
        parts, _ = in_torch(model, x, (5, 1, 4, 3))
        different += any(not np.array_equal(whole[name][1], parts[name][1]) for name in whole)
    assert different >= 7
