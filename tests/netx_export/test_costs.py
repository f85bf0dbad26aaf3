"""What samples cost equals a slow count of single messages over single synapses, and torch's."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lava_bsnn.errors import ExportError, OptionError, ShapeError
from netx_export import convert, cost, costs, network, read, simulate, write
from netx_export.costs import LOIHI_COSTS, activity
from netx_export.placement import Chip, Core, Fact, Placement, Slice


def synapse_pairs(synapse, source, target):
    """(source neuron, target neuron) of each synapse, by loops over single weights."""
    if isinstance(synapse, network.BiasInput):
        return
    if isinstance(synapse, network.Identity):
        yield from ((index, index) for index in np.ndindex(target))
    elif isinstance(synapse, network.Dense):
        yield from ((i, o) for o in np.ndindex(target) for i in np.ndindex(source))
    else:
        outs, ins = len(synapse.weight) // synapse.groups, synapse.weight.shape[1]
        for o, row, column in np.ndindex(target):
            for i, a, b in np.ndindex(synapse.weight.shape[1:]):
                y = row * synapse.stride[0] + a * synapse.dilation[0] - synapse.padding[0]
                x = column * synapse.stride[1] + b * synapse.dilation[1] - synapse.padding[1]
                if 0 <= y < source[1] and 0 <= x < source[2]:
                    yield (o // outs * ins + i, y, x), (o, row, column)


SMALL = Chip(
    name="small",
    title="A small chip",
    chips=None,
    **{
        field.name: Fact(value=64, source="made up", certainty="assumed")
        for field in dataclasses.fields(Chip)
        if field.name not in ("name", "title", "chips")
    },
)


def random_placement(net, seed):
    """Layers cut by channels and rows, the pieces thrown onto a few cores."""
    rng, slices = np.random.default_rng(seed), []
    for layer in net.layers:
        channels = sorted({0, layer.shape[0], *rng.integers(0, layer.shape[0] + 1, 2).tolist()})
        height = layer.shape[1] if len(layer.shape) > 1 else 0
        rows = sorted({0, height, int(rng.integers(0, height + 1))}) if height else [None, None]
        for c in itertools.pairwise(channels):
            for r in itertools.pairwise(rows):
                deep = (c[1] - c[0], *(() if r[0] is None else (r[1] - r[0], layer.shape[2])))
                slices.append(
                    Slice(
                        layer=layer.name,
                        channels=c,
                        rows=None if r[0] is None else r,
                        neurons=math.prod(deep),
                        synaptic_bits=0,
                        axons_in=0,
                        axons_out=0,
                    )
                )
    held = [[] for _ in range(4)]
    for one in slices:
        held[int(rng.integers(4))].append(one)
    cores = (Core.of(SMALL, number, parts) for number, parts in enumerate(filter(None, held)))
    return Placement(chip=SMALL, cores=tuple(cores))


def core_of(placement, layer, index):
    """Number of the core on which a neuron stands."""
    for number, core in enumerate(placement.cores):
        for one in core.slices:
            inside = one.layer == layer and one.channels[0] <= index[0] < one.channels[1]
            if inside and (one.rows is None or one.rows[0] <= index[1] < one.rows[1]):
                return number
    raise AssertionError("a neuron has no core")


def slow_costs(net, sent, placement):
    """SOPs by layer and by core, and messages that leave each sender, summed over all of ``sent``."""
    sops, core_sops, leaving = Counter(), Counter(), Counter()
    receivers = {}
    for layer in net.layers:
        for c in layer.connections:
            counts = np.count_nonzero(sent[c.source], axis=(0, -1))
            for i, o in synapse_pairs(c.synapse, net.shapes[c.source], layer.shape):
                where = core_of(placement, layer.name, o)
                i = i if len(i) == counts.ndim else tuple(np.argwhere(np.ones(counts.shape))[i[0]])
                sops[layer.name] += int(counts[i])
                core_sops[where] += int(counts[i])
                receivers.setdefault((c.source, tuple(map(int, i))), set()).add(where)
    for (source, i), wheres in receivers.items():
        own = set() if source == network.INPUT else {core_of(placement, source, i)}
        leaving[source] += int(np.count_nonzero(sent[source][(slice(None), *i)])) * len(wheres - own)
    return sops, core_sops, leaving


def drawn(slow, seed):
    """A random network whose sums fit, and its steps."""
    for attempt in itertools.count():
        try:
            net, num_steps = slow.random_network(1000 * seed + attempt, num_steps=6)
        except ExportError:
            continue
        if net.max_steps is None or net.max_steps >= num_steps:
            return net, num_steps


@pytest.mark.parametrize("seed", range(12))
def test_messages_sops_and_traffic_equal_a_count_of_single_synapses(slow, make_data, seed):
    net, num_steps = drawn(slow, seed)
    data = make_data(net, 2, num_steps, seed)
    data[np.random.default_rng(seed).random(data.shape) < 0.4] = 0
    placement = random_placement(net, seed)
    records = [slow.simulation(net, sample) for sample in data]
    sent = {network.INPUT: data} | {
        layer.name: np.stack([record[layer.name][0] for record in records]) for layer in net.layers
    }
    sops, core_sops, leaving = slow_costs(net, sent, placement)
    found = cost(net, data, placement)
    for layer in found.layers:
        per_step = np.count_nonzero(sent[layer.name], axis=tuple(range(sent[layer.name].ndim - 1))) / 2
        assert layer.messages_per_step == pytest.approx(per_step.tolist())
        assert layer.messages == pytest.approx(per_step.sum())
        assert layer.rate == pytest.approx(np.count_nonzero(sent[layer.name]) / sent[layer.name].size)
        assert layer.sops == pytest.approx(sops[layer.name] / 2)
        assert layer.core_messages == pytest.approx(leaving[layer.name] / 2)
    assert [core.sops for core in found.cores] == pytest.approx(
        [core_sops[number] / 2 / num_steps for number in range(len(placement.cores))]
    )
    assert sum(core.messages_in for core in found.cores) * num_steps == pytest.approx(found.core_messages)
    assert found.sops == pytest.approx(sum(core_sops.values()) / 2)


def test_fan_out_of_a_strided_grouped_dilated_convolution_is_that_of_single_taps():
    conv = network.Conv(
        weight=np.ones((4, 3, 3, 2)), stride=(2, 1), padding=(2, 1), dilation=(2, 1), groups=2
    )
    source, target = (6, 7, 5), conv.output_shape((6, 7, 5))
    slow = np.zeros(source, int)
    for i, o in synapse_pairs(conv, source, target):
        if 1 <= o[0] < 4 and 1 <= o[1] < 3:
            slow[i] += 1
    assert slow.max() > 1 and not slow.all()
    np.testing.assert_array_equal(costs.fan_out(conv, source, target, (1, 4), (1, 3)), slow)


def test_counts_do_not_depend_on_the_batches_that_memory_allows(make_network, make_data, monkeypatch):
    net = make_network(3)
    data, done = make_data(net, 7, 4), []
    whole = cost(net, data)
    monkeypatch.setattr(activity, "_TRACED_BYTES", 1)
    assert cost(net, data, progress=done.append) == whole
    assert done == list(range(1, 8))


def test_an_input_that_enters_as_bias_sends_no_messages():
    layer = network.Layer(
        name="a",
        connections=(network.Connection(source="input", synapse=network.BiasInput()),),
        neuron=network.LIF(threshold=2, bias=np.zeros(3, int)),
        shape=(3,),
    )
    net = network.FixedPointNetwork(input=network.Input(shape=(3,), bits=13, signed=True), layers=(layer,))
    found = cost(net, np.full((1, 3, 2), 5))
    assert (found.layers[0].messages, found.sops, found.layers[1].messages) == (0, 0, 6)


def test_labels_give_the_accuracy(make_network, make_data):
    net = make_network(4)
    data = make_data(net, 5)
    classes = simulate(net, data).prediction
    assert cost(net, data).accuracy is None
    assert cost(net, data, labels=classes).accuracy == 1.0
    assert cost(net, data, labels=[*classes[:4], classes[4] + 1]).accuracy == 0.8


def test_what_does_not_fit_is_refused(make_network, make_data):
    net, other = make_network(1), make_network(1, convs=())
    data = make_data(net, 2)
    with pytest.raises(ShapeError, match=r"labels of shape \(3,\) do not fit; use \(2,\)"):
        cost(net, data, labels=[0, 1, 2])
    with pytest.raises(OptionError, match=r"the placement has layers \['conv0', 'conv1'\]"):
        cost(other, make_data(other), random_placement(net, 0))


def test_estimates_are_made_of_the_printed_constants(make_network, make_data):
    net = make_network(2)
    data, placement = make_data(net, 3, 5), random_placement(make_network(2), 1)
    found = cost(net, data, placement)
    message = 1.7 + 4 * 4.0
    assert found.energy == pytest.approx(
        1e-12 * (23.6 * found.sops + 81 * found.neurons * 5 + message * found.core_messages)
    )
    slowest = max(
        3.5 * one.sops + 8.4 * core.neurons for one, core in zip(found.cores, placement.cores, strict=True)
    )
    assert found.steps_per_second == pytest.approx(1e9 / (slowest + 465))
    without = cost(net, data)
    assert (without.cores, without.core_messages, without.steps_per_second) == ((), None, None)
    assert found.energy - without.energy == pytest.approx(
        1e-12 * message * (found.core_messages - without.messages)
    )
    told = found.as_dict()
    assert told["energy_estimate_uj"] == pytest.approx(1e6 * found.energy)
    assert [one["certainty"] for one in told["constants"]].count("assumed") == 1
    assert all("IEEE Micro" in one.source for one in LOIHI_COSTS if one.certainty == "published")


@pytest.fixture(scope="module")
def trained():
    """A small model trained on events of digits, going over to integers, and test samples."""
    from lava_bsnn import data, models, training

    digits, rng = data.digits(), np.random.default_rng(0)
    images = np.concatenate([digits.train_images, digits.test_images[:64]])
    events = torch.from_numpy((rng.random((*images.shape, 4)) < images[..., None]).astype(np.float32))
    test = (events[-64:], digits.test_labels[:64])
    torch.manual_seed(0)
    model = models.create("cnn", num_classes=10, in_shape=(1, 8, 8), num_steps=4, method="binary", width=0.5)
    training.fit(model, (events[:-64], digits.train_labels), test, epochs=3)
    training.match_device(model)
    return model.eval(), *test


def torch_sops(connection, sent):
    """Spikes times their targets, by torch's convolution with ones."""
    x = torch.from_numpy(np.moveaxis(sent != 0, -1, 1).astype(np.float64)).flatten(0, 1)
    ones = torch.ones(connection.synapse.weight.shape, dtype=torch.float64)
    if isinstance(connection.synapse, network.Dense):
        return float(F.linear(x.flatten(1), ones).sum())
    conv = connection.synapse
    return float(F.conv2d(x, ones, None, conv.stride, conv.padding, conv.dilation, conv.groups).sum())


def test_sums_of_a_trained_model_equal_those_counted_in_torch(trained):
    from lava_bsnn.analysis import count_operations

    model, events, labels = trained
    net = convert(model, "extended")
    data = net.encode(events)
    found = cost(net, data, labels=labels)
    assert found.accuracy > 0.5
    sent = {network.INPUT: data} | {
        name: trace.spikes for name, trace in simulate(net, data, trace=True).layers.items()
    }
    sops = {}
    for layer in net.layers:
        sops[layer.name] = sum(torch_sops(c, sent[c.source]) for c in layer.connections)
    assert found.sops == pytest.approx(sum(sops.values()) / len(data))
    for layer in found.layers[1:]:
        assert layer.sops == pytest.approx(sops[layer.name] / len(data))
    counted = count_operations(model, events)
    hidden = [one for one in counted.layers.values() if one.kind == "SOP"]
    ours = [layer.sops for layer in found.layers[1:] if not layer.name.startswith("pool")]
    assert len(hidden) > 2
    assert ours[: len(hidden)] == pytest.approx([one.operations / len(data) for one in hidden])


def test_twins_count_each_weight_once_and_each_spike_once(trained, tmp_path):
    from lava_bsnn.analysis import count_operations

    model, events, _ = trained
    net = convert(model, "extended")
    write(net, tmp_path / "x.net")
    net = read(tmp_path / "x.net")
    found = cost(net, net.encode(events))
    counted = count_operations(model, events[:1]).layers.values()
    dense = sum(one.dense_operations for one in counted) / 4  # of one step
    pools = sum(layer.macs for layer in found.layers if layer.name.startswith("pool"))
    assert found.ann.macs - pools == dense
    assert found.ann.joule == pytest.approx(4.6e-12 * found.ann.macs)
    assert (found.full_precision.sops, found.full_precision.macs) == (found.sops, 0.0)


def test_intensities_are_products_in_the_full_precision_twin(make_network, make_data):
    net = make_network(5, bits=4)
    found = cost(net, make_data(net))
    first = found.layers[1].sops
    assert first > 0
    assert (found.full_precision.sops, found.full_precision.macs) == (found.sops - first, first)


def test_an_identity_skip_costs_operations_but_no_products():
    paths = tuple(
        network.Connection(source="input", synapse=one)
        for one in (network.Identity(), network.Dense(weight=np.ones((3, 3))))
    )
    neuron = network.LIF(threshold=2, bias=np.zeros(3, int))
    layer = network.Layer(name="a", connections=paths, neuron=neuron, shape=(3,))
    net = network.FixedPointNetwork(input=network.Input(shape=(3,)), layers=(layer,), profile="extended")
    found = cost(net, np.array([[[1], [0], [1]]]))
    assert (found.sops, found.ann.macs) == (2 + 6, 9)


def test_the_page_prints_the_constants_that_are_used():
    page = (Path(__file__).parents[2] / "docs/report.md").read_text()
    rows = [
        f"| {one.what} | {one.value:g} {one.unit}".rstrip() + f" | {one.certainty} | {one.source} |"
        for one in LOIHI_COSTS
    ]
    assert len(rows) == 8
    for row in rows:
        assert row in page
    assert page.count("| published |") + page.count("| assumed |") == len(rows)
