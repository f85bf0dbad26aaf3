"""What makes a network invalid: shapes, ranges, and sums beyond 24 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.limits import BIAS_INPUT_BITS, LIMITS, Limits

from ..content import channel_problems, fits_channels, fits_neurons, range_problems
from ..targets import TARGETS, Target, target
from .front import Gate
from .input_checks import class_problems, input_problems, step_problems, width_problems
from .synapses import INPUT, BiasInput, Conv, Shape, fan_in, reach, weight_of

if TYPE_CHECKING:
    from .graph import Connection, FixedPointNetwork, Layer


def problems(net: FixedPointNetwork) -> Iterator[str]:
    """One line per violated rule, each with the layer, the value, and what is allowed."""
    if net.profile not in TARGETS:
        yield f"profile={net.profile!r} is unknown; use {' or '.join(map(repr, TARGETS))}"
        return
    chosen = target(net.profile)
    widths = list(width_problems(net.input, chosen.limits))
    yield from widths
    yield from input_problems(net.input)
    if widths:
        return
    if not net.layers:
        yield "a network needs at least one layer"
        return
    shapes = {INPUT: net.input.shape}
    sound = True
    for layer in net.layers:
        if layer.name in shapes:
            yield f"{layer.name}: the name is used twice"
            sound = False
        sources = list(_source_problems(layer, shapes))
        yield from sources
        if sources:
            return
        graph = list(_graph_problems(net, layer, shapes))
        yield from graph
        if not graph:
            yield from _value_problems(net, layer, chosen)
        sound &= not graph
        shapes[layer.name] = layer.shape
    if sound:
        yield from chosen.network_problems(net)
        yield from _stream_problems(net)
        yield from _length_problems(net)
        yield from step_problems(net)
    yield from class_problems(net)


def _length_problems(net: FixedPointNetwork) -> Iterator[str]:
    """Gates and mixings of other numbers of steps than reach them."""
    lengths: dict[int | None, set[int]] = {n: {n} if n else set() for n in net.mixed_steps.values()}
    for layer in net.layers:
        sources = {c.source for c in layer.connections if c.source != layer.name}
        counts = {net.mixed_steps[source] for source in sources}
        if len(counts) > 1:
            yield f"{layer.name}: paths with and without a mixing of frames meet; mix in front of both"
            continue
        reaching = lengths[counts.pop()]
        reaching |= {c.gate.num_steps for c in layer.connections if c.gate is not None}
        reaching |= set() if layer.mix is None else {layer.mix.num_frames}
        lengths[net.mixed_steps[layer.name]] |= set(layer.neuron.step_counts)
    for found in lengths.values():
        if len(found) > 1:
            yield f"gates and mixings are made for {sorted(found)} steps; use one number"


def _stream_problems(net: FixedPointNetwork) -> Iterator[str]:
    """What has an end, in a network whose samples have none."""
    if not net.persistent:
        return
    for layer in net.layers:
        gates = any(connection.gate is not None for connection in layer.connections)
        for what, there in (("gates", gates), ("mixing", layer.mix), ("values", layer.neuron.step_counts)):
            if there:
                yield f"{layer.name}: {what} of T steps cannot be in a stream (persistent); leave them out"
    steps = most_steps(net, net.output) if net.reads_out else None
    if steps is not None:
        decay = -(-int(neuron_bound(net, net.output).max()) * ONE // LIMITS.readout_max)
        remedy = "weights that are smaller" if decay > ONE else f"voltage_decay={decay} or more"
        yield (
            f"{net.output.name}: a readout of a stream (persistent) could overflow 24 bits after "
            f"{steps} steps; use {remedy}, or neurons that spike"
        )


def _source_problems(layer: Layer, shapes: dict[str, Shape]) -> Iterator[str]:
    """What leaves a layer without the sources that it names."""
    name = layer.name
    if not layer.connections:
        yield f"{name}: has no connection"
    elif all(connection.source == name for connection in layer.connections):
        yield f"{name}: is fed by itself only; connect it to a source before it"
    for connection in layer.connections:
        if connection.source not in (*shapes, name):
            yield f"{name}: source {connection.source!r} does not come before it"
            return


def _graph_problems(net: FixedPointNetwork, layer: Layer, shapes: dict[str, Shape]) -> Iterator[str]:
    name, most = layer.name, LIMITS.steps_max
    if layer.mix is not None:
        shape = np.shape(layer.mix.omega)
        if len(shape) != 2 or not all(1 <= count <= most for count in shape):
            yield f"{name}: mixing matrix of shape {shape} does not fit; use (T, F), each in 1..{most}"
            return
    for connection in layer.connections:
        recurrent = connection.source == name
        try:
            shape = connection.synapse.output_shape(layer.shape if recurrent else shapes[connection.source])
        except ValueError as error:
            yield f"{name}: {error}"
            return
        if shape != layer.shape:
            yield f"{name}: shape {layer.shape} does not fit its synapse's output {shape}"
            return
        biased, entry = isinstance(connection.synapse, BiasInput), net.input
        if biased and (connection.source != INPUT or len(layer.connections) > 1):
            yield f"{name}: an input as bias must be the layer's one connection, from {INPUT!r}"
        if biased and entry.signed and not entry.enters_as_bias:
            yield f"{name}: BiasInput takes {BIAS_INPUT_BITS} bits; the input has {entry.bits}"
        elif biased != (connection.source == INPUT and entry.enters_as_bias):
            yield f"{name}: signed input and BiasInput go together; use both or none"
        if biased:
            yield from _bias_input_problems(layer, connection)
        if recurrent and layer.mix is not None and not layer.mix.causal:
            yield f"{name}: a layer that feeds itself cannot mix whole windows; use a causal matrix"


def _bias_input_problems(layer: Layer, connection: Connection) -> Iterator[str]:
    """What has no meaning for an input that adds to the bias, behind all that currents pass."""
    parts = [part for part in ("scale", "bias", "gate", "delay") if getattr(connection, part) is not None]
    parts += ["mix"] if layer.mix is not None else []
    if parts:
        yield f"{layer.name}: an input as bias is no current; leave out {', '.join(parts)}"


def _value_problems(net: FixedPointNetwork, layer: Layer, chosen: Target) -> Iterator[str]:
    name, channels = layer.name, layer.shape[0]
    found: list[str] = []
    for connection in layer.connections:
        found += _connection_problems(connection, channels, chosen)
    found += layer.neuron.problems(layer.shape)
    most = chosen.limits.levels_max
    if not 0 <= layer.neuron.max_message <= most:
        found.append(f"messages up to {layer.neuron.max_message} are out of range; 0..{most} are allowed")
    if layer.mix is not None:
        most = chosen.limits.factor_max
        found += range_problems("mixing matrix", layer.mix.omega, -most, most)
    found += chosen.layer_problems(layer)
    fit = all(fits_channels(part, channels) for c in layer.connections for part in (c.scale, c.bias))
    if fit and fits_neurons(layer.neuron.bias, layer.shape):
        found += _sum_problems(net, layer)
        found += chosen.sum_problems(net, layer)
    yield from (f"{name}: {text}" for text in found)


def _connection_problems(connection: Connection, channels: int, chosen: Target) -> Iterator[str]:
    weight, limits = weight_of(connection.synapse), chosen.limits
    top = limits.potential_max
    if weight is not None:
        yield from chosen.weight_problems(weight)
    for what in ("scale", "bias"):
        value = getattr(connection, what)
        if value is not None:
            yield from channel_problems(f"connection {what}", value, channels, -top, top)
    if connection.delay is not None:
        allowed: list[Shape] = [(channels,)]
        if isinstance(connection.synapse, Conv):
            allowed.append((1, connection.synapse.weight.shape[1] * connection.synapse.groups))
        else:
            allowed.append((1, channels if weight is None else weight.shape[1]))
        if connection.delay.shape not in allowed:
            either = " or ".join(map(str, allowed))
            yield f"delay of shape {connection.delay.shape} does not fit; use {either}"
        else:
            yield from range_problems("delay", connection.delay, 0, limits.delay_max)
    if connection.gate is not None:
        yield from _gate_problems(connection.gate, channels, limits)


def _gate_problems(gate: Gate, channels: int, limits: Limits) -> Iterator[str]:
    shape = gate.multiplier.shape
    if not 1 <= gate.num_steps <= limits.steps_max or shape[1:] not in ((), (channels,)):
        yield f"gate multiplier of shape {shape} does not fit; use (T,) or (T, {channels})"
    else:
        yield from range_problems(
            "gate multiplier", gate.multiplier, -limits.multiplier_max, limits.multiplier_max
        )
    yield from range_problems("gate shift", gate.shift, 0, limits.gate_shift_max)
    if gate.per not in ("channel", "layer"):
        yield f"gate per={gate.per!r} is unknown; use 'channel' or 'layer'"


def largest_message(net: FixedPointNetwork, source: str) -> int:
    """Largest magnitude of what ``source`` sends: 1 for spikes."""
    return net.input.largest if source == INPUT else net.max_value(source)


def connection_bound(net: FixedPointNetwork, connection: Connection) -> np.ndarray:
    """Largest magnitude of a connection's current in membrane steps, ``[C]`` or ``[1]``.

    0 for an input that enters as bias, which is no current.
    """
    if isinstance(connection.synapse, BiasInput):
        return np.zeros(1, dtype=np.int64)
    signed = connection.source == INPUT and net.input.signed
    one_sign = not signed and (target(net.profile).counts_signs or _is_railed(net, connection))
    sums = reach if one_sign else fan_in  # reach: messages are not negative
    largest = sums(connection.synapse) * largest_message(net, connection.source)
    scale = np.int64(1 << ALIGN_BITS) if connection.scale is None else connection.scale.astype(np.int64)
    bias = 0 if connection.bias is None else np.abs(connection.bias.astype(np.int64))
    bound: np.ndarray = np.abs(scale) * largest + bias
    return bound


def _is_railed(net: FixedPointNetwork, connection: Connection) -> bool:
    """Whether weights of positive and negative parts of the input cancel (:func:`netx_export.two_rails`)."""
    weight = weight_of(connection.synapse)
    if connection.source != INPUT or weight is None or weight.shape[1] % 2:
        return False
    half = weight.shape[1] // 2
    return bool((weight[:, :half] == -weight[:, half:]).all())


def current_bound(net: FixedPointNetwork, layer: Layer) -> np.ndarray:
    """Largest magnitude of the current that reaches the neurons in one step, membrane steps."""
    total = sum(connection_bound(net, connection) for connection in layer.connections)
    assert isinstance(total, np.ndarray)
    if layer.mix is None:
        return total
    gain = int(np.abs(layer.mix.omega.astype(np.int64)).sum(1).max())
    mixed: np.ndarray = np.maximum(total, (total * gain + ONE // 2) >> 12)
    return mixed


def neuron_bound(net: FixedPointNetwork, layer: Layer) -> np.ndarray:
    """Largest magnitude of what one step adds to the potential, membrane steps."""
    bias = np.abs(np.asarray(layer.neuron.bias, dtype=np.int64))
    bias = bias.reshape(layer.shape[0], -1).max(1) if bias.ndim > 1 else bias
    if any(isinstance(connection.synapse, BiasInput) for connection in layer.connections):
        bias = bias + net.input.largest
    bound: np.ndarray = current_bound(net, layer) + (bias << layer.neuron.exponent)
    return bound


def most_steps(net: FixedPointNetwork, layer: Layer) -> int | None:
    """Steps over which the neurons may add up a worst-case input; None if it may be any number."""
    largest = target(net.profile).largest_sum(layer)
    bound, leak = max(1, int(neuron_bound(net, layer).max())), layer.neuron.leak
    remembers = np.min(getattr(layer.neuron, "current_decay", ONE)) < ONE
    if largest is None or (bound * ONE <= largest * leak and not remembers):  # as much leaks as comes
        return None
    if remembers:  # at most, the current itself adds up
        return math.isqrt(largest // bound)
    return largest // bound


def _sum_problems(net: FixedPointNetwork, layer: Layer) -> Iterator[str]:
    for connection in layer.connections:
        sums = int(fan_in(connection.synapse).max()) * largest_message(net, connection.source)
        if sums > LIMITS.sum_max:
            yield f"weighted sums up to {sums} overflow 32 bits; use smaller weights or fewer inputs"
        gate = connection.gate
        if gate is not None:
            shape = layer.shape if gate.per == "layer" or len(layer.shape) == 1 else layer.shape[1:]
            sums = int(connection_bound(net, connection).max()) * int(np.prod(shape))
            product = sums * int(np.abs(gate.multiplier.astype(np.int64)).max())
            if product > LIMITS.gate_product_max:
                yield f"gate: sum times multiplier up to {product} overflows 63 bits; lower both by a bit"
