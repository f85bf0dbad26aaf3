"""Layers of the layout that lava-dl 0.6.0 loads: synapses, delays and neurons of one group.

The numbers are those of the file. What lava-dl cuts off or ignores, because its integers or its processes do
not hold it, is cut off or ignored here, too, and noted.
"""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from lava_bsnn.errors import NetXFormatError
from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY
from lava_bsnn.limits import LIMITS

from ..network import LIF, Connection, Conv, Dense, Layer, Readout, Shape
from .notes import Notes
from .safe import MAX_ELEMENTS, attribute, integer, integers, local, raw, text

_PAIRS = ("stride", "padding", "dilation")
_DENSE_LEAST, _DENSE_MOST = -256, 254
"""Weights of a dense layer that lava-dl computes, of both signs; of one sign, up to 255."""
_IGNORED = {"refDelay": 1, "wgtExp": 0, "weight_exp": 0, "gradedSpike": 0}
"""Keys of a neuron that lava-dl does not look at, with the value that means the same."""
_INTEGRATOR = {"threshold": LIMITS.threshold_max + 1, "current_decay": 0, "voltage_decay": NO_MEMORY}
"""What lava-dl makes of a dense layer without neurons: its current adds up, and no threshold is reached."""


def read_layer(
    handle: h5py.Group, kind: str, source: str, notes: Notes, *, last: bool, late: np.ndarray | None = None
) -> Layer:
    """Read a ``conv``, ``dense`` or ``dense_rec`` group, fed by the layer ``source``.

    ``late`` are steps by which messages of ``source`` come later, per channel.

    Raises:
        NetXFormatError: something is missing or not supported.
    """
    name, shape = name_of(handle, kind), shape_of(handle)
    if kind != "conv":
        shape = (math.prod(shape),)
    bias = _bias(handle, name, shape, notes)
    neuron = read_neuron(handle, name, shape, bias, notes, may_read_out=last and kind == "dense")
    weight = _whole(handle, "weight", name, notes)
    if kind == "conv":
        connections = _conv(handle, weight, source, late)
    else:
        matrix, loops = weight.reshape(shape[0], -1), kind == "dense_rec"
        delay = None if loops or "delay" not in handle else _spread(handle, matrix, name, notes)
        if late is not None:
            inputs = np.repeat(late, matrix.shape[1] // len(late)).reshape(1, -1)
            delay = inputs if delay is None else inputs + (delay[:, None] if delay.ndim == 1 else delay)
        if delay is not None and not delay.any():
            delay = None
        connections = _dense(matrix, delay, source, name, notes)
        ends = [matrix.min(), matrix.max()]
        if loops:
            loop = _whole(handle, "weight_rec", name, notes).reshape(shape[0], -1)
            connections.append(Connection(source=name, synapse=Dense(weight=loop)))
            ends += [loop.min(), loop.max()]
        low, high = int(min(ends)), int(max(ends))
        if low < _DENSE_LEAST or high > _DENSE_MOST + (low >= 0):
            notes.add(
                name, f"weights {low}..{high} are those of the file; lava-dl clips them, or computes zeros"
            )
    return Layer(name=name, connections=tuple(connections), neuron=neuron, shape=shape)


def _conv(handle: h5py.Group, weight: np.ndarray, source: str, late: np.ndarray | None) -> list[Connection]:
    if weight.ndim not in (4, 5) or weight.shape[4:] not in ((), (1,)):
        raise NetXFormatError(f"{handle.name}/weight: {weight.ndim} axes; 4 are expected")
    pairs = {key: _pair(integers(handle, key)) for key in _PAIRS}
    synapse = Conv(weight=weight.reshape(weight.shape[:4]), groups=integer(handle, "groups"), **pairs)
    return [Connection(source=source, synapse=synapse, delay=None if late is None else late.reshape(1, -1))]


def _dense(
    weight: np.ndarray, delay: np.ndarray | None, source: str, name: str, notes: Notes
) -> list[Connection]:
    if delay is None or delay.shape != weight.shape:
        return [Connection(source=source, synapse=Dense(weight=weight), delay=delay)]
    if (delay == delay[:, :1]).all():
        return [Connection(source=source, synapse=Dense(weight=weight), delay=delay[:, 0])]
    every = np.unique(delay)
    if len(every) * weight.size > MAX_ELEMENTS:
        raise NetXFormatError(
            f"{name}: {len(every) * weight.size} elements; at most {MAX_ELEMENTS} are allowed"
        )
    notes.add(name, "a delay per synapse is a connection per delay here", beyond_stock=True)
    return [
        Connection(
            source=source,
            synapse=Dense(weight=np.where(delay == steps, weight, 0)),
            delay=np.full(len(weight), steps),
        )
        for steps in every
    ]


def output_delay(
    handle: h5py.Group, kind: str, layer: Layer, notes: Notes, *, last: bool
) -> np.ndarray | None:
    """Steps ``[C]`` by which SLAYER trains spikes of a conv or a recurrent layer to reach the next one later.

    lava-dl ignores those of a conv, and applies those of a recurrent layer to its input and its feedback.
    """
    if kind == "dense" or "delay" not in handle:
        return None
    delay = _delays(handle, layer.name, notes).reshape(-1)
    if delay.size not in (1, layer.shape[0]):
        raise NetXFormatError(f"{handle.name}/delay: {delay.size} values; use one per channel")
    if not delay.any():
        return None
    notes.add(
        layer.name,
        "delays are left out, they move its output only; lava-dl computes something else"
        if last
        else "delays count as in SLAYER; lava-dl computes something else",
        beyond_stock=True,
    )
    return np.broadcast_to(delay, layer.shape[:1])


def _spread(handle: h5py.Group, weight: np.ndarray, name: str, notes: Notes) -> np.ndarray:
    """Delays as lava-dl spreads them: one for all, one per neuron, one per input, or one per synapse."""
    delay = _delays(handle, name, notes)
    if delay.size == 1:
        return np.full(weight.shape[0], delay.reshape(-1)[0])
    if delay.shape in (weight.shape[:1], weight.shape):
        return delay
    if delay.shape == weight.shape[1:]:
        return delay.reshape(1, -1)
    raise NetXFormatError(f"{handle.name}/delay: shape {delay.shape} does not fit weights {weight.shape}")


def _delays(handle: h5py.Group, name: str, notes: Notes) -> np.ndarray:
    delay, most = _whole(handle, "delay", name, notes), LIMITS.delay_max
    if delay.size and delay.max() > most:
        notes.add(name, f"delays beyond {most} become {most}, as in lava-dl")
    return delay.clip(max=most)


def _bias(handle: h5py.Group, name: str, shape: Shape, notes: Notes) -> np.ndarray:
    """Biases, one per channel or neuron."""
    if "bias" not in handle:
        return np.zeros(shape[0], dtype=np.int32)
    bias = _whole(handle, "bias", name, notes)
    held = bias.astype(np.int16).astype(np.int32)
    if (held != bias).any():
        notes.add(name, "biases beyond 16 bits wrap, as in lava-dl")
    bias = _values(held, shape)
    return np.full(shape[0], bias) if isinstance(bias, int) else bias


def read_neuron(
    handle: h5py.Group, name: str, shape: Shape, bias: np.ndarray, notes: Notes, *, may_read_out: bool
) -> LIF | Readout:
    """The neurons of a group.

    Raises:
        NetXFormatError: they are not those of CUBA or LOIHI.
    """
    if "neuron" not in handle:
        return Readout(**_scaled(name, notes, bias) | _INTEGRATOR)
    params = local(handle, "neuron", h5py.Group)
    kind = text(params, "type")
    if kind not in ("CUBA", "LOIHI"):
        raise NetXFormatError(
            f"{params.name}: neuron type {kind!r} is not supported; use CUBA (slayer.block.cuba), or leave "
            "the file to lava-dl"
        )
    bits = integer(params, "messageBits", 0)
    if bits:
        raise NetXFormatError(f"{params.name}/messageBits: {bits} is not supported; use 0")
    for key, same in _IGNORED.items():
        if key not in params or (values := raw(params, key, "iufb")).size == (values == same).sum():
            continue
        if notes.ours:
            raise NetXFormatError(f"{params.name}/{key}: {values} is not supported; use {same}")
        notes.add(name, f"{key} is ignored, as lava-dl does")
    threshold, *decays = (_values(integers(params, key), shape) for key in ("vThMant", "iDecay", "vDecay"))
    top, forgets = LIMITS.threshold_max, bool(np.all(decays[0] == NO_MEMORY))
    default = int(may_read_out and not np.any(decays[1]))
    reads_out = np.all(threshold == top) and forgets and attribute(handle, "readout", default)
    decay = {"current_decay": decays[0], "voltage_decay": decays[1]}
    if reads_out or np.min(threshold) > top:
        return Readout(**_scaled(name, notes, bias) | {"threshold": int(np.min(threshold))} | decay)
    return LIF(**_scaled(name, notes, bias, threshold) | decay)


def _scaled(name: str, notes: Notes, bias: np.ndarray, threshold: Any = 0) -> dict[str, Any]:
    """Bias and threshold as mantissas, or in membrane steps if these do not hold them."""
    low, high = int(bias.min()), int(bias.max())
    fits = LIMITS.bias_min <= low and high <= LIMITS.bias_max
    if not fits:
        notes.add(name, f"biases {low}..{high} are those of lava-dl; Loihi holds 13 bits", beyond_stock=True)
    fields = {"bias": bias, "threshold": threshold}
    if fits and np.max(threshold) <= LIMITS.threshold_max:
        return fields
    steps = {key: np.asarray(value) << ALIGN_BITS for key, value in fields.items()}
    steps["threshold"] = steps["threshold"].clip(max=LIMITS.potential_max)  # which no potential exceeds
    return {**steps, "exponent": 0}


def name_of(handle: h5py.Group, kind: str) -> str:
    """Name of a layer, by default what it is and its number."""
    return str(attribute(handle, "name", f"{kind}{(handle.name or '').rsplit('/', 1)[-1]}"))


def shape_of(group: h5py.Group) -> Shape:
    """``(C, H, W)`` or ``(C,)``."""
    stored = integers(group, "shape")
    values = tuple(int(v) for v in stored.reshape(-1)[:4])
    if len(values) not in (1, 3) or min(values) < 1:
        raise NetXFormatError(f"{group.name}/shape: {values} is not allowed; use (C, H, W) or (C,)")
    return values


def _whole(handle: h5py.Group, key: str, name: str, notes: Notes) -> np.ndarray:
    """Integers; fractions are cut off, as lava-dl does, except in our own files."""

    def cut() -> None:
        notes.add(name, f"fractions of {key} are cut off, as in lava-dl; round before export")

    return integers(handle, key, None if notes.ours else cut)


def _values(values: np.ndarray, shape: Shape) -> Any:
    """One number if all are equal, else one per channel, or per neuron, of values that fit W, H, C."""
    try:
        every = np.broadcast_to(values, shape[::-1]).transpose()
    except ValueError:
        return values.reshape(-1)  # which the network refuses with its shape
    channels = every.reshape(shape[0], -1)
    if (channels != channels[:, :1]).any():
        return every
    flat = channels[:, 0]
    return int(flat[0]) if (flat == flat[0]).all() else flat


def _pair(values: np.ndarray) -> tuple[int, int]:
    if values.size not in (1, 2):
        raise NetXFormatError(f"{values.size} values for height and width; one or two are expected")
    flat = values.reshape(-1)
    return (int(flat[0]), int(flat[-1]))
