"""Values per neuron, weights of up to 24 bits, currents that wrap, and decays per class of a readout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, compare, network, read, run, simulate, to_nir, write
from netx_export.reports.traces import _threshold

TOP = LIMITS.potential_max


def layer(name, source, synapse, neuron, shape, **options):
    connection = network.Connection(source=source, synapse=synapse, **options)
    return network.Layer(name=name, connections=(connection,), neuron=neuron, shape=shape)


def wide_network(seed, *, wraps):
    """Conv with values per neuron, conv with weights of 17 bits or more, readout with decays per class."""
    rng = np.random.default_rng(seed)
    decays = {
        "current_decay": rng.integers(1, 4097, (3, 4, 3)) if seed % 2 else 4096,
        "voltage_decay": rng.integers(0, 4097, (3, 4, 3)) if seed % 2 else 700,
    }
    first = network.LIF(
        threshold=rng.integers(0, 5000, (3, 4, 3)),
        bias=rng.integers(-3000, 3000, (3, 4, 3)),
        membrane=network.Membrane(bits=9, shift=4) if seed % 3 == 0 else None,
        exponent=0,
        **decays,
    )
    weight = (
        rng.integers(-90_000, 150_000, (2, 3, 2, 2)) if wraps else rng.integers(-9000, 20_000, (2, 3, 2, 2))
    )
    second = network.LIF(
        threshold=rng.integers(20_000, 90_000, 2),
        bias=rng.integers(-9, 9, 2),
        current_decay=int(rng.integers(1000, 4097)),
        voltage_decay=300,
        wraps=wraps,
    )
    soft = network.MultiThreshold(
        threshold=rng.integers(20, 90, (2, 3, 2)), levels=3, initial=rng.integers(-50, 50, (2, 3, 2))
    )
    out = network.Readout(
        bias=rng.integers(-60_000, 60_000, 5),
        exponent=0,
        current_decay=rng.integers(1, 4097, 5),
        voltage_decay=np.array([0, 4096, 30, 700, 4000]),
        threshold=LIMITS.threshold_max + 1,
    )
    layers = (
        layer("a", "input", network.Conv(weight=rng.integers(-20, 40, (3, 2, 2, 2))), first, (3, 4, 3)),
        layer("b", "a", network.Conv(weight=weight), second, (2, 3, 2)),
        layer("c", "b", network.Identity(), soft, (2, 3, 2), scale=np.array([99, 50])),
        layer("d", "c", network.Dense(weight=rng.integers(-99, 99, (5, 12))), out, (5,)),
    )
    entry = network.Input(shape=(2, 5, 4))
    return FixedPointNetwork(input=entry, layers=layers, profile="extended")


def spikes(net, num_samples=2, num_steps=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, net.input.max_value + 1, (num_samples, *net.input.shape, num_steps))


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_simulator_equals_the_definition(seed, wraps, slow):
    net = wide_network(seed, wraps=wraps)
    x = spikes(net)
    found = simulate(net, x, trace=True)
    for sample in range(len(x)):
        for name, (messages, potentials) in slow.simulation(net, x[sample]).items():
            np.testing.assert_array_equal(found.layers[name].spikes[sample], messages, err_msg=name)
            np.testing.assert_array_equal(found.layers[name].potential[sample], potentials, err_msg=name)
    for name in "abc":
        assert 0 < found.layers[name].spikes.mean() < found.layers[name].spikes.max()
    assert not wraps or found.layers["b"].potential.min() < -(1 << 20)


@pytest.mark.lava
@pytest.mark.parametrize("seed", [0, 1])
def test_lava_equals_the_simulator(seed):
    net = wide_network(seed, wraps=True)
    x = spikes(net)
    expected = simulate(net, x, trace=True)
    for name in ("lava", "lava-fused"):
        found = compare(expected, run(net, x, name, trace=True, timeout=200))
        assert found.mismatches == 0 and found.compared, f"{name}: {found.first}"


def one_weight(weight, **fields):
    """A neuron behind one weight."""
    neuron = network.LIF(threshold=LIMITS.threshold_max, **fields)
    synapse = network.Conv(weight=np.full((1, 1, 1, 1), weight))
    entry = network.Input(shape=(1, 1, 1))
    return FixedPointNetwork(
        input=entry, layers=(layer("a", "input", synapse, neuron, (1, 1, 1)),), profile="extended"
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("decay", [0, 1, 64, 1024, 2000, 4096])
def test_32_bits_hold_the_largest_sums_that_wrap(decay, per_channel, sign, slow):
    """Half of all steps, and all, of the largest weight that is allowed; the next one is refused."""
    most = min((1 << 23) - 1, (1 << 18) + (decay << 12))
    options = {"current_decay": np.array([decay]) if per_channel else decay, "wraps": True}
    net = one_weight(sign * most, **options)
    x = np.ones((2, 1, 1, 1, 300), dtype=int)
    x[1, ..., ::2] = 0
    found = simulate(net, x, trace=True).layers["a"]
    for sample in range(2):
        messages, potentials = slow.simulation(net, x[sample])["a"]
        np.testing.assert_array_equal(found.potential[sample], potentials)
        np.testing.assert_array_equal(found.spikes[sample], messages)
    with pytest.raises(ExportError, match="more than currents can wrap; 16777216 are always|out of range"):
        one_weight(sign * (most + 1), **options)


def test_sums_beyond_24_bits_are_refused_unless_neurons_wrap():
    most = TOP >> 6
    one_weight(most)
    with pytest.raises(
        ExportError, match=f"a step adds up to {64 * (most + 1)} membrane steps, which overfl"
    ):
        one_weight(most + 1)
    assert "wraps" in str(one_weight(most + 1, wraps=True))
    assert one_weight(most, wraps=True) != one_weight(most)


def test_the_largest_bias_of_any_neuron_counts():
    net = one_weight(1, bias=TOP >> 8, exponent=0)
    wide = replace(net.layers[0], shape=(1, 2, 2), neuron=replace(net.output.neuron, bias=0))
    for bias in (TOP - 64, TOP - 63):
        biases = np.array([[[0, 5], [bias, -9]]])
        changed = replace(wide, neuron=replace(wide.neuron, bias=biases))
        options = {"input": network.Input(shape=(1, 2, 2)), "layers": (changed,)}
        if bias + 64 <= TOP:
            assert replace(net, **options).max_steps is None
        else:
            with pytest.raises(
                ExportError, match="a step adds up to 8388608 membrane steps, which overflows"
            ):
                replace(net, **options)


def test_files_hold_them(tmp_path):
    for seed in range(4):
        net = wide_network(seed, wraps=bool(seed % 2))
        write(net, tmp_path / "a.net")
        again = read(tmp_path / "a.net")
        assert again == net and again.digest() == net.digest()


@pytest.mark.parametrize("profile", ["loihi", "stock"])
def test_other_profiles_refuse_them(profile):
    net = FixedPointNetwork(
        input=network.Input(shape=(2, 5, 4)),
        layers=(
            layer(
                "a",
                "input",
                network.Conv(weight=np.ones((3, 2, 2, 2), dtype=int)),
                network.LIF(threshold=5, bias=np.zeros((3, 4, 3), dtype=int), wraps=True),
                (3, 4, 3),
            ),
        ),
        profile="extended",
    )
    with pytest.raises(ExportError) as error:
        replace(net, profile=profile)
    assert "a: a bias per neuron is not possible in profile" in str(error.value)
    assert "a: currents that wrap are not possible in profile" in str(error.value)
    with pytest.raises(ExportError, match=r"bias of shape \(3, 3, 4\) does not fit; use \(3,\)"):
        replace(
            net,
            layers=(
                replace(net.layers[0], neuron=network.LIF(threshold=5, bias=np.zeros((3, 3, 4), dtype=int))),
            ),
        )


def test_nir_refuses_what_it_cannot_say():
    net = wide_network(1, wraps=True)
    with pytest.raises(ExportError) as error:
        to_nir(net, dt=1e-3)
    assert "a: one value per neuron is not written; use one per channel of threshold, bias" in str(
        error.value
    )
    assert "b: NIR has no current that wraps; use smaller weights" in str(error.value)


def test_reports_show_the_threshold_of_a_neuron():
    first = wide_network(0, wraps=False).layers[0]
    for index in (0, 7, 35):
        assert _threshold(first, index) == first.neuron.threshold.reshape(-1)[index]
