"""Random networks of both profiles, and random data for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lava_bsnn.limits import LIMITS
from netx_export import FixedPointNetwork, network
from netx_export.network.checks import current_bound, neuron_bound


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


def random_messages(net, num_steps, seed=0, num_samples=1):
    """Messages over the whole range of the network's input, which may be signed."""
    rng = np.random.default_rng(seed)
    return rng.integers(
        net.input.min_value, net.input.max_value + 1, (num_samples, *net.input.shape, num_steps)
    )


def per_channel(rng, low, high, channels):
    """An integer, or one per channel."""
    return rng.integers(low, high, channels) if rng.random() < 0.7 else int(rng.integers(low, high))


def random_conv(rng, shape):
    groups = int(rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = np.maximum(rng.integers(0, 3, 2), (dilation * (kernel - 1) + 1 - shape[1:] + 1) // 2).clip(0)
    size = (groups * int(rng.integers(1, 3)), shape[0] // groups, *kernel)
    return network.Conv(
        weight=random_weights(rng, size),
        stride=tuple(int(v) for v in rng.integers(1, 3, 2)),
        padding=tuple(int(v) for v in padding),
        dilation=tuple(int(v) for v in dilation),
        groups=groups,
    )


def random_weights(rng, size):
    kind = rng.integers(0, 3)
    if kind == 0:
        return rng.choice([-1, 1], size)
    return rng.integers(-128, 128, size) if kind == 1 else rng.choice([-128, 127], size)


def random_neuron(rng, channels, typical):
    typical = max(2, int(typical))
    kind = rng.integers(0, 3)
    if kind == 0:
        return network.MultiThreshold(
            threshold=per_channel(rng, 1, typical, channels),
            levels=int(rng.integers(1, 9)),
            initial=per_channel(rng, -typical, typical, channels),
            lam=int(rng.choice([4096, rng.integers(2048, 6145)])),
            bias=per_channel(rng, -typical, typical, channels),
        )
    bits = int(rng.integers(2, 25))
    membrane = network.Membrane(bits=bits, shift=int(rng.integers(0, 23)))
    decays = {
        "threshold": per_channel(rng, 0, typical, channels),
        "bias": per_channel(rng, -typical // 2, typical, channels),
        "current_decay": int(rng.choice([4096, rng.integers(0, 4097)])),
        "voltage_decay": int(rng.choice([0, 4096, rng.integers(0, 4097)])),
    }
    late = rng.spawn(1)[0]
    for name in ("current_decay", "voltage_decay"):
        if late.random() < 0.2:
            decays[name] = late.integers(0, 4097, channels)
    return network.LIF(
        **decays,
        membrane=membrane if kind == 1 else None,
        exponent=0,
    )


def random_connection(rng, source, synapse, shape, num_steps, *, delays, gates=True):
    channels, options = shape[0], {}
    magnitude = int(rng.choice([3, 64, 700]))
    if rng.random() < 0.7:
        options["scale"] = rng.integers(-magnitude, magnitude + 1, channels)
    if rng.random() < 0.5:
        options["bias"] = rng.integers(-2000, 2000, channels)
    if gates and rng.random() < 0.4:
        size = (num_steps, channels) if rng.random() < 0.5 else (num_steps,)
        per = str(rng.choice(["channel", "layer"]))
        options["gate"] = network.Gate(
            multiplier=rng.integers(-99, 100, size), shift=int(rng.integers(0, 15)), per=per
        )
    if delays and rng.random() < 0.4:
        inputs = isinstance(synapse, network.Dense) and rng.random() < 0.5
        size = (1, synapse.weight.shape[1]) if inputs else (channels,)
        options["delay"] = rng.integers(0, 6, size)
        late = rng.spawn(1)[0]
        if not isinstance(synapse, network.Dense) and late.random() < 0.5:
            sent = synapse.weight.shape[1] * synapse.groups if isinstance(synapse, network.Conv) else channels
            options["delay"] = late.integers(0, 6, (1, sent))
    return network.Connection(source=source, synapse=synapse, **options)


def neuron_at_limits(rng, room):
    """A neuron with parameters at their limits; biases take all the ``room`` [C] that currents leave."""
    top, kind = LIMITS.potential_max, rng.integers(0, 3)
    bias = rng.choice([-1, 0, 1], room.shape) * room
    if kind == 0:
        return network.MultiThreshold(
            threshold=rng.choice([1, top], room.shape),
            levels=int(rng.choice([1, 8])),
            initial=rng.choice([-top, 0, top], room.shape),
            lam=int(rng.choice([0, 4096, LIMITS.factor_max])),
            bias=bias,
        )
    decays = {"current_decay": 4096, "voltage_decay": int(rng.choice([0, 1, 4095, 4096]))}
    if kind == 1:  # mantissas
        bias = (bias >> 6).clip(LIMITS.bias_min, LIMITS.bias_max)
        return network.LIF(threshold=int(rng.choice([0, LIMITS.threshold_max])), bias=bias, **decays)
    membrane = network.Membrane(bits=int(rng.choice([2, 24])), shift=int(rng.choice([0, 22])))
    threshold = rng.choice([0, 1, top], room.shape)
    return network.LIF(threshold=threshold, bias=bias, membrane=membrane, exponent=0, **decays)


def at_limits(rng, entry, layers, layer):
    """The layer with a neuron at its limits."""
    quiet = replace(layer, neuron=network.LIF(threshold=0))
    net = FixedPointNetwork(input=entry, layers=(*layers, quiet), profile="extended")
    room = LIMITS.potential_max - np.broadcast_to(current_bound(net, quiet), layer.shape[:1])
    return replace(layer, neuron=neuron_at_limits(rng, room))


def random_layer(rng, name, shapes, num_steps, *, recurrent, delays, corners=False):
    source = str(rng.choice(list(shapes)[-2:]))
    shape = shapes[source]
    if corners and len(shape) == 3 and min(shape[1:]) > 1 and rng.random() < 0.2:  # a sum pooling
        synapse = network.Conv(weight=np.ones((shape[0], 1, 2, 2), int), stride=(2, 2), groups=shape[0])
    elif len(shape) == 3 and rng.random() < 0.7:
        synapse = random_conv(rng, shape)
    else:
        synapse = network.Dense(weight=random_weights(rng, (int(rng.integers(1, 7)), int(np.prod(shape)))))
    shape = synapse.output_shape(shape)
    connections = [random_connection(rng, source, synapse, shape, num_steps, delays=delays)]
    for other, its_shape in shapes.items():
        if its_shape == shape and rng.random() < 0.6:
            skip = network.Identity()
        elif len(shape) == 1 and rng.random() < 0.3:
            skip = network.Dense(weight=random_weights(rng, (shape[0], int(np.prod(its_shape)))))
        else:
            continue
        connections.append(random_connection(rng, other, skip, shape, num_steps, delays=delays))
    mix = None
    if rng.random() < 0.35:
        omega = rng.integers(-3000, 8000, (num_steps, num_steps))
        mix = network.Mix(omega=np.tril(omega) if rng.random() < 0.5 else omega)
    if recurrent and len(shape) == 1 and (mix is None or mix.causal) and rng.random() < 0.5:
        loop = network.Dense(weight=random_weights(rng, (shape[0], shape[0])))
        connections.append(random_connection(rng, name, loop, shape, num_steps, delays=delays))
    typical = 200 * int(rng.choice([1, 5, 100]))
    neuron = random_neuron(rng, shape[0], typical)
    return network.Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape, mix=mix)


def random_extended(seed, *, num_steps=None, recurrent=True, delays=True, depth=None, corners=False):
    """A network of the extended profile with a bit of everything; small.

    Args:
        depth: layers, without a readout; by default 1..4.
        corners: some layers are poolings or have parameters at their limits.
    """
    rng = np.random.default_rng(seed)
    num_steps = num_steps or int(rng.integers(1, 21))
    shape = (int(rng.integers(1, 4)), *rng.integers(2, 6, 2).tolist())
    entry = network.Input(
        shape=shape if rng.random() < 0.8 else shape[:1], bits=int(rng.choice([0, 0, 3, 8]))
    )
    shapes, layers = {network.INPUT: entry.shape}, []
    options = {"recurrent": recurrent, "delays": delays, "corners": corners}
    for i in range(depth or int(rng.integers(1, 5))):
        layer = random_layer(rng, f"layer{i}", shapes, num_steps, **options)
        if corners and rng.random() < 0.25:
            layer = at_limits(rng, entry, layers, layer)
        layers.append(layer)
        shapes[layers[-1].name] = layers[-1].shape
    if rng.random() < 0.4:
        weight = random_weights(rng, (3, int(np.prod(layers[-1].shape))))
        connection = random_connection(
            rng, layers[-1].name, network.Dense(weight=weight), (3,), num_steps, delays=False, gates=False
        )
        readout = network.Readout(bias=per_channel(rng, -50, 50, 3), exponent=0)
        layers.append(network.Layer(name="readout", connections=(connection,), neuron=readout, shape=(3,)))
    net = FixedPointNetwork(input=entry, layers=tuple(layers), profile="extended")
    return net, net.num_steps or num_steps


def stock_weights(rng, size):
    """All, few, or only extreme values."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return rng.integers(-128, 128, size)
    if kind == 1:
        return rng.choice([-128, 127], size)
    return rng.choice([-1, 1] if kind == 2 else [-7, 0, 7], size)


def stock_neuron(rng, channels, fan_in):
    """Quiet, dead, saturated and ordinary neurons; limits of every parameter."""
    kind = rng.integers(0, 5)
    bias = rng.integers(-60, 60, channels)
    if kind == 0:
        bias = rng.choice([-4096, 4095, 0], channels)
    threshold = (
        int(rng.choice([0, 1, 30 * fan_in, 131_071])) if kind == 1 else int(rng.integers(1, 40 * fan_in))
    )
    return network.LIF(
        threshold=min(threshold, 131_071),
        bias=bias,
        current_decay=int(rng.choice([4096, 1, rng.integers(1, 4097)])),
        voltage_decay=int(rng.choice([0, 4096, rng.integers(0, 4097)])),
    )


def stock_conv(rng, shape):
    """A convolution, or a sum pooling as conversion makes it."""
    if rng.random() < 0.25 and min(shape[1:]) > 1:
        return network.Conv(weight=np.ones((shape[0], 1, 2, 2), int), stride=(2, 2), groups=shape[0])
    groups = int(rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0]))
    kernel, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = np.maximum(rng.integers(0, 3, 2), (dilation * (kernel - 1) + 1 - shape[1:] + 1) // 2).clip(0)
    size = (groups * int(rng.integers(1, 4)), shape[0] // groups, *kernel)
    return network.Conv(
        weight=stock_weights(rng, size),
        stride=tuple(int(v) for v in rng.integers(1, 3, 2)),
        padding=tuple(int(v) for v in padding),
        dilation=tuple(int(v) for v in dilation),
        groups=groups,
    )


def random_loihi(seed, depth, num_steps):
    """A graph of ``depth`` layers of lava-nc's processes; raises ExportError for some seeds."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), *rng.integers(2, 7, 2).tolist())
    if rng.random() < 0.25:
        shape = (int(rng.integers(1, 12)),)
    bits = int(rng.choice([0, 0, 4, 8]))
    entry = network.Input(shape=shape, bits=bits, signed=bool(bits and rng.random() < 0.3))
    shapes, depths, layers = {network.INPUT: shape}, {network.INPUT: 0}, []
    for i in range(depth):
        name, last = f"layer{i}", i == depth - 1
        source = str(rng.choice(list(shapes)[-2:]))
        shape = shapes[source]
        if len(shape) == 3 and rng.random() < 0.8 and not (last and rng.random() < 0.5):
            synapse = stock_conv(rng, shape)
            shape = synapse.output_shape(shape)
        elif rng.random() < 0.2:
            synapse = network.Identity()
        else:
            synapse = network.Dense(weight=stock_weights(rng, (int(rng.integers(1, 9)), int(np.prod(shape)))))
            shape = synapse.output_shape(shape)
        made = [loihi_connection(rng, source, synapse, shape)]
        for other in rng.permutation(list(shapes)):
            wait = depths[str(other)] - depths[source]
            if rng.random() < 0.6 and (wait <= 0 or not isinstance(synapse, network.Conv)):
                if shapes[str(other)] == shape:
                    skip = network.Identity()
                elif len(shape) == 1:
                    skip = network.Dense(
                        weight=stock_weights(rng, (shape[0], int(np.prod(shapes[str(other)]))))
                    )
                else:
                    continue
                made.append(loihi_connection(rng, str(other), skip, shape))
                break
        fan_in = int(np.prod(synapse.weight.shape[1:])) if hasattr(synapse, "weight") else 1
        neuron = stock_neuron(rng, shape[0], fan_in)
        if rng.random() < 0.25:
            half = int(rng.integers(1, 20 * fan_in + 2))
            neuron = network.MultiThreshold(
                threshold=min(half, 4095) << 7,
                levels=1,
                initial=int(rng.integers(0, half << 7)),
                bias=rng.integers(-60, 60, shape[0]) << 6,
            )
        if last and rng.random() < 0.5:
            neuron = network.Readout(bias=rng.integers(-50, 50, shape[0]))
        layers.append(network.Layer(name=name, connections=tuple(made), neuron=neuron, shape=shape))
        shapes[name], depths[name] = shape, 1 + max(depths[c.source] for c in made)
    return FixedPointNetwork(input=entry, layers=tuple(layers), profile="loihi"), num_steps


def loihi_connection(rng, source, synapse, shape):
    """A connection; of identities with mantissas, for each channel or for all."""
    if not isinstance(synapse, network.Identity):
        return network.Connection(source=source, synapse=synapse)
    scale = rng.integers(1, 256, shape[0] if rng.random() < 0.5 else 1) << int(rng.integers(0, 5))
    return network.Connection(
        source=source, synapse=synapse, scale=np.broadcast_to(scale, shape[:1]).astype(np.int64) << 6
    )


def random_stock(seed, depth, num_steps):
    """A chain of ``depth`` layers that unmodified lava-dl computes; raises ExportError for some seeds."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), *rng.integers(2, 8, 2).tolist())
    if rng.random() < 0.25:
        shape = (int(rng.integers(1, 12)),)
    entry = network.Input(shape=shape, bits=int(rng.choice([0, 0, 4, 8])))
    layers, source = [], network.INPUT
    for i in range(depth):
        last = i == depth - 1
        if len(shape) == 3 and rng.random() < 0.7 and not (last and rng.random() < 0.5):
            synapse = stock_conv(rng, shape)
        else:
            classes = int(rng.integers(1, 9))
            synapse = network.Dense(weight=stock_weights(rng, (classes, int(np.prod(shape)))))
        shape = synapse.output_shape(shape)
        neuron = stock_neuron(rng, shape[0], int(np.prod(synapse.weight.shape[1:])))
        if last and isinstance(synapse, network.Dense) and rng.random() < 0.5:
            neuron = network.Readout(bias=rng.integers(-50, 50, shape[0]))
        connection = network.Connection(source=source, synapse=synapse)
        source = f"layer{i}"
        layers.append(network.Layer(name=source, connections=(connection,), neuron=neuron, shape=shape))
    return FixedPointNetwork(input=entry, layers=tuple(layers)), num_steps


def as_stream(net):
    """The network without what has T steps, as a stream; a readout leaks as little as it may.

    Raises:
        ExportError: its readout's sums are too large for any leak, or other sums for 24 bits.
    """
    layers = []
    for layer in net.layers:
        connections = tuple(replace(connection, gate=None) for connection in layer.connections)
        layer = replace(layer, connections=connections, mix=None)
        if layer.neuron.reads_out:
            bound = int(neuron_bound(net, layer).max())
            decay = min(4096, -(-bound * 4096 // LIMITS.readout_max))
            layer = replace(layer, neuron=replace(layer.neuron, voltage_decay=decay))
        layers.append(layer)
    return replace(net, layers=tuple(layers), persistent=True)


def random_frames(seed):
    """A network that mixes F frames into T steps, and F; raises ExportError for some seeds."""
    rng = np.random.default_rng(seed)
    frames, steps = rng.choice(np.arange(1, 9), 2, replace=False).tolist()
    net, _ = random_extended(seed, num_steps=steps, depth=int(rng.integers(1, 4)))
    shape, layers, source = net.input.shape, [], network.INPUT
    for name in ("early", "frames")[int(rng.random() < 0.6) :]:
        omega = rng.integers(-3000, 8000, (steps, frames))
        layer = network.Layer(
            name=name,
            connections=(random_connection(rng, source, network.Identity(), shape, frames, delays=True),),
            neuron=random_neuron(rng, shape[0], 300),
            shape=shape,
            mix=network.Mix(omega=omega) if name == "frames" else None,
        )
        layers.append(layer)
        source = name
    for layer in net.layers:
        moved = [replace(c, source=source) if c.source == network.INPUT else c for c in layer.connections]
        layers.append(replace(layer, connections=tuple(moved)))
    return replace(net, layers=tuple(layers)), frames
