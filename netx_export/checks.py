"""What makes a network invalid: shapes, ranges, and sums beyond 24 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, ONE

from . import limits
from .input_checks import class_problems, input_problems, step_problems
from .network import INPUT, Connection, FixedPointNetwork, Layer, Shape
from .neurons import LIF, Gate, Mix, MultiThreshold, Readout
from .synapses import BiasInput, Conv, Dense, Identity, fan_in, reach, weight_of

PROFILES = ("stock", "extended")


def problems(net: FixedPointNetwork) -> Iterator[str]:
    """One line per violated rule, each with the layer, the value, and what is allowed."""
    if net.profile not in PROFILES:
        yield f"profile={net.profile!r} is unknown; use 'stock' or 'extended'"
        return
    entry = list(input_problems(net.input))
    yield from entry
    if any(problem.startswith("input: bits=") and "not allowed" in problem for problem in entry):
        return
    if not net.layers:
        yield "a network needs at least one layer"
        return
    shapes = {INPUT: net.input.shape}
    for layer in net.layers:
        if layer.name in shapes:
            yield f"{layer.name}: the name is used twice"
        graph = list(_graph_problems(net, layer, shapes))
        yield from graph
        if not graph:
            yield from _value_problems(net, layer)
        shapes[layer.name] = layer.shape
        if graph and any("source" in problem for problem in graph):
            return
    lengths = {
        part.num_steps
        for layer in net.layers
        for part in (layer.mix, *(c.gate for c in layer.connections))
        if part is not None
    } | {len(lam) for layer in net.layers if isinstance(lam := getattr(layer.neuron, "lam", 0), np.ndarray)}
    if len(lengths) > 1:
        yield f"gates and mixings are made for {sorted(lengths)} steps; use one number"
    yield from step_problems(net)
    yield from class_problems(net)


def _graph_problems(net: FixedPointNetwork, layer: Layer, shapes: dict[str, Shape]) -> Iterator[str]:
    name = layer.name
    if not layer.connections:
        yield f"{name}: has no connection"
        return
    if all(connection.source == name for connection in layer.connections):
        yield f"{name}: is fed by itself only; connect it to a source before it"
        return
    for connection in layer.connections:
        recurrent = connection.source == name
        if not recurrent and connection.source not in shapes:
            yield f"{name}: source {connection.source!r} does not come before it"
            return
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
            yield f"{name}: BiasInput takes {limits.BIAS_INPUT_BITS} bits; the input has {entry.bits}"
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


def _value_problems(net: FixedPointNetwork, layer: Layer) -> Iterator[str]:
    name, channels = layer.name, layer.shape[0]
    for connection in layer.connections:
        yield from (
            f"{name}: {text}" for text in _connection_problems(connection, channels, net.profile == "stock")
        )
    yield from (f"{name}: {text}" for text in _neuron_problems(layer, channels))
    if layer.mix is not None:
        yield from (f"{name}: {text}" for text in _mix_problems(layer.mix))
    if net.profile == "stock":
        yield from (f"{name}: {text}" for text in _stock_problems(layer))
    shapes_fit = all(
        _fits(getattr(part, field, None), channels)
        for part in (*layer.connections, layer.neuron)
        for field in ("scale", "bias", "threshold")
    )
    if shapes_fit:
        yield from (f"{name}: {text}" for text in _sum_problems(net, layer))


def _fits(value: Any, channels: int) -> bool:
    return not isinstance(value, np.ndarray) or value.shape == (channels,)


def _range(what: str, value: Any, low: int, high: int, note: str = "") -> Iterator[str]:
    values = np.asarray(value)
    if not values.size or values.dtype.kind not in "iu":
        yield f"{what} {value!r} is not allowed; use integers {low}..{high}"
    elif values.min() < low or values.max() > high:
        shown = str(value) if not values.ndim else f"{values.min()}..{values.max()}"
        yield f"{what} {shown} is out of range; {low}..{high} are allowed{note}"


def _per_channel(what: str, value: Any, channels: int, low: int, high: int, note: str = "") -> Iterator[str]:
    if _fits(value, channels):
        yield from _range(what, value, low, high, note)
    else:
        yield f"{what} of shape {value.shape} does not fit; use ({channels},)"


def _connection_problems(connection: Connection, channels: int, stock: bool) -> Iterator[str]:
    weight, top = weight_of(connection.synapse), limits.POTENTIAL_MAX
    if weight is not None and not stock:
        wide = limits.WIDE_WEIGHT_MAX
        yield from _range("weights", weight, -wide, wide, " (12 bit)")
    elif weight is not None:
        low, high = int(weight.min()), int(weight.max())
        fits = low >= limits.WEIGHT_MIN and high <= limits.WEIGHT_MAX
        even = low >= limits.EVEN_WEIGHT_MIN and high <= limits.EVEN_WEIGHT_MAX and not (weight & 1).any()
        if not fits and not even:
            yield (
                f"weights {low}..{high} are out of range; {limits.WEIGHT_MIN}..{limits.WEIGHT_MAX} are "
                f"allowed, or even ones in {limits.EVEN_WEIGHT_MIN}..{limits.EVEN_WEIGHT_MAX}"
            )
    for what in ("scale", "bias"):
        value = getattr(connection, what)
        if value is not None:
            yield from _per_channel(f"connection {what}", value, channels, -top, top)
    if connection.delay is not None:
        allowed: list[Shape] = [(channels,)]
        if isinstance(connection.synapse, Dense) and weight is not None:
            allowed.append((1, weight.shape[1]))
        if connection.delay.shape not in allowed:
            yield f"delay of shape {connection.delay.shape} does not fit; use {allowed[0]}"
        else:
            yield from _range("delay", connection.delay, 0, limits.DELAY_MAX)
    if connection.gate is not None:
        yield from _gate_problems(connection.gate, channels)


def _gate_problems(gate: Gate, channels: int) -> Iterator[str]:
    shape = gate.multiplier.shape
    if not 1 <= gate.num_steps <= limits.STEPS_MAX or shape[1:] not in ((), (channels,)):
        yield f"gate multiplier of shape {shape} does not fit; use (T,) or (T, {channels})"
    else:
        yield from _range("gate multiplier", gate.multiplier, -limits.MULTIPLIER_MAX, limits.MULTIPLIER_MAX)
    yield from _range("gate shift", gate.shift, 0, limits.GATE_SHIFT_MAX)
    if gate.per not in ("channel", "layer"):
        yield f"gate per={gate.per!r} is unknown; use 'channel' or 'layer'"


def _mix_problems(mix: Mix) -> Iterator[str]:
    if mix.omega.ndim != 2 or len(set(mix.omega.shape)) > 1 or not 1 <= len(mix.omega) <= limits.STEPS_MAX:
        yield f"mixing matrix of shape {mix.omega.shape} does not fit; use (T, T)"
    else:
        yield from _range("mixing matrix", mix.omega, -limits.FACTOR_MAX, limits.FACTOR_MAX)


def _neuron_problems(layer: Layer, channels: int) -> Iterator[str]:
    neuron = layer.neuron
    if neuron.exponent not in limits.EXPONENTS:
        yield f"exponent={neuron.exponent!r} is not allowed; use one of {limits.EXPONENTS}"
        return
    mantissas = neuron.exponent == ALIGN_BITS
    top = limits.POTENTIAL_MAX
    bias = (limits.BIAS_MIN, limits.BIAS_MAX, " (13 bit)") if mantissas else (-top, top, "")
    yield from _per_channel("bias", neuron.bias, channels, *bias)
    if isinstance(neuron, Readout):
        return
    low = 1 if isinstance(neuron, MultiThreshold) else 0
    highest = limits.THRESHOLD_MAX if mantissas else top
    yield from _per_channel("threshold", neuron.threshold, channels, low, highest)
    if isinstance(neuron, MultiThreshold):
        yield from _range("levels", neuron.levels, 1, limits.LEVELS_MAX)
        yield from _range("lam", neuron.lam, 0, limits.FACTOR_MAX)
        if np.ndim(neuron.lam) > 1:
            yield f"lam of shape {np.shape(neuron.lam)} does not fit; use one number or (T,)"
        yield from _per_channel("initial", neuron.initial, channels, -top, top)
        return
    for decay in ("current_decay", "voltage_decay"):
        value = getattr(neuron, decay)
        if not 0 <= value <= limits.DECAY_MAX:
            yield f"{decay}={value} is out of range; 0..{limits.DECAY_MAX} are allowed"
    if neuron.membrane is not None:
        bits = (limits.MEMBRANE_BITS_MIN, limits.MEMBRANE_BITS_MAX)
        yield from _range("membrane bits", neuron.membrane.bits, *bits)
        yield from _range("membrane shift", neuron.membrane.shift, 0, limits.MEMBRANE_SHIFT_MAX)


def _stock_problems(layer: Layer) -> Iterator[str]:
    """What unmodified lava-dl cannot compute."""
    neuron, use = layer.neuron, "use profile='extended'"
    for connection in layer.connections:
        for part in ("scale", "bias", "gate"):
            if getattr(connection, part) is not None:
                yield f"a connection's {part} is not possible in profile 'stock'; {use}"
        if isinstance(connection.synapse, Identity):
            yield f"Identity is not possible in profile 'stock'; {use}"
        if isinstance(connection.synapse, Conv) and connection.delay is not None:
            yield f"delays of a conv are not possible in profile 'stock'; {use}"
    if layer.mix is not None:
        yield f"a mixing of time steps is not possible in profile 'stock'; {use}"
    if isinstance(neuron, MultiThreshold):
        yield f"MultiThreshold is not possible in profile 'stock'; {use}"
        return
    if neuron.membrane is not None or neuron.exponent != ALIGN_BITS:
        yield f"k-bit membranes and exponent 0 are not possible in profile 'stock'; {use}"
    if isinstance(neuron, LIF) and not isinstance(neuron.threshold, int):
        yield f"a threshold per channel is not possible in profile 'stock'; {use}"
    if not isinstance(neuron.bias, np.ndarray):
        yield f"bias {neuron.bias} is one number; in profile 'stock' give one per channel ({layer.shape[0]},)"


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
    one_sign = not signed and (net.profile == "extended" or _is_railed(net, connection))
    sums = reach if one_sign else fan_in  # reach: messages are not negative
    largest = sums(connection.synapse) * largest_message(net, connection.source)
    scale = np.int64(1 << ALIGN_BITS) if connection.scale is None else connection.scale.astype(np.int64)
    bias = 0 if connection.bias is None else np.abs(connection.bias.astype(np.int64))
    bound: np.ndarray = np.abs(scale) * largest + bias
    return bound


def _is_railed(net: FixedPointNetwork, connection: Connection) -> bool:
    """Whether weights of positive and negative parts of the input cancel (:mod:`netx_export.rails`)."""
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
    if any(isinstance(connection.synapse, BiasInput) for connection in layer.connections):
        bias = bias + net.input.largest
    bound: np.ndarray = current_bound(net, layer) + (bias << layer.neuron.exponent)
    return bound


def _sum_problems(net: FixedPointNetwork, layer: Layer) -> Iterator[str]:
    for connection in layer.connections:
        sums = int(fan_in(connection.synapse).max()) * largest_message(net, connection.source)
        if sums > limits.SUM_MAX:
            yield f"weighted sums up to {sums} overflow 32 bits; use smaller weights or fewer inputs"
        gate = connection.gate
        if gate is not None:
            shape = layer.shape if gate.per == "layer" or len(layer.shape) == 1 else layer.shape[1:]
            sums = int(connection_bound(net, connection).max()) * int(np.prod(shape))
            product = sums * int(np.abs(gate.multiplier.astype(np.int64)).max())
            if product > limits.GATE_PRODUCT_MAX:
                yield f"gate: sum times multiplier up to {product} overflows 63 bits; lower both by a bit"
    if net.profile == "stock":
        worst = int(current_bound(net, layer).max()) >> ALIGN_BITS
        if worst > limits.ACTIVATION_MAX:
            yield (
                f"sum|w| * largest input = {worst} overflows the 24-bit current; "
                f"at most {limits.ACTIVATION_MAX} is allowed; use fewer input bits or smaller weights"
            )
        return
    worst = int(neuron_bound(net, layer).max())
    if worst > limits.POTENTIAL_MAX:
        yield (
            f"a step adds up to {worst} membrane steps, which overflows 24 bits; at most "
            f"{limits.POTENTIAL_MAX} is allowed; use smaller scales or biases"
        )
