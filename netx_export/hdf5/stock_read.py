"""Reads the layout that lava-dl 0.6.0 loads, and that :mod:`netx_export.hdf5.stock` writes.

Covers what lava-dl's own CUBA and LOIHI files hold: an input layer with neurons becomes a layer
fed by :class:`~netx_export.network.BiasInput`; a dense layer without neurons, which lava-dl makes
an integrator, a readout; so does a last ``average`` layer, which then counts the spikes of each
group instead of averaging them.
"""

from __future__ import annotations

import math

import h5py
import numpy as np

from lava_bsnn.errors import NetXFormatError
from lava_bsnn.fixed_point import NO_MEMORY
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
from . import extended, schema
from .safe import attribute, integer, integers, local, long_text, text

_PAIRS = ("stride", "padding", "dilation")
_DEFAULT_TRANSFORM = (64, 0)
_READOUT = (LIMITS.threshold_max, NO_MEMORY)
_ALWAYS = {"refDelay": 1, "wgtExp": 0, "messageBits": 0}
"""Keys of a neuron that may be missing, with the one value that is supported."""


def read_network(file: h5py.File) -> FixedPointNetwork:
    """Read the groups of a file.

    Raises:
        NetXFormatError: something is missing or not supported.
    """
    layers_group = local(file, "layer", h5py.Group)
    groups = [local(layers_group, str(i), h5py.Group) for i in range(len(layers_group))]
    entry: Input | None = None
    layers: list[Layer] = []
    for index, handle in enumerate(groups):
        kind, last = text(handle, "type"), index == len(groups) - 1
        if kind == "input" and not index:
            entry = _read_input(file, handle)
            if entry.enters_as_bias:
                connection = Connection(source=INPUT, synapse=BiasInput())
                bias = np.zeros(entry.shape[0], dtype=np.int32)
                layers.append(_layer(handle, kind, (connection,), entry.shape, bias, last=False))
            continue
        if entry is None and kind in ("dense", "dense_rec"):
            entry = _graded_input(file, (integer(handle, "inFeatures"),))
        if entry is None:
            raise NetXFormatError(
                f"{handle.name}: neither an input layer with a shape nor a dense one comes first"
            )
        if kind in ("conv", "dense", "dense_rec"):
            layers.append(_read_layer(handle, kind, layers[-1].name if layers else INPUT, last=last))
        elif kind == "average" and last and layers:
            layers.append(_read_average(handle, layers[-1]))
        elif kind != "flatten":
            where = " here" if kind in ("input", "average") else ""
            raise NetXFormatError(
                f"{handle.name}: type {kind!r} is not supported{where}; use input, conv, flatten, dense"
            )
    if entry is None:
        raise NetXFormatError("no input layer with a shape; export it with lava-bsnn")
    persistent = schema.VERSION in file.attrs and _flag(file, schema.PERSISTENT)
    return FixedPointNetwork(
        input=entry, layers=tuple(layers), classes=_read_classes(file), persistent=persistent
    )


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
    shape = _shape(handle)
    if "neuron" not in handle:
        return _graded_input(file, shape)
    transform: tuple[int, int] | None = (
        integer(handle, "weight", _DEFAULT_TRANSFORM[0]),
        integer(handle, "bias", _DEFAULT_TRANSFORM[1]),
    )
    if schema.VERSION in file.attrs and "weight" not in handle:
        transform = None
    return Input(shape=shape, bits=BIAS_INPUT_BITS, signed=True, transform=transform)


def _read_layer(handle: h5py.Group, kind: str, source: str, *, last: bool) -> Layer:
    shape = _shape(handle)
    weight = integers(handle, "weight")
    name = _name(handle, kind)
    if kind == "conv":
        if weight.ndim not in (4, 5) or weight.shape[4:] not in ((), (1,)):
            raise NetXFormatError(f"{handle.name}/weight: {weight.ndim} axes; 4 are expected")
        if "delay" in handle:
            raise NetXFormatError(
                f"{handle.name}/delay: delays of a conv are not supported; lava-dl ignores them"
            )
        pairs = {key: _pair(integers(handle, key)) for key in _PAIRS}
        groups = integer(handle, "groups")
        synapse: Conv | Dense = Conv(weight=weight.reshape(weight.shape[:4]), groups=groups, **pairs)
        connections = [Connection(source=source, synapse=synapse)]
    else:
        shape = (math.prod(shape),)
        matrix = weight.reshape(shape[0], -1)
        delay = _read_delay(handle, matrix)
        connections = [Connection(source=source, synapse=Dense(weight=matrix), delay=delay)]
        if kind == "dense_rec":
            if delay is not None:
                raise NetXFormatError(f"{handle.name}/delay: delays of a recurrent layer are not supported")
            loop = integers(handle, "weight_rec").reshape(shape[0], -1)
            connections.append(Connection(source=name, synapse=Dense(weight=loop)))
    bias = integers(handle, "bias").reshape(-1) if "bias" in handle else np.zeros(shape[0], dtype=np.int32)
    return _layer(handle, kind, tuple(connections), shape, bias, last=last)


def _name(handle: h5py.Group, kind: str) -> str:
    return str(attribute(handle, "name", f"{kind}{(handle.name or '').rsplit('/', 1)[-1]}"))


def _layer(
    handle: h5py.Group,
    kind: str,
    connections: tuple[Connection, ...],
    shape: Shape,
    bias: np.ndarray,
    *,
    last: bool,
) -> Layer:
    neuron = _read_neuron(handle, bias, may_read_out=last and kind == "dense")
    return Layer(name=_name(handle, kind), connections=connections, neuron=neuron, shape=shape)


def _read_neuron(handle: h5py.Group, bias: np.ndarray, *, may_read_out: bool) -> LIF | Readout:
    if "neuron" not in handle:
        return Readout(bias=bias)  # lava-dl makes it an integrator without leak
    params = local(handle, "neuron", h5py.Group)
    kind = text(params, "type")
    if kind not in ("CUBA", "LOIHI"):
        raise NetXFormatError(f"{params.name}: neuron type {kind!r} is not supported; use CUBA")
    for key, allowed in _ALWAYS.items():
        value = integer(params, key, allowed)
        if value != allowed:
            raise NetXFormatError(f"{params.name}/{key}: {value} is not supported; use {allowed}")
    numbers = tuple(integer(params, key) for key in ("vThMant", "iDecay", "vDecay"))
    if numbers[:2] == _READOUT and attribute(handle, "readout", int(may_read_out and not numbers[2])):
        return Readout(bias=bias, voltage_decay=numbers[2])
    return LIF(threshold=numbers[0], bias=bias, current_decay=numbers[1], voltage_decay=numbers[2])


def _read_delay(handle: h5py.Group, weight: np.ndarray) -> np.ndarray | None:
    """Delays as lava-dl spreads them: one for all, one per neuron, or one per input."""
    if "delay" not in handle:
        return None
    delay = integers(handle, "delay")
    if delay.size == 1:
        return np.full(weight.shape[0], delay.reshape(-1)[0])
    if delay.shape == weight.shape[:1]:
        return delay
    if delay.shape == weight.shape[1:]:
        return delay.reshape(1, -1)
    raise NetXFormatError(f"{handle.name}/delay: shape {delay.shape} does not fit weights {weight.shape}")


def _read_average(handle: h5py.Group, before: Layer) -> Layer:
    groups, neurons = math.prod(_shape(handle)), math.prod(before.shape)
    if neurons % groups:
        raise NetXFormatError(f"{handle.name}: {neurons} neurons cannot be averaged in {groups} groups")
    weight = np.kron(np.eye(groups, dtype=np.int32), np.ones(neurons // groups, dtype=np.int32))
    connection = Connection(source=before.name, synapse=Dense(weight=weight))
    readout = Readout(bias=np.zeros(groups, dtype=np.int32))
    return Layer(name=_name(handle, "average"), connections=(connection,), neuron=readout, shape=(groups,))


def _pair(values: np.ndarray) -> tuple[int, int]:
    if values.size not in (1, 2):
        raise NetXFormatError(f"{values.size} values for height and width; one or two are expected")
    flat = values.reshape(-1)
    return (int(flat[0]), int(flat[-1]))


def _shape(group: h5py.Group) -> Shape:
    stored = integers(group, "shape")
    values = tuple(int(v) for v in stored.reshape(-1)[:4])
    if len(values) not in (1, 3) or min(values) < 1:
        raise NetXFormatError(f"{group.name}/shape: {values} is not allowed; use (C, H, W) or (C,)")
    return values
