"""Reads the layout that lava-dl 0.6.0 loads, and that :mod:`netx_export.hdf5.stock` writes.

Covers what lava-dl's own CUBA and LOIHI files hold: an input layer with neurons becomes a layer
fed by :class:`~netx_export.network.BiasInput`; neurons whose threshold is out of reach, or a dense layer
without neurons, a readout; so does a last ``average`` layer, which then counts the spikes of each
group instead of averaging them.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, cast

import h5py
import numpy as np

from lava_bsnn.errors import ExportError, NetXFormatError
from lava_bsnn.fixed_point import ALIGN_BITS
from lava_bsnn.limits import BIAS_INPUT_BITS, LIMITS

from ..network import (
    INPUT,
    LIF,
    BiasInput,
    Connection,
    Conv,
    Dense,
    FixedPointNetwork,
    Input,
    Layer,
    Readout,
    Shape,
)
from ..network.checks import neuron_bound
from . import extended, schema
from .notes import Notes
from .safe import attribute, integer, local, long_text, text
from .stock_layers import name_of, output_delay, read_layer, read_neuron, shape_of

_DEFAULT_TRANSFORM = (64, 0)
_DENSE = ("dense", "dense_rec")


def read_network(file: h5py.File, input_shape: Shape | None) -> tuple[FixedPointNetwork, tuple[str, ...]]:
    """Read the groups of a file; also give remarks on what lava-dl would do otherwise.

    A network that profile ``"stock"`` cannot hold is one in profile ``"extended"``, except in our own files.

    Args:
        file: open.
        input_shape: ``(C, H, W)`` or ``(C,)`` of what enters, for files that do not say it.

    Raises:
        NetXFormatError: something is missing or not supported.
        ExportError: neither profile holds the network.
    """
    notes = Notes(ours=schema.VERSION in file.attrs)
    layers_group = local(file, "layer", h5py.Group)
    groups = [local(layers_group, str(i), h5py.Group) for i in range(len(layers_group))]
    entry: Input | None = None
    layers: list[Layer] = []
    late: np.ndarray | None = None
    for index, handle in enumerate(groups):
        kind, last = text(handle, "type"), index == len(groups) - 1
        if kind == "input" and entry is None:
            entry = _read_input(file, handle)
            if entry.enters_as_bias:
                layers.append(_input_neurons(handle, entry, notes))
            continue
        if kind in ("conv", *_DENSE):
            source = layers[-1].name if layers else INPUT
            layers.append(read_layer(handle, kind, source, notes, last=last, late=late))
            entry = entry or _graded_input(file, _first_shape(handle, layers[-1], input_shape))
            late = output_delay(handle, kind, layers[-1], notes, last=last)
        elif kind == "average" and last and layers:
            layers.append(_read_average(handle, layers[-1], late))
        elif kind != "flatten":
            where = " here" if kind in ("input", "average") else ""
            raise NetXFormatError(
                f"{handle.name}: type {kind!r} is not supported{where}; use input, conv, flatten, dense or "
                "dense_rec"
            )
    if entry is None:
        raise NetXFormatError("no input, conv or dense layer; export it with lava-bsnn")
    net = _network(
        notes,
        input=entry,
        layers=tuple(layers),
        classes=_read_classes(file),
        persistent=notes.ours and _flag(file, schema.PERSISTENT),
    )
    return net, notes.lines()


def _network(notes: Notes, **parts: Any) -> FixedPointNetwork:
    """The network in profile ``"stock"`` if that holds it, as in our own files; else in ``"extended"``."""
    if not notes.beyond_stock:
        try:
            return FixedPointNetwork(**parts)
        except ExportError as error:
            if notes.ours:
                raise
            why = str(error)
    may_wrap = [(layer, replace(cast(Any, layer.neuron), wraps=True)) for layer in parts["layers"]]
    parts["layers"] = tuple(replace(layer, neuron=neuron) for layer, neuron in may_wrap)
    net = _wrapping(FixedPointNetwork(**parts, profile="extended"), notes)
    if not notes.beyond_stock:
        notes.add("network", f"read in profile 'extended', since in 'stock' {why}")
    return net


def _wrapping(net: FixedPointNetwork, notes: Notes) -> FixedPointNetwork:
    """A network whose currents may all wrap, with those that do so only where 24 bits do not hold a step.

    Neurons of the highest threshold of 17 bits are no readout where a single step could make them fire.
    """
    layers = []
    for layer in net.layers:
        neuron: Any = layer.neuron
        neuron = replace(neuron, wraps=int(neuron_bound(net, layer).max()) > LIMITS.potential_max)
        if neuron.wraps:
            notes.add(
                layer.name, "currents beyond 24 bits wrap, as in lava-dl; use smaller weights to avoid it"
            )
            if neuron.reads_out and neuron.threshold == LIMITS.threshold_max:
                values = {field.name: getattr(neuron, field.name) for field in fields(neuron)}
                values["threshold"] <<= ALIGN_BITS - neuron.exponent
                neuron = LIF(**values)
        layers.append(replace(layer, neuron=neuron))
    return replace(net, layers=tuple(layers))


def _first_shape(handle: h5py.Group, layer: Layer, input_shape: Shape | None) -> Shape:
    """Shape of what enters the first layer of a file without input layer."""
    synapse = layer.connections[0].synapse
    if isinstance(synapse, Dense):
        features = synapse.weight.shape[1]
        return input_shape if input_shape and math.prod(input_shape) == features else (features,)
    if input_shape is not None:
        return input_shape
    assert isinstance(synapse, Conv)
    least = [
        stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * padding
        for size, kernel, stride, padding, dilation in zip(
            layer.shape[1:],
            synapse.weight.shape[2:],
            synapse.stride,
            synapse.padding,
            synapse.dilation,
            strict=True,
        )
    ]
    channels = synapse.weight.shape[1] * synapse.groups
    if synapse.stride != (1, 1):
        ranges = (f"{low}..{low + stride - 1}" for low, stride in zip(least, synapse.stride, strict=True))
        raise NetXFormatError(
            f"{handle.name}: the file does not say the shape of its input, {channels} x "
            f"{' x '.join(ranges)}; give input_shape=(C, H, W)"
        )
    return (channels, *least)


def _graded_input(file: h5py.File, shape: Shape) -> Input:
    """Input of spikes or messages."""
    bits = attribute(file, "input_message_bits", 0)
    if schema.VERSION not in file.attrs and schema.BY_BLOCKS not in file.attrs:
        return Input(shape=shape, bits=bits)
    coded = long_text(file, schema.ENCODING, schema.MAX_STRUCTURE)
    where = f"attribute {schema.ENCODING}"
    encoding = None if coded is None else extended.read_encoding(coded, where)
    return Input(shape=shape, bits=bits, signed=_flag(file, schema.SIGNED), encoding=encoding)


def _flag(file: h5py.File, name: str) -> bool:
    value = attribute(file, name, 0)
    if value not in (0, 1):
        raise NetXFormatError(f"attribute {name}: {str(value)[:40]!r} is not allowed; use 0 or 1")
    return bool(value)


def _read_classes(file: h5py.File) -> tuple[str, ...]:
    names = None
    if schema.VERSION in file.attrs:
        names = long_text(file, schema.CLASSES, schema.MAX_STRUCTURE)
    return () if names is None else extended.read_classes(names, f"attribute {schema.CLASSES}")


def _read_input(file: h5py.File, handle: h5py.Group) -> Input:
    shape = shape_of(handle)
    if "neuron" not in handle:
        return _graded_input(file, shape)
    transform: tuple[int, int] | None = (
        integer(handle, "weight", _DEFAULT_TRANSFORM[0]),
        integer(handle, "bias", _DEFAULT_TRANSFORM[1]),
    )
    if schema.VERSION in file.attrs and "weight" not in handle:
        transform = None
    return Input(shape=shape, bits=BIAS_INPUT_BITS, signed=True, transform=transform)


def _input_neurons(handle: h5py.Group, entry: Input, notes: Notes) -> Layer:
    name, bias = name_of(handle, "input"), np.zeros(entry.shape[0], dtype=np.int32)
    neuron = read_neuron(handle, name, entry.shape, bias, notes, may_read_out=False)
    if not neuron.exponent:  # the input is in weight steps
        raise NetXFormatError(
            f"{handle.name}/neuron/vThMant: of an input layer, all or none may be beyond 17 bits"
        )
    connection = Connection(source=INPUT, synapse=BiasInput())
    return Layer(name=name, connections=(connection,), neuron=neuron, shape=entry.shape)


def _read_average(handle: h5py.Group, before: Layer, late: np.ndarray | None) -> Layer:
    groups, neurons = math.prod(shape_of(handle)), math.prod(before.shape)
    if neurons % groups:
        raise NetXFormatError(f"{handle.name}: {neurons} neurons cannot be averaged in {groups} groups")
    weight = np.kron(np.eye(groups, dtype=np.int32), np.ones(neurons // groups, dtype=np.int32))
    delay = None if late is None else np.repeat(late, neurons // len(late)).reshape(1, -1)
    connection = Connection(source=before.name, synapse=Dense(weight=weight), delay=delay)
    readout = Readout(bias=np.zeros(groups, dtype=np.int32))
    return Layer(name=name_of(handle, "average"), connections=(connection,), neuron=readout, shape=(groups,))
