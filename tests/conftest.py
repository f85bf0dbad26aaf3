from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import settings

import lava_bsnn  # noqa: F401  makes lava importable before any test module does
from netx_export import network

torch.set_num_threads(1)  # small tensors; a second thread only waits on a loaded machine
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)


def random_network(
    seed: int = 0,
    *,
    in_shape=(2, 6, 5),
    bits=0,
    convs=((3, 3, 1, 1), (4, 2, 2, 0)),
    groups=1,
    dense=(7,),
    classes=4,
    weight_limit=40,
    threshold=60,
):
    """A network with random integers; ``convs`` are (channels, kernel, stride, padding)."""
    rng = np.random.default_rng(seed)
    layers, source, shape = [], network.INPUT, in_shape

    def add(name, synapse, neuron=None):
        nonlocal source, shape
        shape = synapse.output_shape(shape)
        if neuron is None:
            neuron = network.LIF(
                threshold=threshold,
                bias=rng.integers(-30, 30, shape[0]),
                voltage_decay=int(rng.integers(0, 4097)),
                current_decay=int(rng.integers(0, 4097)),
            )
        connection = network.Connection(source=source, synapse=synapse)
        layers.append(network.Layer(name=name, connections=(connection,), neuron=neuron, shape=shape))
        source = name

    for i, (channels, kernel, stride, padding) in enumerate(convs):
        size = (channels, shape[0] // groups, kernel, kernel)
        weight = rng.integers(-weight_limit, weight_limit + 1, size)
        add(
            f"conv{i}",
            network.Conv(weight=weight, stride=(stride, 1), padding=(padding, 1), groups=groups),
        )
    for i, size in enumerate(dense):
        weight = rng.integers(-weight_limit, weight_limit + 1, (size, int(np.prod(shape))))
        add(f"dense{i}", network.Dense(weight=weight))
    if classes:
        weight = rng.integers(-weight_limit, weight_limit + 1, (classes, int(np.prod(shape))))
        bias = rng.integers(-30, 30, classes)
        add("readout", network.Dense(weight=weight), network.Readout(bias=bias))
    return network.FixedPointNetwork(input=network.Input(shape=in_shape, bits=bits), layers=tuple(layers))


def random_data(net, num_samples=3, num_steps=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, net.input.max_value + 1, (num_samples, *net.input.shape, num_steps))


@pytest.fixture
def make_network():
    return random_network


@pytest.fixture
def make_data():
    return random_data


@torch.no_grad()
def spikes_of_model(model, x):
    """Spike counts of every block with neurons, in the order of the forward pass, and what comes out."""
    from lava_bsnn import block  # loads slayer: not for every test

    found, hooks = [], []
    for module in model.modules():
        if isinstance(module, block.SpikingBlock) and module.neuron is not None:
            hooks.append(module.neuron.register_forward_hook(lambda n, i, out: found.append((n, out))))
    x = torch.from_numpy(np.asarray(x))
    logits = model(x if x.dtype == torch.uint8 else x.float())  # pixels stay what they are
    for hook in hooks:
        hook.remove()
    counts = [(out / n.theta).round() if getattr(n, "scaled", False) else out for n, out in found]
    return [count.numpy() for count in counts], logits.numpy()


@pytest.fixture(scope="session")
def float_spikes():
    return spikes_of_model
