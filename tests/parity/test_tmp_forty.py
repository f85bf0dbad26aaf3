"""Random networks give the same on every backend: every spike of every layer at every step.

The fast tests are a sample; ``pytest -m lava`` runs 300 networks of each profile on Lava, too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lava_bsnn.errors import ExportError
from netx_export import compare, run, simulate
from netx_export.hdf5 import stock_problems
from netx_export.stepper import stream
from netx_export.verify import random_data

CHECKS = [HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def some(examples):
    return settings(max_examples=examples, suppress_health_check=CHECKS)


def cases():
    return given(
        seed=st.integers(0, 1 << 32),
        depth=st.integers(1, 5),
        num_steps=st.integers(1, 20),
        num_samples=st.integers(1, 4),
    )


def network_and_data(generate, profile, seed, depth, num_steps, num_samples):
    try:
        if profile == "stock":
            net, num_steps = generate.stock(seed, depth, num_steps)
            assume(not stock_problems(net))
        else:
            net, num_steps = generate.extended(seed, num_steps=num_steps)
    except ExportError:
        assume(False)
    assume(net.max_steps is None or net.max_steps >= num_steps)
    return net, random_data(net, num_samples, num_steps, seed)


def assert_stream_agrees(net, x):
    """The stepper in Lava's time, samples back to back."""
    num_samples, num_steps = len(x), x.shape[-1]
    deepest = max(net.depth(layer.name) for layer in net.layers)
    joined = np.moveaxis(x, 0, -2).reshape(*net.input.shape, -1)
    joined = np.concatenate([joined, np.zeros((*net.input.shape, deepest), int)], -1)
    found = stream(net, joined, reset_interval=num_steps, clear_delays=True)
    for name, trace in simulate(net, x, trace=True).layers.items():
        depth = net.depth(name)
        for ours, theirs in ((found.messages, trace.spikes), (found.potentials, trace.potential)):
            cut = ours[name][..., depth : depth + num_samples * num_steps]
            cut = np.moveaxis(cut.reshape(*cut.shape[:-1], num_samples, num_steps), -2, 0)
            np.testing.assert_array_equal(cut, theirs, err_msg=name)


def assert_backends_agree(net, x, names):
    expected = simulate(net, x, trace=True)
    for name in names:
        actual = run(net, x, name, trace=True, timeout=300)
        result = compare(expected, actual)
        assert result.mismatches == 0, f"{name}: {result.first}"
        assert set(actual.layers) == set(expected.layers)
        for layer, trace in actual.layers.items():
            if trace.potential is not None and name != "stock":
                np.testing.assert_array_equal(
                    trace.potential, expected.layers[layer].potential, err_msg=f"{name} {layer}"
                )


@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_the_simulator_agrees_with_the_stepper(generate, profile):
    @some(60)
    @cases()
    def check(**case):
        assert_stream_agrees(*network_and_data(generate, profile, **case))

    check()


@pytest.mark.lava
@pytest.mark.parametrize(("profile", "examples"), [("stock", 5), ("extended", 7)])
def test_lava_agrees(generate, profile, examples):
    names = ("lava-fused", "stock") if profile == "stock" else ("lava-fused", "lava")

    @some(examples)
    @cases()
    def check(**case):
        assert_backends_agree(*network_and_data(generate, profile, **case), names)

    check()


@pytest.mark.lava
@pytest.mark.parametrize("profile", ["stock", "extended"])
def test_three_hundred_networks_agree_everywhere(generate, profile):
    names = ("lava-fused", "lava", *(("stock",) if profile == "stock" else ()))

    @some(40)
    @cases()
    def check(**case):
        net, x = network_and_data(generate, profile, **case)
        assert_stream_agrees(net, x)
        assert_backends_agree(net, x, names)

    check()


def test_the_generators_reach_the_corners(generate):
    """Limits, dead and saturated neurons, every option."""
    seen = set()
    for seed in range(400):
        try:
            net, steps = generate.stock(seed, 1 + seed % 5, 6)
            if stock_problems(net) or (net.max_steps or 6) < 6:
                continue
        except ExportError:
            continue
        result = simulate(net, random_data(net, 1, steps, seed), trace=True)
        for layer in net.layers:
            synapse, neuron = layer.connections[0].synapse, layer.neuron
            seen |= {("weight", int(v)) for v in (synapse.weight.min(), synapse.weight.max())}
            seen |= {("bias", int(v)) for v in (neuron.bias.min(), neuron.bias.max())}
            for key in ("stride", "padding", "dilation", "groups"):
                seen.add((key, getattr(synapse, key, None)))
            rate = result.layers[layer.name].spikes.mean()
            seen.add(("rate", rate if rate in (0, 1) else "between"))
        seen |= {("depth", len(net.layers)), ("bits", net.input.bits)}
    assert seen >= {("weight", -128), ("weight", 127), ("bias", -4096), ("bias", 4095)}
    assert seen >= {("rate", 0), ("rate", 1), ("rate", "between"), ("bits", 8), ("bits", 0)}
    assert seen >= {("depth", depth) for depth in range(1, 6)}
    assert seen >= {("stride", (2, 1)), ("padding", (1, 0)), ("dilation", (1, 2)), ("groups", 3)}
