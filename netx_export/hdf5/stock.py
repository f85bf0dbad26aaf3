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

from lava_bsnn.limits import LOIHI

from ..network import Conv, Dense, FixedPointNetwork, Input, Layer
from ..network.synapses import weight_of
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
    """Write the attributes that tell what enters, the names of the classes, and if samples are streams."""
    write_entry(file, net.input)
    if net.persistent:
        file.attrs[schema.PERSISTENT] = True
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
            wide = value.min() < LOIHI.weight_min or value.max() > LOIHI.weight_max
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
    handle.attrs["readout"] = neuron.reads_out
    put(handle, kind, values)
    _write_neuron(handle, layer)


def _write_neuron(handle: h5py.Group, layer: Layer) -> None:
    neuron: Any = layer.neuron
    values = {
        "type": "CUBA",
        "iDecay": neuron.current_decay,
        "vDecay": neuron.voltage_decay,
        "vThMant": neuron.threshold,
        "refDelay": 1,
        "gradedSpike": False,
    }
    put(handle.create_group("neuron"), "neuron", values)
