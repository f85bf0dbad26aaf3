"""Layers over cores: every neuron once, limits kept, resources as a slow count finds them, few cores."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from support.generators import random_extended, random_network
from support.placed import needs

from lava_bsnn.errors import ExportError, OptionError
from netx_export import FixedPointNetwork, network
from netx_export.placement import CHIPS, Fact, place

LIMITS = ("neurons", "synaptic_bits", "axons_in", "axons_out")


def small(base="loihi2", **facts):
    """A chip with other numbers."""
    made = {name: Fact(value=value, source="test", certainty="assumed") for name, value in facts.items()}
    return replace(CHIPS[base], **made)


def random_nets(count):
    """Random networks of all kinds; draws that overflow 24 bits are left out."""
    for seed in range(2 * count):
        with contextlib.suppress(ExportError):
            yield random_extended(seed)[0]


def one_layer(synapse, in_shape, *, bits=0, neuron=None):
    """A network of a single layer."""
    layer = network.Layer(
        name="only",
        connections=(network.Connection(source=network.INPUT, synapse=synapse),),
        neuron=neuron or network.LIF(threshold=9),
        shape=synapse.output_shape(in_shape),
    )
    return FixedPointNetwork(
        input=network.Input(shape=in_shape, bits=bits), layers=(layer,), profile="extended"
    )


def check(net, placement):
    """Every slice needs what the slow count says, sums are sums, and limits hold where it fits."""
    counted = needs(net, placement)
    slices = [one for core in placement.cores for one in core.slices]
    assert set(slices) == set(counted) and len(slices) == len(counted)
    for one in slices:
        assert (one.neurons, one.synaptic_bits, one.axons_in, one.axons_out) == counted[one], one
    for core in placement.cores:
        assert 0 < len(core.slices) <= placement.chip.groups.value
        for limit, share in zip(LIMITS, core.utilisation.values(), strict=True):
            used = sum(getattr(one, limit) for one in core.slices)
            assert used == getattr(core, limit)
            assert share == used / getattr(placement.chip, limit).value
            assert share <= 1 or not placement.fits
    places = [(core.chip, core.index) for core in placement.cores]
    assert places == sorted(set(places))
    assert all(core.index < placement.chip.cores.value for core in placement.cores)
    assert placement.chips == len({core.chip for core in placement.cores})


@pytest.mark.parametrize("shares", [0, 1])
def test_random_networks_keep_all_limits_and_need_what_a_slow_count_finds(shares):
    rng, fitting, cut = np.random.default_rng(0), 0, 0
    for net in itertools.islice(random_nets(60), 60):
        tight = small(
            cores=int(rng.integers(1, 6)),
            neurons=int(rng.integers(6, 60)),
            synaptic_bits=int(rng.integers(20, 300)) * 64,
            axons_in=int(rng.integers(40, 200)),
            axons_out=int(rng.integers(60, 300)),
            groups=int(rng.integers(1, 5)),
            row_bits=int(rng.integers(0, 50)),
            shares_convolutions=shares,
        )
        placement = place(net, tight)
        check(net, placement)
        assert place(net, tight) == placement
        fitting += placement.fits
        cut += len(placement.cores) > len(net.layers)
    assert fitting > 30 and cut > 10


@pytest.mark.parametrize("seed", range(8))
def test_stock_networks_with_groups_are_counted_as_well(seed):
    net = random_network(seed, in_shape=(4, 6, 5), convs=((4, 3, 1, 1), (6, 2, 2, 0)), groups=2)
    placement = place(net, small("loihi1", neurons=30, synaptic_bits=4096, axons_in=90, axons_out=90))
    check(net, placement)


def test_a_network_of_the_size_of_a_core_takes_one():
    net = random_network(0)
    placement = place(net)
    assert placement.fits and placement.chips == len(placement.cores) == 1
    assert [one.layer for one in placement.cores[0].slices] == [layer.name for layer in net.layers]
    assert placement.cores_of("dense0") == placement.cores and placement.cores_of("none") == ()


def test_layers_are_cut_by_channels_and_by_rows():
    weight = np.ones((16, 2, 3, 3), dtype=int)
    net = one_layer(network.Conv(weight=weight, padding=(1, 1)), (2, 8, 8))
    by_row = place(net, small(neurons=256, axons_in=40))
    assert {one.rows for core in by_row.cores for one in core.slices} > {(0, 2)}
    by_channel = place(net, small(neurons=256, synaptic_bits=4 * 18 * 64, word_bits=16, row_bits=0))
    assert len(by_row.cores) == len(by_channel.cores) == 4
    flat = place(one_layer(network.Dense(weight=np.ones((30, 20), dtype=int)), (20,)), small(neurons=10))
    assert [one.rows for core in flat.cores for one in core.slices] == [None] * 3


def test_memory_of_kernels_that_a_chip_shares_does_not_grow_with_the_image():
    weight = np.random.default_rng(0).integers(-100, 100, (8, 4, 3, 3))
    for size in (8, 16):
        net = one_layer(network.Conv(weight=weight), (4, size, size))
        shared = place(net).cores[0].synaptic_bits
        each = sum(
            core.synaptic_bits for core in place(net, small(shares_convolutions=0, synaptic_bits=10**8)).cores
        )
        assert shared == 4 * 3 * 3 * 2 * 64
        assert each == 4 * sum(-(-(32 + n * 16) // 64) * 64 for n in 8 * taps(size))


def taps(size):
    """Synapses per input pixel and output channel of a 3x3 convolution without padding."""
    line = np.convolve(np.ones(size - 2, dtype=int), np.ones(3, dtype=int))
    return np.outer(line, line).ravel()


def test_weights_wider_than_a_synapse_take_two():
    narrow, wide = (one_layer(network.Dense(weight=np.full((4, 4), top)), (4,)) for top in (127, 128))
    options = {"word_bits": 1, "row_bits": 0, "index_bits": 0}
    assert place(narrow, small(**options)).cores[0].synaptic_bits == 16 * 8
    assert place(wide, small(**options)).cores[0].synaptic_bits == 16 * 16


def test_small_layers_share_a_core_up_to_its_groups():
    net = random_network(0, convs=(), dense=(5, 5, 5, 5))
    assert len(place(net).cores) == 1
    assert [len(core.slices) for core in place(net, small(groups=2)).cores] == [2, 2, 1]


def test_receivers_are_cut_so_that_their_sources_fit():
    def conv(outs, ins):
        return network.Conv(weight=np.ones((outs, ins, 3, 3), dtype=int), padding=(1, 1))

    source = one_layer(conv(1, 1), (1, 9, 50)).layers[0]
    receiver = replace(
        source,
        name="receiver",
        connections=(network.Connection(source="only", synapse=conv(40, 1)),),
        shape=(40, 9, 50),
    )
    net = replace(one_layer(conv(1, 1), (1, 9, 50)), layers=(source, receiver))
    placement = place(net, small(neurons=2250, axons_out=300))  # eight blocks of channels would send 400
    assert placement.fits
    check(net, placement)


def test_several_chips_are_used_and_numbered():
    net = random_network(0, convs=(), dense=(40,), classes=0)
    placement = place(net, small(neurons=10, cores=3))
    assert [(core.chip, core.index) for core in placement.cores] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert placement.fits and placement.chips == 2


def test_too_few_chips_are_told_with_what_would_help():
    net = random_network(0, convs=(), dense=(40,), classes=0)
    tight = small(neurons=10, cores=3)
    board = replace(tight, chips=Fact(value=1, source="test", certainty="assumed"))
    expected = "4 cores are needed, 1 x Loihi 2 has 3 (1.33 times); use 2 chips, or about 75% of the channels"
    assert place(net, tight, chips=1).problems == place(net, board).problems == (expected,)
    assert place(net, tight, chips=2).fits and place(net, board, chips=2).fits
    full = place(net, small(synaptic_bits=3 * 60 * 64, cores=1), chips=1)
    assert full.problems[0].endswith("channels, or fewer weight bits")


def test_limits_that_no_cut_can_keep_are_told_and_the_rest_is_placed():
    net = random_network(0, convs=(), dense=(6,), classes=3)
    placement = place(net, small(axons_in=20))
    assert placement.problems == (
        "dense0: a neuron needs 60 axons in, a core of Loihi 2 holds 20 (3.00 times); use fewer channels in "
        "front of it",
    )
    assert not placement.fits and max(core.utilisation["axons_in"] for core in placement.cores) == 3
    check(net, placement)
    row = place(random_network(0), small(neurons=4))
    assert row.problems[0].startswith(
        "conv0: one row of a channel needs 5 neurons, a core of Loihi 2 holds 4"
    )


def test_messages_delays_and_fan_in_beyond_the_chip_are_told():
    layer = network.MultiThreshold(threshold=5, levels=4)
    net = one_layer(network.Dense(weight=np.ones((2, 3), dtype=int)), (3,), bits=3, neuron=layer)
    assert place(net).fits
    found = place(net, "loihi1").problems
    assert found[0].startswith("input: messages up to 7 need 3 bits, Loihi sends 1;")
    assert found[1].startswith("only: messages up to 4 need 3 bits, Loihi sends 1;")
    assert (
        "only: 3 synapses per neuron from input, Loihi 2 holds 2;" in place(net, small(fan_in=2)).problems[0]
    )
    late = network.Connection(
        source=network.INPUT,
        synapse=net.layers[0].connections[0].synapse,
        delay=np.array([3, 5]),
    )
    slow = replace(net, layers=(replace(net.layers[0], connections=(late,)),))
    assert place(slow).fits
    found = place(slow, small(delay_max=4)).problems
    assert found[0].startswith("only: messages of input wait 5 steps, Loihi 2 holds them 4;")


def test_wrong_arguments_are_refused():
    net = random_network(0)
    with pytest.raises(OptionError, match="chip: name='loihi3' is unknown; use one of 'loihi1'"):
        place(net, "loihi3")
    for chips in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="chips=.* is not allowed; use a number of 1 or more"):
            place(net, chips=chips)
    with pytest.raises(OptionError, match="chip=3 is not allowed"):
        place(net, 3)


def test_a_placement_prints_and_becomes_json():
    placement = place(random_network(0))
    lines = str(placement).splitlines()
    assert lines[0] == "loihi2: fits; 1 core on 1 chip"
    assert "conv0[0:3, 0:6] + conv1[0:4, 0:3]" in lines[2]
    again = json.loads(json.dumps(placement.to_dict()))
    assert again["fits"] is True and again["chips"] == 1 and again["cores"][0]["slices"][0]["rows"] == [0, 6]


def deep(widths, sizes):
    """Convolutions of +-1, two per size, with identities around the second one."""
    rng, layers, source, shape = np.random.default_rng(0), [], network.INPUT, (3, sizes[0], sizes[0])
    for width, size in zip(widths, sizes, strict=True):
        for second in (False, True):
            stride = (shape[1] // size,) * 2
            weight = rng.choice([-1, 1], (width, shape[0], 3, 3))
            synapse = network.Conv(weight=weight, stride=stride, padding=(1, 1))
            connections = [network.Connection(source=source, synapse=synapse)]
            if second:
                connections.append(network.Connection(source=source, synapse=network.Identity()))
            source, shape = f"conv{len(layers)}", synapse.output_shape(shape)
            layers.append(
                network.Layer(
                    name=source,
                    connections=tuple(connections),
                    neuron=network.LIF(threshold=900, exponent=0),
                    shape=shape,
                )
            )
    return FixedPointNetwork(
        input=network.Input(shape=(3, sizes[0], sizes[0])), layers=tuple(layers), profile="extended"
    )


@pytest.mark.parametrize("chip", ["loihi1", "loihi2"])
def test_a_wide_deep_network_takes_seconds_and_few_more_cores_than_its_neurons_need(chip):
    net = deep((128, 128, 128, 256, 256, 256, 512), (32, 32, 32, 16, 16, 16, 8))
    start = time.perf_counter()
    placement = place(net, chip)
    assert time.perf_counter() - start < 30
    neurons = sum(int(np.prod(layer.shape)) for layer in net.layers)
    placed = sum(core.neurons for core in placement.cores)
    assert placement.fits and placed == neurons
    assert len(placement.cores) <= 1.25 * neurons / CHIPS[chip].neurons.value + 2
