"""The network in Lava's time: one call per time step, in numpy, pipeline delays included.

Every synapse sends on what it received one step before, so a layer of depth d works on input
step t at Lava time ``t + d + 1`` (Lava counts from 1). Messages of shorter paths wait for the
longest one. Biases act while the pipeline fills; therefore layers are reset one after the
other, each when the first step of a sample reaches it. Streamed back to back with such resets,
samples give what :func:`netx_export.simulate` gives for each alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.errors import ShapeError

from .dynamics import LayerDynamics
from .network import INPUT, BiasInput, Connection, Conv, FixedPointNetwork, Layer, Readout, Shape
from .neurons import MultiThreshold
from .synapses import weight_of


class Stepper:
    """State of a network that runs in Lava's time.

    Args:
        net: the network.
        reset_interval: steps between resets, at least those of gates and mixings; None for no
            reset, which nets with gates or mixings cannot do.
        reset_offset: as for ``lava.lib.dl.netx.hdf5.Network``: the first layer resets where
            ``time % reset_interval == (reset_offset + 1) % reset_interval``, each other layer
            one step later per synapse in between. By default, samples that are sent from time 1
            on are aligned with the resets.
        clear_delays: at a reset, forget messages that are under way in axonal delays and in
            recurrent synapses, too. Stock Lava keeps them.

    Attributes:
        time: steps done; the first step is time 1.
        messages: what each layer sent in the last step, int64 ``[*shape]``.
        currents: current of each layer's neurons in the last step, decay included.
        potentials: membrane potential of each layer in the last step, before any reset.

    Raises:
        ShapeError: the interval does not fit gates and mixings.
    """

    def __init__(
        self,
        net: FixedPointNetwork,
        *,
        reset_interval: int | None = None,
        reset_offset: int | None = None,
        clear_delays: bool = True,
    ) -> None:
        if net.num_steps is not None and reset_interval != net.num_steps:
            raise ShapeError(
                f"Stepper: reset_interval={reset_interval} does not fit gates and mixings; "
                f"use {net.num_steps}"
            )
        if reset_interval is not None and reset_interval < 1:
            raise ShapeError(f"Stepper: reset_interval={reset_interval} is not allowed; use 1 or more")
        self.net = net
        self.time = 0
        first = net.depth(net.layers[0].name)
        shift = 0 if reset_offset is None else reset_offset - first
        self._layers = [_LayerState(net, layer, reset_interval, shift, clear_delays) for layer in net.layers]
        longest: dict[str, int] = {}
        for layer in net.layers:
            for c in layer.connections:
                longest[c.source] = max(longest.get(c.source, 1), 1 + net.balancing_delay(layer, c))
        shapes = {INPUT: net.input.shape, **{layer.name: layer.shape for layer in net.layers}}
        self._sent = {
            name: deque([np.zeros(shapes[name], dtype=np.int64)] * length, maxlen=length)
            for name, length in longest.items()
        }
        self.messages: dict[str, np.ndarray] = {}
        self.currents: dict[str, np.ndarray] = {}
        self.potentials: dict[str, np.ndarray] = {}

    def step(self, x: np.ndarray) -> np.ndarray:
        """Do one Lava time step with the input ``[*shape]``; return what the last layer sends.

        For a readout, that is its potential; it is what the output neurons have at this time.
        """
        self.time += 1
        sent: dict[str, np.ndarray] = {INPUT: np.asarray(x).reshape(self.net.input.shape)}
        for state in self._layers:
            name = state.layer.name
            sent[name] = state.step(self.time, sent[INPUT], self._sent)
            self.messages[name], self.potentials[name] = sent[name], state.potential
            self.currents[name] = state.current
        for name, queue in self._sent.items():
            queue.append(sent[name])
        output = self.net.output
        return self.potentials[output.name] if isinstance(output.neuron, Readout) else sent[output.name]


class _LayerState:
    def __init__(
        self, net: FixedPointNetwork, layer: Layer, interval: int | None, shift: int, clear_delays: bool
    ) -> None:
        self.layer, self._interval, self._clear = layer, interval, clear_delays
        self._dynamics = LayerDynamics(layer)
        self._zeros = np.zeros(layer.shape, dtype=np.int64)
        self._state = self._dynamics.start(self._zeros)
        self._arrival = 1 + net.depth(layer.name) - (layer.mix.latency if layer.mix else 0) + shift
        shapes = {INPUT: net.input.shape, **{other.name: other.shape for other in net.layers}}
        self._synapses = [
            _Synapse(
                c, shapes[c.source], layer.shape, 1 + net.balancing_delay(layer, c), c.source == layer.name
            )
            for c in layer.connections
        ]
        self._seen: list[np.ndarray] = []
        self._mixed: np.ndarray | None = None
        self.potential = self.current = self._zeros

    def _step_of_sample(self, time: int) -> int:
        """Step of the sample whose input reaches the layer now."""
        return (time - self._arrival) % (self._interval or 1) if self._interval else time - self._arrival

    def step(self, time: int, x: np.ndarray, sent: dict[str, deque[np.ndarray]]) -> np.ndarray:
        step = self._step_of_sample(time)
        restarts = self._interval is not None and step == 0
        if restarts and self._clear:
            for synapse in self._synapses:
                synapse.clear()
        total = self._zeros
        injected: np.ndarray | int = 0
        for index, synapse in enumerate(self._synapses):
            if isinstance(synapse.connection.synapse, BiasInput):
                injected = x
                continue
            queue = sent[synapse.connection.source]
            silent = synapse.recurrent and restarts and self._clear
            weighted = synapse(np.zeros_like(queue[-1]) if silent else queue[-synapse.age])
            total = total + self._dynamics.current(index, weighted, step)
        mix = self.layer.mix
        restart_neurons = restarts
        if mix is not None:
            total = self._mix(step, total)
            restart_neurons = step == mix.latency
        if restart_neurons:
            self._state = self._dynamics.start(self._zeros)
        neuron_step = step - (mix.latency if mix is not None else 0)
        self._state, messages, self.potential = self._dynamics.step(self._state, total, injected, neuron_step)
        self.current = total if isinstance(self.layer.neuron, MultiThreshold) else self._state[0]
        return np.asarray(messages, dtype=np.int64)

    def _mix(self, step: int, total: np.ndarray) -> np.ndarray:
        mix, omega = self.layer.mix, self._dynamics.omega
        assert mix is not None
        if step == 0:
            self._seen = []
        self._seen.append(total)
        if mix.causal:
            rows = omega[step : step + 1, : len(self._seen)]
            return fixed_point.mix(np.stack(self._seen), rows)[0]
        if step == mix.latency and len(self._seen) == mix.num_steps:
            self._mixed = fixed_point.mix(np.stack(self._seen), omega)
        if self._mixed is None:
            return self._zeros
        result: np.ndarray = self._mixed[(step - mix.latency) % mix.num_steps]
        return result


class _Synapse:
    """Weighted input of one connection, its axonal delays included."""

    def __init__(
        self, connection: Connection, source: Shape, target: Shape, age: int, recurrent: bool
    ) -> None:
        self.connection, self.age, self.recurrent = connection, age, recurrent
        self._multiply = _multiplier(connection, source, target)
        self._delay = connection.delay
        self._past: np.ndarray | None = None  # made at the first message
        self._newest = 0

    def clear(self) -> None:
        """Forget what is under way."""
        if self._past is not None:
            self._past[...] = 0

    def __call__(self, messages: np.ndarray) -> np.ndarray:
        if self._delay is None:
            return self._multiply(messages)
        if self._delay.ndim == 2:
            return self._multiply(self._delayed(messages.reshape(-1), self._delay[0]))
        return self._delayed(self._multiply(messages), self._delay)

    def _delayed(self, x: np.ndarray, delay: np.ndarray) -> np.ndarray:
        if self._past is None:
            self._past = np.zeros((1 + int(delay.max()), *x.shape), dtype=x.dtype)
        self._newest = (self._newest - 1) % len(self._past)
        self._past[self._newest] = x
        result: np.ndarray = self._past[(self._newest + delay) % len(self._past), np.arange(len(delay))]
        return result


def _multiplier(connection: Connection, source: Shape, target: Shape) -> Callable[[np.ndarray], np.ndarray]:
    """Function that multiplies messages with the weights: float32 sums, exact below 2^23."""
    synapse, weight = connection.synapse, weight_of(connection.synapse)
    if weight is None:
        return lambda messages: messages
    matrix = np.ascontiguousarray(weight.reshape(len(weight), -1), dtype=np.float32)
    if isinstance(synapse, Conv):
        return _Im2Col(synapse, matrix, source, target)
    return lambda messages: matrix @ messages.reshape(-1).astype(np.float32)


class _Im2Col:
    """Convolution of one image as a product of matrices."""

    def __init__(self, conv: Conv, matrix: np.ndarray, source: Shape, target: Shape) -> None:
        groups, (kernel_h, kernel_w) = conv.groups, conv.weight.shape[2:]
        self._matrix = matrix.reshape(groups, len(matrix) // groups, -1)
        self._target = target
        (pad_h, pad_w), (stride_h, stride_w), (dil_h, dil_w) = conv.padding, conv.stride, conv.dilation
        self._image = np.zeros((source[0], source[1] + 2 * pad_h, source[2] + 2 * pad_w), dtype=np.float32)
        self._inside = self._image[:, pad_h : pad_h + source[1], pad_w : pad_w + source[2]]
        channel, row, column = self._image.strides
        self._windows = np.lib.stride_tricks.as_strided(
            self._image,
            (source[0], kernel_h, kernel_w, *target[1:]),
            (channel, row * dil_h, column * dil_w, row * stride_h, column * stride_w),
            writeable=False,
        )

    def __call__(self, messages: np.ndarray) -> np.ndarray:
        self._inside[...] = messages
        columns = self._windows.reshape(len(self._matrix), -1, self._target[1] * self._target[2])
        result: np.ndarray = (self._matrix @ columns).reshape(self._target)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """What every layer did in Lava's time, each by name, ``[*shape, steps]``; int64.

    Attributes:
        messages: spikes or spike counts.
        currents: of the neurons, decay included.
        potentials: before any reset.
    """

    messages: dict[str, np.ndarray]
    currents: dict[str, np.ndarray]
    potentials: dict[str, np.ndarray]


def stream(
    net: FixedPointNetwork,
    x: np.ndarray,
    *,
    reset_interval: int | None = None,
    reset_offset: int | None = None,
    clear_delays: bool = False,
) -> Stream:
    """Run a network in Lava's time, as an unmodified ``netx.hdf5.Network`` would.

    Args:
        net: the network.
        x: integers ``[*shape, steps]``, C, H, W order; the first is sent at Lava time 1.
        reset_interval: see :class:`Stepper`.
        reset_offset: see :class:`Stepper`.
        clear_delays: see :class:`Stepper`; by default as stock Lava, which keeps them.

    Raises:
        ShapeError: ``x`` or the interval does not fit.
    """
    x = np.asarray(x)
    if x.shape[:-1] != net.input.shape:
        raise ShapeError(f"stream: shape {x.shape} does not fit; use {(*net.input.shape, 'steps')}")
    stepper = Stepper(
        net, reset_interval=reset_interval, reset_offset=reset_offset, clear_delays=clear_delays
    )
    kept: list[tuple[Any, ...]] = []
    for t in range(x.shape[-1]):
        stepper.step(x[..., t])
        kept.append((dict(stepper.messages), dict(stepper.currents), dict(stepper.potentials)))
    messages, currents, potentials = (
        {layer.name: np.stack([step[part][layer.name] for step in kept], -1) for layer in net.layers}
        for part in range(3)
    )
    return Stream(messages=messages, currents=currents, potentials=potentials)
