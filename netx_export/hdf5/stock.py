"""The layout that ``lava.lib.dl.netx.hdf5.Network`` of lava-dl 0.6.0 loads.

Group ``layer`` with one group per layer, numbered from 0; :data:`netx_export.hdf5.schema.STOCK` has
the keys. Numbers are stored as integers, so readers that truncate lose nothing. What stock
readers do not know stands in attributes.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from .. import limits
from ..network import (
    INPUT,
    Connection,
    Conv,
    Dense,
    FixedPointNetwork,
    Input,
    Layer,
    Readout,
)
from ..neurons import MultiThreshold
from ..synapses import BiasInput, weight_of
from . import extended, schema

_PAIRS = ("stride", "padding", "dilation")


def write_network(file: h5py.File, net: FixedPointNetwork) -> None:
    """Write the groups of a network in profile ``"stock"``."""
    layers = file.create_group("layer")

    def group() -> h5py.Group:
        return layers.create_group(str(len(layers)))

    entry, first = net.input, net.layers[0]
    values: dict[str, Any] = {"type": "input", "shape": entry.shape}
    if entry.transform is not None:
        values["weight"], values["bias"] = ([value] for value in entry.transform)
    handle = group()
    put(handle, "input", values)
    if entry.enters_as_bias:
        handle.attrs["name"] = np.bytes_(first.name)
        _write_neuron(handle, first)
    shape = entry.shape
    for layer in net.layers[entry.enters_as_bias :]:
        synapse = layer.connections[0].synapse
        if isinstance(synapse, Dense) and len(shape) == 3:
            put(group(), "flatten", {"type": "flatten", "shape": [math.prod(shape), 1, 1]})
        write_layer(group(), layer)
        shape = layer.shape


def write_input(file: h5py.File, net: FixedPointNetwork) -> None:
    """Write the attributes that tell what enters, and the names of the classes."""
    write_entry(file, net.input)
    if net.classes:
        file.attrs[schema.CLASSES] = np.bytes_(extended.as_text(list(net.classes)))


def write_entry(file: h5py.File, entry: Input) -> None:
    """Write the attributes that tell what enters."""
    file.attrs["input_message_bits"] = 0 if entry.enters_as_bias else entry.bits
    if entry.signed and not entry.enters_as_bias:
        file.attrs[schema.SIGNED] = True
    if entry.encoding is not None:
        file.attrs[schema.ENCODING] = np.bytes_(extended.encoding_text(entry.encoding))


def put(handle: h5py.Group, kind: str, values: dict[str, Any]) -> None:
    """Write the keys of a layer kind that have a value, in the schema's order."""
    for key in schema.STOCK[kind]:
        if key.name not in values:
            continue
        value = values[key.name]
        if key.name == "weight" and kind != "input":
            wide = value.min() < limits.WEIGHT_MIN or value.max() > limits.WEIGHT_MAX
            dtype = "int16" if wide else key.dtype
            handle.create_dataset("weight", data=value.astype(dtype), compression="gzip", compression_opts=9)
        elif key.dtype == "S":
            handle[key.name] = np.bytes_(value)  # a variable-length string would cost 4 KiB
        elif key.dtype == "bool":
            handle[key.name] = bool(value)
        else:
            handle[key.name] = np.array([value] if key.dtype == "S10" else value, dtype=key.dtype)


def write_layer(handle: h5py.Group, layer: Layer) -> None:
    """Write one conv or dense layer into its group."""
    synapse, neuron = layer.connections[0].synapse, layer.neuron
    assert isinstance(synapse, (Conv, Dense)) and isinstance(neuron.bias, np.ndarray)
    kind = "conv" if isinstance(synapse, Conv) else "dense"
    values: dict[str, Any] = {
        "type": kind,
        "shape": layer.shape,
        "weight": synapse.weight,
        "bias": neuron.bias,
    }
    if isinstance(synapse, Conv):
        out_channels, in_channels, *kernel = synapse.weight.shape
        values |= {"inChannels": in_channels * synapse.groups, "outChannels": out_channels}
        values |= {"kernelSize": kernel, "groups": synapse.groups}
        values |= {key: getattr(synapse, key) for key in _PAIRS}
    else:
        values["outFeatures"], values["inFeatures"] = synapse.weight.shape
        for connection in layer.connections:
            if connection.source == layer.name:
                values |= {"type": "dense_rec", "weight_rec": weight_of(connection.synapse)}
            elif connection.delay is not None:
                values["delay"] = connection.delay.reshape(-1)
    put(handle, kind, {"type": values.pop("type")})
    handle.attrs["name"] = np.bytes_(layer.name)
    handle.attrs["readout"] = isinstance(neuron, Readout)
    put(handle, kind, values)
    _write_neuron(handle, layer)


def _write_neuron(handle: h5py.Group, layer: Layer) -> None:
    neuron = layer.neuron
    assert not isinstance(neuron, MultiThreshold)
    values = {
        "type": "CUBA",
        "iDecay": neuron.current_decay,
        "vDecay": neuron.voltage_decay,
        "vThMant": neuron.threshold,
        "refDelay": 1,
        "gradedSpike": False,
    }
    put(handle.create_group("neuron"), "neuron", values)


def stock_problems(net: FixedPointNetwork) -> list[str]:
    """Reasons why unmodified lava-dl 0.6.0 would refuse the network or compute it differently."""
    problems = []
    previous = INPUT
    for layer in net.layers:
        first, *others = layer.connections
        loops = [c for c in others if c.source == layer.name and isinstance(c.synapse, Dense)]
        if first.source != previous or len(loops) != len(others) or len(loops) > 1:
            problems.append(f"{layer.name}: stock lava-dl builds chains only; remove the skip connection")
            continue
        if isinstance(first.synapse, BiasInput) and np.any(layer.neuron.bias):
            problems.append(
                f"{layer.name}: an input layer of stock lava-dl has no bias beside its input; use 0"
            )
        problems += _weight_problems(net, layer, loops)
        previous = layer.name
    return problems


def _weight_problems(net: FixedPointNetwork, layer: Layer, loops: list[Connection]) -> list[str]:
    problems = []
    first = layer.connections[0]
    if isinstance(first.synapse, Dense):
        weights = [weight for c in (first, *loops) if (weight := weight_of(c.synapse)) is not None]
        low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
        if low == high == 0:
            problems.append(f"{layer.name}: all weights are zero; stock lava-dl refuses the layer")
        elif high <= 0 and -low & (-low - 1) == 0:
            problems.append(
                f"{layer.name}: no weight is positive and the lowest, {low}, is a power of two; "
                "stock lava-dl clips it; change it by one"
            )
        if loops and any(connection.delay is not None for connection in layer.connections):
            problems.append(f"{layer.name}: delays of a recurrent layer; stock lava-dl mixes them up")
        delay, shape = first.delay, first.synapse.weight.shape
        if delay is not None and delay.ndim == 2 and shape[0] == shape[1]:
            problems.append(f"{layer.name}: delays of inputs; stock lava-dl takes them for those of neurons")
    elif layer.name == net.output.name and isinstance(layer.neuron, Readout):
        problems.append(f"{layer.name}: a readout must be dense; use block.Readout")
    return problems
