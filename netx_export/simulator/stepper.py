"""The network in Lava's time: one call per time step, without torch, pipeline delays included.

Every synapse sends on what it received one step before, so a layer of depth d works on input
step t at Lava time ``t + d + 1`` (Lava counts from 1). Messages of shorter paths wait for the
longest one. Biases act while the pipeline fills; therefore layers are reset one after the
other, each when the first step of a sample reaches it. Streamed back to back with such resets,
samples give what :func:`netx_export.simulate` gives for each alone. Where F frames are mixed into T steps,
a sample takes the larger number of steps; the other layers pause when they are done: they send nothing
and keep their state until the next sample.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn.errors import ShapeError

from ..network import INPUT, FixedPointNetwork
from .layer import LayerArithmetic, arithmetic_of
from .rows import Messages, fill, from_row, message_width
from .state import Clock, ConnectionState, NeuronState


class Stepper:
    """State of a network that runs in Lava's time.

    Args:
        net: the network.
        reset_interval: steps between resets, at least those of gates and mixings; None for no
            reset, which nets with gates or mixings cannot do. Each layer of a stream
            (``net.persistent``) is then put to rest once, when the first step reaches it.
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
        if net.num_steps is not None and reset_interval != net.period(net.num_steps):
            raise ShapeError(
                f"Stepper: reset_interval={reset_interval} does not fit gates and mixings; "
                f"use {net.period(net.num_steps)}"
            )
        if reset_interval is not None and reset_interval < 1:
            raise ShapeError(f"Stepper: reset_interval={reset_interval} is not allowed; use 1 or more")
        self.net = net
        self.time = 0
        self._layers = [
            _LayerState(net, one, Clock.of(net, one.layer, reset_interval, reset_offset), clear_delays)
            for one in arithmetic_of(net)
        ]
        longest: dict[str, int] = {}
        for layer in net.layers:
            for c in layer.connections:
                longest[c.source] = max(longest.get(c.source, 1), 1 + net.balancing_delay(layer, c))
        shapes = net.shapes
        # the newest messages first; one row more than is read, for those of the present step
        self._sent = {
            name: deque(
                np.zeros((1, 1, message_width(shape)), dtype=Messages.of(net, name).type)
                for _ in range(longest.get(name, 0) + 1)
            )
            for name, shape in shapes.items()
        }
        self._input = np.zeros((1, 1, math.prod(net.input.shape)), dtype=np.int32)
        names = [layer.name for layer in net.layers]
        states = dict(zip(names, self._layers, strict=True))
        self.messages = _Record(names, lambda name: from_row(self._sent[name][0][0, 0], shapes[name]))
        self.currents = _Record(names, lambda name: from_row(states[name].neurons.current(), shapes[name]))
        self.potentials = _Record(
            names, lambda name: from_row(states[name].neurons.potential[0, 0], shapes[name])
        )
        self._output = self.potentials if net.reads_out else self.messages

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
        fill(target, x[None, ..., None], entry.shape)


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
        self, net: FixedPointNetwork, arithmetic: LayerArithmetic, clock: Clock, clear_delays: bool
    ) -> None:
        self.layer = layer = arithmetic.layer
        self._arithmetic, self._clock, self._clears = arithmetic, clock, clear_delays
        self.neurons = NeuronState(self._arithmetic.population, steps=clock.steps)
        self._incoming = [ConnectionState(one) for one in self._arithmetic.incoming]
        self._ages = [net.balancing_delay(layer, c) for c in layer.connections]

    def step(self, time: int, x: np.ndarray, sent: dict[str, deque[np.ndarray]]) -> None:
        """Do one time step; the messages go to the last row of the layer's queue."""
        step, restarts = self._clock.step(time), self._clock.restarts(time)
        clears = restarts and self._clears
        if clears:
            for one in self._incoming:
                one.clear()
        if self._arithmetic.population.injects:
            total = x
        elif self._arithmetic.fused:
            total = self._incoming[0].weighted(self._messages(0, sent, False))
        else:
            total = np.empty((1, 1, self._arithmetic.size), dtype=np.int32)
            for i, one in enumerate(self._incoming):
                weighted = one.weighted(self._messages(i, sent, clears))
                self._arithmetic.incoming[i].add_currents(weighted, total, first=step, adds=i > 0)
        self.neurons.step(total, step, restarts, sent[self.layer.name][-1])

    def _messages(self, index: int, sent: dict[str, deque[np.ndarray]], clears: bool) -> np.ndarray:
        source = self.layer.connections[index].source
        messages = sent[source][self._ages[index]]
        return np.zeros_like(messages) if clears and source == self.layer.name else messages


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
