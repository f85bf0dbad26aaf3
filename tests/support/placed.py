"""What a placement needs, counted slowly: plain loops over every synapse of a small network."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

from netx_export.network import BiasInput, Conv, Dense


def positions(shape):
    """All (channel, row, column) of a layer; flat ones have one row and column."""
    size = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    return itertools.product(*map(range, size))


def synapses(layer, connection, source):
    """(receiver, sender, place in the weights) of every synapse; senders outside the image are left out."""
    synapse = connection.synapse
    if isinstance(synapse, BiasInput):
        return
    if isinstance(synapse, Dense):
        for out in range(synapse.weight.shape[0]):
            for index, sender in enumerate(positions(source)):
                yield (out, 0, 0), sender, (out, index)
    elif isinstance(synapse, Conv):
        outs, ins, height, width = synapse.weight.shape
        for out, row, column in positions(layer.shape):
            group = out // (outs // synapse.groups)
            for i, y, x in itertools.product(range(ins), range(height), range(width)):
                at_row = row * synapse.stride[0] + y * synapse.dilation[0] - synapse.padding[0]
                at_column = column * synapse.stride[1] + x * synapse.dilation[1] - synapse.padding[1]
                if 0 <= at_row < source[1] and 0 <= at_column < source[2]:
                    yield (out, row, column), (group * ins + i, at_row, at_column), (out, i, y, x)
    else:
        for place in positions(layer.shape):
            yield place, place, ()


def bits_of(net, layer, connection, chip):
    """Memory of one weight and its delay."""
    weight, widest = getattr(connection.synapse, "weight", None), chip.weight_bits.value
    if weight is None:
        bits = widest
    elif set(abs(weight).ravel().tolist()) == {1}:
        bits = 1
    else:
        bits = next(
            b for b in range(1, 64) if -(1 << (b - 1)) <= weight.min() and weight.max() < 1 << (b - 1)
        )
    if bits > widest:
        bits = math.ceil(bits / widest) * widest
    if connection.delay is not None or net.balancing_delay(layer, connection) > 0:
        bits += len(bin(chip.delay_max.value)) - 2
    return bits


def row(count, bits, chip):
    """Memory of ``count`` synapses that stand in one row."""
    return math.ceil((chip.row_bits.value + count * bits) / chip.word_bits.value) * chip.word_bits.value


def slice_of(place, layer, slices):
    """The slice that holds a neuron; fails unless there is exactly one."""
    found = [
        one
        for one in slices[layer.name]
        if one.channels[0] <= place[0] < one.channels[1]
        and (one.rows is None or one.rows[0] <= place[1] < one.rows[1])
    ]
    assert len(found) == 1, (layer.name, place, found)
    return found[0]


def needs(net, placement):
    """By slice, its neurons, synaptic bits, axons in, axons out."""
    chip, slices, layers = placement.chip, defaultdict(list), {layer.name: layer for layer in net.layers}
    for core in placement.cores:
        for one in core.slices:
            slices[one.layer].append(one)
    neurons, memory, received, sent = Counter(), Counter(), defaultdict(set), defaultdict(set)
    for layer in net.layers:
        for place in positions(layer.shape):
            neurons[slice_of(place, layer, slices)] += 1
        for number, connection in enumerate(layer.connections):
            source = net.shapes[connection.source]
            shares = isinstance(connection.synapse, Conv) and chip.shares_convolutions.value == 1
            rows = defaultdict(Counter)
            if shares:  # kernels are stored whole, also where they stick out of the image
                outs, *taps = connection.synapse.weight.shape
                for one, out in itertools.product(slices[layer.name], range(outs)):
                    if one.channels[0] <= out < one.channels[1]:
                        group = out // (outs // connection.synapse.groups)
                        for tap in itertools.product(*map(range, taps)):
                            rows[one][(group, *tap)] += 1
            for place, sender, _ in synapses(layer, connection, source):
                one = slice_of(place, layer, slices)
                entry = sender[1:] if shares else sender
                received[one].add((number, entry))
                if not shares:
                    rows[one][sender] += 1
                if connection.source in layers:
                    home = slice_of(sender, layers[connection.source], slices)
                    sent[home].add((layer.name, number, one, entry))
            bits = bits_of(net, layer, connection, chip) + (0 if shares else chip.index_bits.value)
            for one, counts in rows.items():
                memory[one] += sum(row(count, bits, chip) for count in counts.values())
    return {
        one: (neurons[one], memory[one], len(received[one]), len(sent[one]))
        for parts in slices.values()
        for one in parts
    }
