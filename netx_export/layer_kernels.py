"""A layer as tables for :mod:`netx_export.kernels`: rows of neurons in H, W, C order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn.fixed_point import ALIGN_BITS, NO_MEMORY

from . import kernels
from .checks import largest_message
from .dynamics import LayerDynamics
from .network import INPUT, Connection, Conv, FixedPointNetwork, Layer, Shape
from .neurons import MultiThreshold, Readout
from .synapses import BiasInput, weight_of


def message_width(shape: Shape) -> int:
    """Length of a row of messages."""
    return -(-math.prod(shape) // kernels.ROW) * kernels.ROW


def message_type(net: FixedPointNetwork, source: str) -> type[np.generic]:
    """Type of the messages in a row: int8 if they may be negative, else uint8."""
    return np.int8 if source == INPUT and net.input.signed else np.uint8


def _is_graded(net: FixedPointNetwork, source: str) -> bool:
    """Whether a source sends other messages than 0 and 1."""
    return largest_message(net, source) > 1 or message_type(net, source) is np.int8


def to_row(values: np.ndarray, shape: Shape) -> np.ndarray:
    """``[..., *shape]`` to ``[..., neurons]``, H, W, C order."""
    lead = values.ndim - len(shape)
    return np.moveaxis(values, lead, -1).reshape(*values.shape[:lead], -1)


def from_row(rows: np.ndarray, shape: Shape) -> np.ndarray:
    """View rows ``[..., width]`` as ``[..., *shape]``."""
    values = rows[..., : math.prod(shape)].reshape(*rows.shape[:-1], *shape[1:], shape[0])
    return np.moveaxis(values, -1, rows.ndim - 1)


class Synapse:
    """Weighted input of one connection, without its delay.

    Attributes:
        connection: the connection.
        delay_of_inputs: axonal delay of each input in a row, or None.
        delay_of_neurons: axonal delay of each neuron in a row, or None.
    """

    def __init__(self, connection: Connection, source: Shape, target: Shape, graded: bool) -> None:
        self.connection = connection
        self._source, self._target = source, target
        self.delay_of_inputs = self.delay_of_neurons = None
        delay = connection.delay
        if delay is not None and delay.ndim == 2:
            self.delay_of_inputs = to_row(delay.reshape(source), source)
        elif delay is not None:
            self.delay_of_neurons = np.tile(delay, math.prod(target[1:]))
        self._tables: _Tables | None = None
        weight = weight_of(connection.synapse)
        if weight is None:
            return
        small = weight.min() >= -128 and weight.max() <= 127
        weight = weight.astype(np.int8 if small else np.int16)
        conv = connection.synapse
        if not isinstance(conv, Conv):
            columns = to_row(weight.reshape(len(weight), *source), source)
            self._tables = _dense_tables(columns, graded)
        else:
            self._tables = _conv_tables(conv, weight, source, target, graded)

    def events_buffer(self) -> np.ndarray | None:
        """Working memory of one thread."""
        return None if self._tables is None else kernels.events_buffer(self._tables.places.shape[1])

    def __call__(self, messages: np.ndarray, out: np.ndarray, events: np.ndarray | None) -> None:
        """Write the weighted input of rows ``[N, T, width]`` to ``out``."""
        tables = self._tables
        if tables is None:
            size = math.prod(self._source)
            out[..., :size] = messages[..., :size]
        else:
            kernels.weighted_input(
                messages, tables.count, tables.places, tables.groups, tables.weight, out, events
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tables:
    count: np.ndarray
    places: np.ndarray
    groups: np.ndarray
    weight: np.ndarray


def _rows(weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Pad the last axis to a multiple of the kernels' lanes; return it flat, and its length."""
    length = -(-weight.shape[-1] // kernels.LANES) * kernels.LANES
    padded = np.zeros((*weight.shape[:-1], length), dtype=weight.dtype)
    padded[..., : weight.shape[-1]] = weight
    return padded.reshape(-1), length


def _dense_tables(weight: np.ndarray, graded: bool) -> _Tables:
    flat, length = _rows(weight.T)
    outputs, inputs = weight.shape
    return _Tables(
        count=np.ones(1, dtype=np.int32),
        places=np.zeros((1, 1), dtype=np.int64),
        groups=np.array([inputs, inputs, outputs, length, graded], dtype=np.int64),
        weight=flat,
    )


def _conv_tables(conv: Conv, weight: np.ndarray, source: Shape, target: Shape, graded: bool) -> _Tables:
    outputs, per_group, kernel_h, kernel_w = weight.shape
    channels = source[0]
    by_group = weight.reshape(conv.groups, outputs // conv.groups, per_group, kernel_h, kernel_w)
    flat, length = _rows(by_group.transpose(3, 4, 0, 2, 1))  # [kh, kw, channel, output of its group]
    reached, place = [], []
    for axis, kernel in enumerate((kernel_h, kernel_w)):
        start = np.arange(source[1 + axis])[:, None] + conv.padding[axis]
        position = start - conv.dilation[axis] * np.arange(kernel)
        step = conv.stride[axis]
        fits = (position >= 0) & (position % step == 0) & (position // step < target[1 + axis])
        reached.append(fits)
        place.append(position // step)
    fits = reached[0][:, None, :, None] & reached[1][None, :, None, :]
    pixel = place[0][:, None, :, None] * target[2] + place[1][None, :, None, :]
    tap = np.broadcast_to(np.arange(kernel_h * kernel_w).reshape(kernel_h, kernel_w), fits.shape)
    fits, pixel, tap = (a.reshape(source[1] * source[2], kernel_h * kernel_w) for a in (fits, pixel, tap))
    count = fits.sum(1)
    order = np.argsort(~fits, axis=1, kind="stable")[:, : max(1, int(count.max()))]
    chosen = np.take_along_axis(fits, order, 1)
    place_of_pixel = np.take_along_axis(pixel, order, 1).astype(np.int64) * outputs
    place_of_weights = np.take_along_axis(tap, order, 1).astype(np.int64) * channels * length
    return _Tables(
        count=count.astype(np.int32),
        places=((place_of_pixel << 32) + place_of_weights) * chosen,
        groups=np.array([channels, per_group, outputs // conv.groups, length, graded], dtype=np.int64),
        weight=flat,
    )


class LayerKernels:
    """Synapses and neurons of one layer.

    Attributes:
        layer: the layer.
        size: neurons.
        width: length of a row of weighted input.
        synapses: of the connections, in their order.
        fused: whether the neurons take the one connection's weighted input as it is; otherwise
            they take the sum of :meth:`currents`, mixed.
        injects: whether the network's input adds to the neurons' biases.
    """

    def __init__(self, net: FixedPointNetwork, layer: Layer) -> None:
        self.layer, self.size = layer, math.prod(layer.shape)
        self.width = (-(-self.size // kernels.LANES) + 1) * kernels.LANES
        shapes = {INPUT: net.input.shape, **{other.name: other.shape for other in net.layers}}
        self.synapses = [
            Synapse(c, shapes[c.source], layer.shape, _is_graded(net, c.source)) for c in layer.connections
        ]
        first = layer.connections[0]
        self.fused = len(layer.connections) == 1 and first.gate is None and layer.mix is None
        self.injects = isinstance(first.synapse, BiasInput)
        self._dynamics = LayerDynamics(layer)
        neuron = layer.neuron
        scale, offset = (
            self._of(0) if self.fused else (np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        )
        if self.injects:
            scale = np.full(1, 1 << neuron.exponent)
        unit = 1 << neuron.exponent
        threshold = kernels.NEVER if isinstance(neuron, Readout) else np.asarray(neuron.threshold) * unit
        parameters = (scale, offset, np.asarray(neuron.bias) * unit, threshold)
        self._parameters = np.ascontiguousarray(self._repeated(parameters))
        if isinstance(neuron, MultiThreshold):
            factors = np.atleast_1d(neuron.lam)
        else:
            membrane = neuron.membrane
            bound, shift = (0, 0) if membrane is None else ((1 << (membrane.bits - 1)) - 1, membrane.shift)
            memory = 0 if self.injects else NO_MEMORY - neuron.current_decay  # biases are not filtered
            keep = memory, NO_MEMORY - neuron.voltage_decay
            factors = np.array([*keep, bound, shift])
        self._factors = factors.astype(np.int32)

    def _of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale per step of the weighted input, and offset, of a connection."""
        connection = self.layer.connections[index]
        scale = np.asarray(1 << ALIGN_BITS if connection.scale is None else connection.scale, dtype=np.int64)
        offset = np.asarray(0 if connection.bias is None else connection.bias, dtype=np.int64)
        return scale, offset

    def _repeated(self, parameters: tuple[Any, ...]) -> np.ndarray:
        """Parameters per channel, repeated over as many pixels as make a loop worth its start."""
        channels = self.layer.shape[0]
        pixels = math.prod(self.layer.shape[1:])
        repeats = next(
            n for n in range(1, pixels + 1) if pixels % n == 0 and (n * channels >= 64 or n == pixels)
        )
        columns = [np.broadcast_to(p, channels) for p in parameters]
        return np.tile(np.stack(columns).astype(np.int32), repeats)

    def start(self, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Current and potential before the first step, ``[N, neurons]``."""
        u = np.zeros((num_samples, self.size), dtype=np.int32)
        v = u.copy()
        self.reset(u, v)
        return u, v

    def reset(self, u: np.ndarray, v: np.ndarray) -> None:
        """Put states back to those before the first step."""
        u[...] = 0
        neuron = self.layer.neuron
        v[...] = 0
        if isinstance(neuron, MultiThreshold):
            v.reshape(len(v), -1, self.layer.shape[0])[...] = neuron.initial

    def currents(self, index: int, weighted: np.ndarray, steps: range) -> np.ndarray:
        """Current of a connection at steps of the sample, from its weighted input ``[N, T or 1, width]``.

        int64 ``[N, T, neurons]``, or ``[N, 1, neurons]`` for constant input without a gate.
        """
        shape = self.layer.shape
        size = (len(weighted), -1, self.size)
        if self.layer.connections[index].gate is None:
            scale, offset = self._of(index)
            channels = weighted[..., : self.size].reshape(-1, shape[0])
            result: np.ndarray = (channels * scale + offset).reshape(size)
            return result
        values = from_row(weighted, shape).astype(np.int64)
        values = np.broadcast_to(values, (len(values), len(steps), *shape))
        gated = [self._dynamics.current(index, values[:, i], step) for i, step in enumerate(steps)]
        return to_row(np.stack(gated, 1), shape).reshape(size)

    @property
    def omega(self) -> np.ndarray:
        """The mixing matrix."""
        return np.asarray(self._dynamics.omega)

    def neurons(
        self,
        weighted: np.ndarray,
        u: np.ndarray,
        v: np.ndarray,
        messages: np.ndarray,
        potentials: np.ndarray,
        first: int = 0,
    ) -> None:
        """Run the neurons over all steps of ``messages``, which start at step ``first`` of the sample."""
        neuron = self.layer.neuron
        parameters, factors = self._parameters, self._factors
        if isinstance(neuron, MultiThreshold):
            levels = neuron.levels
            kernels.multi_threshold(weighted, parameters, factors, levels, first, v, messages, potentials)
        else:
            kernels.lif(weighted, parameters, factors, u, v, messages, potentials)

    def neuron_current(self, weighted: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Current of the neurons behind :meth:`neurons`' last step, decay included, int64 ``[neurons]``."""
        if self.injects:
            return np.zeros(self.size, dtype=np.int64)
        if not isinstance(self.layer.neuron, MultiThreshold):
            return u[0].astype(np.int64)
        scale, offset, _, _ = (np.tile(p, self.size // len(p)).astype(np.int64) for p in self._parameters)
        return weighted[0, -1, : self.size] * scale + offset
