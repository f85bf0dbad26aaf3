"""Why a network does not fit a chip, by how much, and what would make it fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..network import INPUT, Connection, FixedPointNetwork, Layer
from ..network.synapses import weight_of
from .chips import Chip
from .result import Core

_WHAT = ("neurons", "bits of synaptic memory", "axons in", "axons out")
_REMEDY = (
    "make its rows shorter",
    "use fewer channels in front of it, or fewer weight bits",
    "use fewer channels in front of it",
    "use fewer channels behind it",
)


def placement_problems(
    net: FixedPointNetwork,
    chip: Chip,
    cores: Sequence[Core],
    exceeded: Mapping[str, np.ndarray],
    chips: int | None,
) -> Iterator[str]:
    """A line per limit that is exceeded.

    Args:
        net: that was placed.
        chip: on which.
        cores: that it takes.
        exceeded: by layer, what its smallest slices need where a core holds less.
        chips: that may be used; None for any number.
    """
    if not net.input.enters_as_bias:
        yield from _message_problems(INPUT, net.input.largest, chip)
    for layer in net.layers:
        yield from _message_problems(layer.name, layer.neuron.max_message, chip)
        for connection in layer.connections:
            yield from _connection_problems(net, layer, connection, chip)
        if layer.name in exceeded:
            yield from _core_problems(layer, exceeded[layer.name], chip)
    if chips is not None:
        yield from _room_problems(cores, chip, chips)


def _message_problems(name: str, largest: int, chip: Chip) -> Iterator[str]:
    if largest.bit_length() > chip.message_bits.value:
        yield (
            f"{name}: messages up to {largest} need {largest.bit_length()} bits, {chip.title} sends "
            f"{chip.message_bits.value}; use spikes, or another chip"
        )


def _connection_problems(
    net: FixedPointNetwork, layer: Layer, connection: Connection, chip: Chip
) -> Iterator[str]:
    delay = net.balancing_delay(layer, connection)
    delay += 0 if connection.delay is None else int(connection.delay.max())
    if delay > chip.delay_max.value:
        yield (
            f"{layer.name}: messages of {connection.source} wait {delay} steps, {chip.title} holds them "
            f"{chip.delay_max.value}; use shorter delays, or a shallower path beside them"
        )
    weight = weight_of(connection.synapse)
    if weight is not None and weight[0].size > chip.fan_in.value:
        yield (
            f"{layer.name}: {weight[0].size} synapses per neuron from {connection.source}, {chip.title} "
            f"holds {chip.fan_in.value}; use fewer channels in front of it"
        )


def _core_problems(layer: Layer, needs: np.ndarray, chip: Chip) -> Iterator[str]:
    part = "a neuron" if layer.shape[1:] in ((), (1, 1)) else "one row of a channel"
    limits = (chip.neurons, chip.synaptic_bits, chip.axons_in, chip.axons_out)
    for what, need, limit, remedy in zip(_WHAT, needs.tolist(), limits, _REMEDY, strict=True):
        if need > limit.value:
            yield (
                f"{layer.name}: {part} needs {need} {what}, a core of {chip.title} holds {limit.value} "
                f"({need / limit.value:.2f} times); {remedy}"
            )


def _room_problems(cores: Sequence[Core], chip: Chip, chips: int) -> Iterator[str]:
    room, needed = chips * chip.cores.value, math.ceil(len(cores) / chip.cores.value)
    if len(cores) > room:
        yield (
            f"{len(cores)} cores are needed, {chips} x {chip.title} has {room} "
            f"({len(cores) / room:.2f} times); use {needed} chips, or about {room / len(cores):.0%} of the "
            f"channels{_fewer_bits(cores)}"
        )


def _fewer_bits(cores: Sequence[Core]) -> str:
    """Fewer bits help where synapses are what fills most cores."""
    full = [max(core.utilisation, key=core.utilisation.__getitem__) for core in cores]
    return ", or fewer weight bits" if full.count("synapses") * 2 > len(full) else ""
