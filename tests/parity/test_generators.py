"""The generators of random networks reach every corner: options, limits, dead and saturated neurons."""

from __future__ import annotations

import numpy as np
import pytest

from lava_bsnn.errors import ExportError
from lava_bsnn.limits import LIMITS
from netx_export import convert, network, simulate
from netx_export.verify import random_data

SEEDS = {"stock": 400, "extended": 400, "torch": 200}
TOP = LIMITS.potential_max


def drawn(generate, kind):
    """Networks, each with the number of its steps and the result of a sample."""
    for seed in range(SEEDS[kind]):
        depth, steps = 1 + seed % 5, 1 + seed // 5 % 20
        try:
            if kind == "torch":
                net = convert(generate.torch(seed, depth, steps), "extended")
            else:
                net, _ = getattr(generate, kind)(seed, depth, steps)
        except ExportError:
            continue
        if net.max_steps is None or net.max_steps >= steps:
            yield net, steps, simulate(net, random_data(net, 1, steps, seed), trace=True)


def corners(generate, kind):
    """Facts about all networks of a generator."""
    seen = set()
    for net, steps, result in drawn(generate, kind):
        hidden = [layer for layer in net.layers if not isinstance(layer.neuron, network.Readout)]
        seen |= {("steps", steps), ("depth", len(hidden)), ("bits", net.input.bits)}
        seen.add(("flat input", len(net.input.shape) == 1))
        if net.input.encoding is not None:
            coding = net.input.encoding
            seen |= {(coding.kind, coding.bits), ("rails", coding.rails), ("saturate", coding.saturate)}
        if len(net.input.shape) == 3:
            seen.add(("square", net.input.shape[1] == net.input.shape[2]))
        for layer in net.layers:
            seen |= set(facts_of_layer(layer))
            rates = result.layers[layer.name].spikes.mean(-1)
            seen |= {("rate", rate) for rate in (rates.min(), rates.max()) if rate in (0, 1)}
            neuron = layer.neuron
            busy = result.layers[layer.name].spikes.min(-1).max() == neuron.max_message
            if isinstance(neuron, network.MultiThreshold) and neuron.levels > 1 and busy:
                seen.add(("rate", "all levels"))
    return seen


def facts_of_layer(layer):
    neuron = layer.neuron
    yield ("neuron", type(neuron).__name__)
    for name in ("bias", "threshold", "initial"):
        value = getattr(neuron, name, None)
        if value is not None:
            yield from ((name, int(v)) for v in (np.min(value), np.max(value)))
            yield (name, "per channel" if isinstance(value, np.ndarray) else "one")
    for name in ("levels", "current_decay", "voltage_decay"):
        value = getattr(neuron, name, None)
        yield (name, "per channel" if isinstance(value, np.ndarray) else value)
    if isinstance(neuron, network.MultiThreshold):
        yield ("lam", neuron.lam if isinstance(neuron.lam, int) else "per step")
    if getattr(neuron, "membrane", None) is not None:
        yield from (("membrane", neuron.membrane.bits), ("shift", neuron.membrane.shift))
    if layer.mix is not None:
        yield ("mix", layer.mix.causal)
    yield ("connections", min(3, len(layer.connections)))
    for connection in layer.connections:
        synapse, gate = connection.synapse, connection.gate
        yield ("synapse", type(synapse).__name__)
        yield ("recurrent", connection.source == layer.name)
        if gate is not None:
            yield ("gate", (gate.per, gate.multiplier.ndim))
        if connection.delay is not None:
            yield ("delay", connection.delay.ndim)
            yield ("delay of", (type(synapse).__name__, connection.delay.ndim))
        if isinstance(synapse, network.Identity):
            continue
        weight = synapse.weight
        yield from (("weight", int(v)) for v in (weight.min(), weight.max()))
        if isinstance(synapse, network.Conv):
            for name in ("stride", "padding", "dilation", "groups"):
                yield (name, getattr(synapse, name))
            depthwise = synapse.groups == len(weight) and (weight == 1).all()
            yield ("pool", bool(depthwise and weight[0].size > 1 and synapse.stride == weight.shape[2:]))


EVERYWHERE = {
    *(("depth", depth) for depth in range(1, 6)),
    *(("steps", steps) for steps in range(1, 21)),
    *(("bits", bits) for bits in (0, 8)),
    *(("synapse", kind) for kind in ("Conv", "Dense")),
    *(("rate", rate) for rate in (0, 1)),
    *(("stride", stride) for stride in ((1, 1), (2, 1), (1, 2), (2, 2))),
    *(("dilation", dilation) for dilation in ((1, 1), (2, 1), (1, 2), (2, 2))),
    *(("padding", padding) for padding in ((0, 0), (1, 0), (0, 1), (2, 2))),
    *(("groups", groups) for groups in (1, 2, 3)),
    *(("voltage_decay", decay) for decay in (0, 4096)),
    ("square", True),
    ("square", False),
    ("flat input", True),
    ("pool", True),
    ("neuron", "Readout"),
}
ALSO = {
    "stock": {
        *(("weight", weight) for weight in (-128, 127)),
        *(("bias", bias) for bias in (LIMITS.bias_min, LIMITS.bias_max)),
        *(("threshold", threshold) for threshold in (0, LIMITS.threshold_max)),
        *(("current_decay", decay) for decay in (1, 4096)),
    },
    "extended": {
        *(("weight", weight) for weight in (-128, 127)),
        *(("bias", bias) for bias in (-TOP, TOP, LIMITS.bias_min, LIMITS.bias_max)),
        *(("threshold", threshold) for threshold in (0, 1, TOP, LIMITS.threshold_max, "per channel")),
        *(("initial", initial) for initial in (-TOP, TOP)),
        *(("lam", lam) for lam in (0, 4096, LIMITS.factor_max)),
        *(("levels", levels) for levels in range(1, 9)),
        *(("membrane", bits) for bits in range(2, 25)),
        *(("shift", shift) for shift in (0, 22)),
        *(("gate", (per, ndim)) for per in ("channel", "layer") for ndim in (1, 2)),
        *(("mix", causal) for causal in (True, False)),
        *(("delay of", (kind, ndim)) for kind in ("Conv", "Dense", "Identity") for ndim in (1, 2)),
        *((name, "per channel") for name in ("current_decay", "voltage_decay")),
        *(("connections", number) for number in (1, 2, 3)),
        ("synapse", "Identity"),
        ("recurrent", True),
        ("rate", "all levels"),
    },
    "torch": {
        *(("weight", weight) for weight in (-127, 127)),
        *(("levels", levels) for levels in range(1, 9)),
        *(("membrane", bits) for bits in range(2, 25)),
        *(("gate", (per, ndim)) for per in ("channel", "layer") for ndim in (1, 2)),
        *(("mix", causal) for causal in (True, False)),
        *(("connections", number) for number in (1, 2)),
        *(("delay of", (kind, 2)) for kind in ("Conv", "Dense", "Identity")),
        ("voltage_decay", "per channel"),
        ("recurrent", True),
        *(("intensities", bits) for bits in (1, 4, 8)),
        *(("counts", bits) for bits in (1, 3, 8)),
        *(("images", bits) for bits in (1, 2, 4, 5, 7, 8)),
        *((option, value) for option in ("rails", "saturate") for value in (True, False)),
        ("spikes", 0),
        ("synapse", "Identity"),
        ("rate", "all levels"),
    },
}


@pytest.mark.parametrize("kind", ALSO)
def test_the_generators_reach_the_corners(generate, kind):
    assert (EVERYWHERE | ALSO[kind]) - corners(generate, kind) == set()
