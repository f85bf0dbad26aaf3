"""NetX HDF5: the file that ``lava.lib.dl.netx.hdf5.Network`` of lava-dl 0.6.0 loads.

Layout: group ``layer`` with one group per layer, numbered from 0: first ``input`` with the
shape, then ``conv``, ``flatten``, ``dense``. Numbers are stored as integers, so readers that
truncate lose nothing. What stock readers do not know stands in attributes of the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lava_bsnn.errors import ExportError, LavaBsnnError, NetXFormatError
from lava_bsnn.files import atomic_path
from lava_bsnn.fixed_point import NO_MEMORY

from . import limits
from .network import (
    INPUT,
    LIF,
    Connection,
    Conv,
    Dense,
    FixedPointNetwork,
    Input,
    Layer,
    MultiThreshold,
    Readout,
    Shape,
)

SCHEMA_VERSION = 1
"""Version of the file attributes; readers refuse newer ones."""
_MAX_ELEMENTS = 1 << 28
_PAIRS = ("stride", "padding", "dilation")


def write(net: FixedPointNetwork, path: str | os.PathLike[str]) -> None:
    """Write the network; the file is complete or not there.

    Raises:
        ExportError: stock lava-dl would not compute this network exactly; every reason is listed.
        LavaBsnnError: the folder does not exist.
    """
    if net.profile != "stock":
        raise ExportError(f"profile {net.profile!r} cannot be written yet; use 'stock'")
    problems = stock_problems(net)
    if problems:
        raise ExportError("; ".join(problems))
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["lava_bsnn_schema"] = SCHEMA_VERSION
        file.attrs["profile"] = np.bytes_(net.profile)
        file.attrs["input_message_bits"] = net.input.bits
        file.attrs["digest"] = np.bytes_(net.digest())
        layers = file.create_group("layer")

        def group(kind: str) -> h5py.Group:
            handle = layers.create_group(str(len(layers)))
            handle["type"] = np.array([kind.encode()], dtype="S10")
            return handle

        entry = group("input")
        entry["shape"] = np.array(net.input.shape, dtype=np.int32)
        shape = net.input.shape
        for layer in net.layers:
            synapse = layer.connections[0].synapse
            if isinstance(synapse, Dense) and len(shape) == 3:
                group("flatten")["shape"] = np.array([np.prod(shape), 1, 1], dtype=np.int32)
            _write_layer(group("conv" if isinstance(synapse, Conv) else "dense"), layer)
            shape = layer.shape


def _write_layer(handle: h5py.Group, layer: Layer) -> None:
    synapse, neuron = layer.connections[0].synapse, layer.neuron
    assert isinstance(synapse, (Conv, Dense)) and not isinstance(neuron, MultiThreshold)
    handle.attrs["name"] = np.bytes_(layer.name)
    handle.attrs["readout"] = isinstance(neuron, Readout)
    handle["shape"] = np.array(layer.shape, dtype=np.int32)
    if isinstance(synapse, Conv):
        out_channels, in_channels, *kernel = synapse.weight.shape
        handle["inChannels"] = in_channels * synapse.groups
        handle["outChannels"] = out_channels
        handle["kernelSize"] = np.array(kernel, dtype=np.int32)
        for key in _PAIRS:
            handle[key] = np.array(getattr(synapse, key), dtype=np.int32)
        handle["groups"] = synapse.groups
    else:
        handle["outFeatures"], handle["inFeatures"] = synapse.weight.shape
    handle.create_dataset(
        "weight", data=synapse.weight.astype(np.int8), compression="gzip", compression_opts=9
    )
    handle["bias"] = np.asarray(neuron.bias).astype(np.int16)
    params = handle.create_group("neuron")
    params["type"] = np.bytes_("CUBA")  # a variable-length string would cost 4 KiB
    params["iDecay"] = neuron.current_decay
    params["vDecay"] = neuron.voltage_decay
    params["vThMant"] = neuron.threshold
    params["refDelay"] = 1
    params["gradedSpike"] = False


def stock_problems(net: FixedPointNetwork) -> list[str]:
    """Reasons why unmodified lava-dl 0.6.0 would refuse the network or compute it differently."""
    problems = []
    previous = INPUT
    for layer in net.layers:
        if len(layer.connections) != 1 or layer.connections[0].source != previous:
            problems.append(f"{layer.name}: stock lava-dl builds chains only; remove the skip connection")
            continue
        synapse = layer.connections[0].synapse
        if isinstance(synapse, Dense):
            low, high = int(synapse.weight.min()), int(synapse.weight.max())
            if low == high == 0:
                problems.append(f"{layer.name}: all weights are zero; stock lava-dl refuses the layer")
            elif high <= 0 and -low & (-low - 1) == 0:
                problems.append(
                    f"{layer.name}: no weight is positive and the lowest, {low}, is a power of two; "
                    "stock lava-dl clips it; change it by one"
                )
        elif layer.name == net.output.name and isinstance(layer.neuron, Readout):
            problems.append(f"{layer.name}: a readout must be dense; use block.Readout")
        previous = layer.name
    return problems


def read(path: str | os.PathLike[str]) -> FixedPointNetwork:
    """Read a file of :func:`write`.

    Raises:
        NetXFormatError: not a NetX file, damaged, or outside what this version reads.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        what = "is not a file" if Path(name).exists() else "no such file"
        raise NetXFormatError(f"{name}: {what}; give the path of a .net file")
    try:
        with h5py.File(name, "r") as file:
            net = _read_network(file)
            digest = file.attrs.get("digest")
    except LavaBsnnError as error:
        raise NetXFormatError(f"{name}: {error}") from error
    except PermissionError as error:
        raise NetXFormatError(f"{name}: permission denied; make it readable") from error
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NetXFormatError(f"{name}: not a readable NetX HDF5 file ({detail}); export it again") from error
    if digest is not None and _attr_text(digest) != net.digest():
        raise NetXFormatError(
            f"{name}: content does not match its digest; the file is damaged, export it again"
        )
    return net


def _read_network(file: h5py.File) -> FixedPointNetwork:
    version = file.attrs.get("lava_bsnn_schema", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise NetXFormatError(f"schema {version} is not known; this version reads {SCHEMA_VERSION}")
    layers_group = _local(file, "layer", h5py.Group)
    groups = [_local(layers_group, str(i), h5py.Group) for i in range(len(layers_group))]
    bits = int(file.attrs.get("input_message_bits", 0))
    entry: Input | None = None
    layers: list[Layer] = []
    for index, handle in enumerate(groups):
        kind = _text(handle, "type")
        if kind == "input":
            if index or "neuron" in handle:
                raise NetXFormatError(
                    f"{handle.name}: an input layer with neurons or in the middle is not supported yet"
                )
            entry = Input(shape=_shape(handle), bits=bits)
        elif kind in ("conv", "dense"):
            if entry is None:
                raise NetXFormatError("no input layer with a shape; export it with lava-bsnn")
            source = layers[-1].name if layers else INPUT
            layers.append(_read_layer(handle, kind, source, last=index == len(groups) - 1))
        elif kind != "flatten":
            raise NetXFormatError(
                f"{handle.name}: type {kind!r} is not supported; use input, conv, flatten, dense"
            )
    if entry is None:
        raise NetXFormatError("no input layer with a shape; export it with lava-bsnn")
    profile = _attr_text(file.attrs.get("profile", "stock"))
    return FixedPointNetwork(input=entry, layers=tuple(layers), profile=profile)


def _read_layer(handle: h5py.Group, kind: str, source: str, *, last: bool) -> Layer:
    shape = _shape(handle)
    weight = _array(handle, "weight")
    if kind == "conv":
        if weight.ndim != 4:
            raise NetXFormatError(f"{handle.name}/weight: {weight.ndim} axes; 4 are expected")
        pairs = {key: _pair(_array(handle, key)) for key in _PAIRS}
        synapse: Conv | Dense = Conv(weight=weight, groups=_integer(handle, "groups"), **pairs)
    else:
        shape = (int(np.prod(shape)),)
        synapse = Dense(weight=weight.reshape(shape[0], -1))
    params = _local(handle, "neuron", h5py.Group)
    neuron_type = _text(params, "type")
    if neuron_type not in ("CUBA", "LOIHI"):
        raise NetXFormatError(f"{params.name}: neuron type {neuron_type!r} is not supported; use CUBA")
    bias = _array(handle, "bias") if "bias" in handle else np.zeros(shape[0], dtype=np.int32)
    threshold, current_decay, voltage_decay = (
        _integer(params, key) for key in ("vThMant", "iDecay", "vDecay")
    )
    reads_out = (threshold, current_decay, voltage_decay) == (limits.THRESHOLD_MAX, NO_MEMORY, 0)
    neuron: LIF | Readout
    if reads_out and handle.attrs.get("readout", last and kind == "dense"):
        neuron = Readout(bias=bias)
    else:
        neuron = LIF(threshold=threshold, bias=bias, current_decay=current_decay, voltage_decay=voltage_decay)
    return Layer(
        name=_attr_text(handle.attrs.get("name", f"{kind}{(handle.name or '').rsplit('/', 1)[-1]}")),
        connections=(Connection(source=source, synapse=synapse),),
        neuron=neuron,
        shape=shape,
    )


def _local(group: h5py.Group, key: str, kind: type) -> Any:
    """An item of the group itself: links out of it are not followed."""
    link = group.get(key, getlink=True)
    if link is None:
        raise NetXFormatError(f"{group.name.rstrip('/')}/{key} is missing; export the file again")
    if not isinstance(link, h5py.HardLink):
        raise NetXFormatError(f"{group.name.rstrip('/')}/{key} is a link; links are not followed")
    item = group[key]
    if not isinstance(item, kind):
        raise NetXFormatError(f"{item.name} is not a {kind.__name__.lower()}")
    return item


def _array(group: h5py.Group, key: str) -> np.ndarray:
    dataset = _local(group, key, h5py.Dataset)
    if dataset.size is None or dataset.size > _MAX_ELEMENTS:
        raise NetXFormatError(f"{dataset.name}: {dataset.size} elements; at most {_MAX_ELEMENTS} are allowed")
    if dataset.dtype.kind not in "iuf" or dataset.is_virtual or dataset.external:
        raise NetXFormatError(f"{dataset.name}: {dataset.dtype} is not allowed; use plain numbers")
    values = np.asarray(dataset[()])
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (np.rint(values) == values).all()):
        raise NetXFormatError(f"{dataset.name}: values that are not integers; round before export")
    if values.size and (values.min() < -(1 << 31) or values.max() >= 1 << 31):
        raise NetXFormatError(f"{dataset.name}: values beyond 32 bits; export the file again")
    return values.astype(np.int32)


def _integer(group: h5py.Group, key: str) -> int:
    values = _array(group, key)
    if values.size != 1:
        raise NetXFormatError(f"{group.name}/{key}: {values.size} values; one is expected")
    return int(values.reshape(())[()])


def _pair(values: np.ndarray) -> tuple[int, int]:
    if values.size not in (1, 2):
        raise NetXFormatError(f"{values.size} values for height and width; one or two are expected")
    flat = values.reshape(-1)
    return (int(flat[0]), int(flat[-1]))


def _shape(group: h5py.Group) -> Shape:
    values = tuple(int(v) for v in _array(group, "shape").reshape(-1))
    if len(values) not in (1, 2, 3) or min(values) < 1:
        raise NetXFormatError(f"{group.name}/shape: {values} is not allowed; use (C, H, W) or (C,)")
    return values


def _text(group: h5py.Group, key: str) -> str:
    dataset = _local(group, key, h5py.Dataset)
    if dataset.size != 1 or dataset.dtype.kind not in "SO":
        raise NetXFormatError(f"{dataset.name}: one string is expected")
    return _attr_text(np.asarray(dataset[()]).reshape(-1)[0])


def _attr_text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
