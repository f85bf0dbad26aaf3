"""The network in Lava's time: one call per time step, without torch, pipeline delays included.

Every synapse sends on what it received one step before, so a layer of depth d works on input
step t at Lava time ``t + d + 1`` (Lava counts from 1). Messages of shorter paths wait for the
longest one. Biases act while the pipeline fills; therefore layers are reset one after the
other, each when the first step of a sample reaches it. Streamed back to back with such resets,
samples give what :func:`netx_export.simulate` gives for each alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.errors import ShapeError

from .layer_kernels import LayerKernels, Synapse, from_row, message_type, message_width
from .network import INPUT, FixedPointNetwork, Layer, Readout


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
        messages: what each layer sent in the last step, by name, int64 ``[*shape]``; like the
            following, made when it is read.
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
        # the newest messages first; one row more than is read, for those of the present step
        self._sent = {
            name: deque(
                np.zeros((1, 1, message_width(shape)), dtype=message_type(net, name))
                for _ in range(longest.get(name, 0) + 1)
            )
            for name, shape in shapes.items()
        }
        self._input = np.zeros((1, 1, math.prod(net.input.shape)), dtype=np.int32)
        names = [layer.name for layer in net.layers]
        states = dict(zip(names, self._layers, strict=True))
        self.messages = _Record(names, lambda name: from_row(self._sent[name][0][0, 0], shapes[name]))
        self.currents = _Record(names, lambda name: from_row(states[name].current(), shapes[name]))
        self.potentials = _Record(names, lambda name: from_row(states[name].potential[0, 0], shapes[name]))
        reads_out = isinstance(net.output.neuron, Readout)
        self._output = self.potentials if reads_out else self.messages

    def step(self, x: np.ndarray) -> np.ndarray:
        """Do one Lava time step with the input ``[*shape]``; return what the last layer sends.

        For a readout, that is its potential; it is what the output neurons have at this time.

        Raises:
            ShapeError: not integers, or out of the input's range.
        """
        if self.net.input.enters_as_bias:
            self.receive(x)
            self.advance()
        else:
            self.advance()
            self.receive(x)
        return self._output[self.net.output.name]

    def advance(self) -> None:
        """Do one Lava time step of the layers, which do not see this step's messages of the input yet.

        Inputs that enter as biases do count in their own step: :meth:`receive` them before.
        """
        self.time += 1
        for state in self._layers:
            state.step(self.time, self._input, self._sent)
        for queue in self._sent.values():
            queue.rotate(1)

    def receive(self, x: np.ndarray) -> None:
        """Take this step's input ``[*shape]``.

        Raises:
            ShapeError: not integers, or out of the input's range.
        """
        entry = self.net.input
        target = self._input if entry.enters_as_bias else self._sent[INPUT][0]
        x = np.asarray(x).reshape(entry.shape)
        if x.dtype.kind not in "iub" or x.max() > entry.max_value or x.min() < entry.min_value:
            raise ShapeError(
                f"Stepper: {x.dtype} values {x.min()}..{x.max()} do not fit; use integers "
                f"{entry.min_value}..{entry.max_value}"
            )
        from_row(target[0, 0], entry.shape)[...] = x


class _Record(Mapping[str, np.ndarray]):
    """Arrays by layer, int64 ``[*shape]``, copied when they are read."""

    def __init__(self, names: list[str], view: Callable[[str], np.ndarray]) -> None:
        self._names, self._view = names, view

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return np.array(self._view(name), dtype=np.int64, order="C")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _LayerState:
    """One layer: what is under way to it, and the state of its neurons."""

    def __init__(
        self, net: FixedPointNetwork, layer: Layer, interval: int | None, shift: int, clear_delays: bool
    ) -> None:
        self.layer, self._interval, self._clear = layer, interval, clear_delays
        self._kernels = LayerKernels(net, layer)
        self._u, self._v = self._kernels.start(1)
        self._arrival = 1 + net.depth(layer.name) - (layer.mix.latency if layer.mix else 0) + shift
        self._synapses = [
            _Path(synapse, net.balancing_delay(layer, synapse.connection), self._kernels.width, layer.name)
            for synapse in self._kernels.synapses
        ]
        size = self._kernels.size
        self.potential = np.zeros((1, 1, size), dtype=np.int32)
        self._taken = np.zeros((1, 1, self._kernels.width), dtype=np.int32)
        self._seen: list[np.ndarray] = []
        self._mixed: np.ndarray | None = None

    def current(self) -> np.ndarray:
        """Current of the neurons in the last step, decay included, in a row."""
        return self._kernels.neuron_current(self._taken, self._u)

    def _step_of_sample(self, time: int) -> int:
        """Step of the sample whose input reaches the layer now."""
        return (time - self._arrival) % (self._interval or 1) if self._interval else time - self._arrival

    def step(self, time: int, x: np.ndarray, sent: dict[str, deque[np.ndarray]]) -> None:
        """Do one time step; the messages go to the last row of the layer's queue."""
        step = self._step_of_sample(time)
        restarts = restart_neurons = self._interval is not None and step == 0
        if restarts and self._clear:
            for path in self._synapses:
                path.clear()
        if self._kernels.injects:
            self._taken = x
        elif self._kernels.fused:
            self._taken = self._synapses[0](sent, False)
        else:
            total = self._total(step, sent, restarts and self._clear)
            if self.layer.mix is not None:
                total = self._mix(step, total)
                restart_neurons = step == self.layer.mix.latency
            self._taken = np.ascontiguousarray(total, dtype=np.int32)
        if restart_neurons:
            self._kernels.reset(self._u, self._v)
        neuron_step = step - (0 if self.layer.mix is None else self.layer.mix.latency)
        messages = sent[self.layer.name][-1]
        self._kernels.neurons(self._taken, self._u, self._v, messages, self.potential, neuron_step)

    def _total(self, step: int, sent: dict[str, deque[np.ndarray]], clears: bool) -> np.ndarray:
        """Sum of the currents, ``[1, 1, neurons]``."""
        steps = range(step, step + 1)
        total = np.zeros((1, 1, self._kernels.size), dtype=np.int64)
        for index, path in enumerate(self._synapses):
            total += self._kernels.currents(index, path(sent, clears), steps)
        return total

    def _mix(self, step: int, total: np.ndarray) -> np.ndarray:
        mix, omega = self.layer.mix, self._kernels.omega
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
            return np.zeros_like(total)
        result: np.ndarray = self._mixed[(step - mix.latency) % mix.num_steps]
        return result


class _Path:
    """Weighted input of one connection at each step, its axonal delays included."""

    def __init__(self, synapse: Synapse, age: int, width: int, name: str) -> None:
        self._synapse, self._age = synapse, age
        self._source = synapse.connection.source
        self._recurrent = self._source == name
        self._weighted = np.zeros((1, 1, width), dtype=np.int32)
        self._events = synapse.events_buffer()
        self._past: np.ndarray | None = None  # made at the first message
        self._newest = 0

    def clear(self) -> None:
        """Forget what is under way."""
        if self._past is not None:
            self._past[...] = 0

    def __call__(self, sent: dict[str, deque[np.ndarray]], silent: bool) -> np.ndarray:
        synapse, messages = self._synapse, sent[self._source][self._age]
        if silent and self._recurrent:
            messages = np.zeros_like(messages)
        if synapse.delay_of_inputs is not None:
            messages = self._delayed(messages, synapse.delay_of_inputs)
        synapse(messages, self._weighted, self._events)
        if synapse.delay_of_neurons is not None:
            return self._delayed(self._weighted, synapse.delay_of_neurons)
        return self._weighted

    def _delayed(self, row: np.ndarray, delay: np.ndarray) -> np.ndarray:
        if self._past is None:
            self._past = np.zeros((1 + int(delay.max()), row.shape[-1]), dtype=row.dtype)
        self._newest = (self._newest - 1) % len(self._past)
        self._past[self._newest] = row[0, 0]
        result = np.zeros_like(row)
        steps = (self._newest + delay) % len(self._past)
        result[0, 0, : len(delay)] = self._past[steps, np.arange(len(delay))]
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
