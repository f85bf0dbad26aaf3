"""A layer's arithmetic in rows: the kernels where there are such, else numpy."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.errors import LavaBsnnError
from lava_bsnn.fixed_point import ALIGN_BITS
from lava_bsnn.limits import LIMITS

from ..network import BiasInput, Connection, Conv, Dense, FixedPointNetwork, Gate, Identity, Layer, Shape
from ..network.synapses import fan_in
from ..neurons import Neuron, State
from . import kernels
from .machine_code import BLOCK
from .rows import Messages, from_row, to_row
from .tables import Gather, Scatter, tables_of


class Projection:
    """One connection: the weighted input of messages, and the current that it makes.

    Attributes:
        connection: the connection.
        target: shape of the layer that it feeds.
        size: neurons of that layer.
        width: length of a row of weighted input.
        dtype: of weighted input.
        delay_of_inputs: axonal delay of each input in a row, or None.
        delay_of_neurons: axonal delay of each neuron in a row, or None.
    """

    def __init__(self, connection: Connection, source: Shape, target: Shape) -> None:
        self.connection, self._source, self.target = connection, source, target
        self.size = math.prod(target)
        self.width = self.size + BLOCK
        self.dtype: np.dtype[Any] = np.dtype(np.int32)
        self.delay_of_inputs = self.delay_of_neurons = None
        delay = connection.delay
        if delay is not None and delay.ndim == 2:
            if not isinstance(connection.synapse, Dense):
                delay = np.broadcast_to(delay.reshape(-1, *[1] * (len(source) - 1)), source)
            self.delay_of_inputs = to_row(delay.reshape(source), source)
        elif delay is not None:
            self.delay_of_neurons = np.tile(delay, math.prod(target[1:]))
        scale, bias = connection.scale, connection.bias
        self.scale = np.asarray(1 << ALIGN_BITS if scale is None else scale, dtype=np.int64)
        self.offset = np.asarray(0 if bias is None else bias, dtype=np.int64)
        self._gate = None if connection.gate is None else _prepared(connection.gate, target)

    def start(self) -> Any:
        """Working memory of one thread."""
        return None

    def multiply(self, messages: np.ndarray, out: np.ndarray, memory: Any) -> None:
        """Write the weighted input of rows ``[N, T, width]``, without delays, to ``out``."""
        raise NotImplementedError

    def currents(self, weighted: np.ndarray, steps: range) -> np.ndarray:
        """Current at steps of the sample, from the weighted input ``[N, T or 1, width]``.

        int64 ``[N, T, neurons]``, or ``[N, 1, neurons]`` for constant input without a gate.
        """
        size = (len(weighted), -1, self.size)
        channels = weighted[..., : self.size].reshape(-1, self.target[0]).astype(np.int64)
        currents: np.ndarray = (channels * self.scale + self.offset).reshape(size)
        if self._gate is None:
            return currents
        multiplier, shift, axes = self._gate
        values = from_row(currents, self.target)
        values = np.broadcast_to(values, (len(values), len(steps), *self.target))
        gated = [
            fixed_point.gate(values[:, i], multiplier[step % len(multiplier)], shift, axes=axes)
            for i, step in enumerate(steps)
        ]
        return to_row(np.stack(gated, 1), self.target).reshape(size)


class EventDrivenProjection(Projection):
    """By kernels, which add up the weights of active inputs."""

    def __init__(self, connection: Connection, source: Shape, target: Shape, messages: Messages) -> None:
        super().__init__(connection, source, target)
        self._tables: Scatter | Gather | None = None
        if isinstance(connection.synapse, (Conv, Dense)):
            self._tables = tables_of(connection.synapse, source, target, messages)
            self.width = self.size + self._tables.room
            if int(fan_in(connection.synapse).max()) * messages.largest <= np.iinfo(np.int16).max:
                self.dtype = np.dtype(np.int16)
        elif isinstance(connection.synapse, Identity):
            self.dtype = np.dtype(messages.type)
        channels = target[0]
        self._affine = np.stack([np.broadcast_to(one, channels) for one in (self.scale, self.offset)]).astype(
            np.int32
        )
        self._multiplier, self._gating = np.zeros((0, 1), dtype=np.int64), np.zeros(2, dtype=np.int64)
        if self._gate is not None:
            multiplier, shift, axes = self._gate
            self._multiplier = multiplier.reshape(len(multiplier), -1)
            self._gating = np.array([shift, len(axes) == len(target)], dtype=np.int64)

    def start(self, shared: dict[Any, Any] | None = None) -> Any:
        """Room for events: one of ``shared``, among connections of a thread, if it has the size."""
        if self._tables is None:
            return None
        shared, key = {} if shared is None else shared, self._tables.memory
        if key not in shared:
            shared[key] = self._tables.start()
        return shared[key]

    def multiply(self, messages: np.ndarray, out: np.ndarray, memory: Any) -> None:
        """See :mod:`netx_export.simulator.events`."""
        if self._tables is None:
            size = math.prod(self._source)
            out[..., :size] = messages[..., :size]
        else:
            self._tables(messages, out, memory)

    def add_currents(self, weighted: np.ndarray, total: np.ndarray, *, first: int = 0, adds: bool) -> None:
        """Write or add :meth:`currents` from step ``first`` on to ``total``, int32 ``[N, T, neurons]``."""
        kernels.currents(
            weighted, self._affine, self._multiplier, self._gating, fixed_point.SIGMOID, total, first, adds
        )


def _prepared(gate: Gate, target: Shape) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """Multiplier per step, shift, and axes of the mean."""
    space = len(target) - 1
    per_step = (target[0], *[1] * space) if gate.multiplier.ndim == 2 else (1,) * (space + 1)
    multiplier = gate.multiplier.reshape(-1, *per_step).astype(np.int64)
    whole = gate.per == "layer" or not space
    return multiplier, gate.shift, tuple(range(-space - whole, 0))


class Population:
    """The neurons of a layer, behind sums of currents or, with ``fused``, one connection's weighted input.

    Args:
        layer: the layer.
        fused: the connection whose scale and offset the neurons' kernel applies.
        compiled: use the kind's kernel, if it has one; else its numpy step.

    Attributes:
        injects: the network's input adds to the neurons' biases: it is what they take.
    """

    def __init__(self, layer: Layer, fused: Projection | None = None, *, compiled: bool = True) -> None:
        self.layer, self.size = layer, math.prod(layer.shape)
        neuron = layer.neuron
        self.injects = isinstance(layer.connections[0].synapse, BiasInput)
        self._scale: Any = 1 << neuron.exponent if self.injects else 1
        self._offset: Any = 0
        if fused is not None and not self.injects:
            self._scale, self._offset = fused.scale, fused.offset
        self._kernel = neuron.compiled(self._table, injects=self.injects) if compiled else None
        self.is_compiled = self._kernel is not None
        self._trusted = type(neuron).compiled is not Neuron.compiled  # of this package
        self._spread = neuron.spread(len(layer.shape) - 1)
        start = self._spread.start(np.zeros((1, *layer.shape), dtype=np.int64))
        if len(start) != len(neuron.states):
            raise LavaBsnnError(
                f"{layer.name}: {type(neuron).__name__}.start gives {len(start)} states; use one for each of "
                f"{', '.join(neuron.states)}"
            )
        rows = [
            to_row(np.broadcast_to(one, (1, *layer.shape)), layer.shape).astype(np.int32) for one in start
        ]
        self._start = [row if (row != row[0, 0]).any() else row[0, 0] for row in rows]

    def _table(self, bias: Any, threshold: Any) -> np.ndarray:
        """Parameters of the kernels, repeated over as many pixels as make a loop worth its start."""
        channels, pixels = self.layer.shape[0], math.prod(self.layer.shape[1:])
        repeats = next(
            n for n in range(1, pixels + 1) if pixels % n == 0 and (n * channels >= 64 or n == pixels)
        )
        columns: list[Any] = [self._scale, self._offset, bias, threshold]
        if any(np.ndim(p) > 1 for p in columns):  # of every neuron
            columns = [self._row(p) for p in columns]
            repeats, channels = 1, self.size
        columns = [np.broadcast_to(p, channels) for p in columns]
        return np.ascontiguousarray(np.tile(np.stack(columns).astype(np.int32), repeats))

    def _row(self, value: Any) -> np.ndarray:
        """One number, one per channel, or one per neuron, as a row of the layer."""
        shape = self.layer.shape
        if np.ndim(value) > 1:
            return to_row(value, shape)
        return np.tile(np.broadcast_to(value, shape[0]), math.prod(shape[1:]))

    def room(self, num_samples: int) -> int:
        """Values that the states take."""
        return len(self._start) * num_samples * self.size

    def start(self, num_samples: int, memory: np.ndarray | None = None) -> State:
        """States before the first step, int32 ``[N, neurons]`` each, in ``memory`` of :meth:`room` values."""
        if memory is None:
            memory = np.empty(self.room(num_samples), dtype=np.int32)
        rows = memory[: self.room(num_samples)].reshape(len(self._start), num_samples, self.size)
        self.reset(state := tuple(rows))
        return state

    def reset(self, state: State) -> None:
        """Put states back to those before the first step."""
        for values, first in zip(state, self._start, strict=True):
            values[...] = first

    def run(
        self, taken: np.ndarray, state: State, messages: np.ndarray, potentials: np.ndarray, first: int = 0
    ) -> None:
        """Run the neurons over all steps of ``messages``, which start at step ``first`` of the sample.

        Args:
            taken: int32 ``[N, T or 1, at least neurons]``.
            state: is changed.
            messages: uint8 ``[N, T, width]``.
            potentials: int32 ``[N, T, neurons]`` before any reset; or ``[1, 1, neurons]``, unused.

        Raises:
            LavaBsnnError: a kind without kernel left its ranges.
        """
        if self._kernel is not None:
            self._kernel(taken, state, messages, potentials, first)
            return
        num_steps = messages.shape[1]
        for t in range(num_steps):
            x = self.from_row(taken[:, t if taken.shape[1] > 1 else 0]).astype(np.int64)
            current, injected = (0 * x, x) if self.injects else (x, 0)
            now = tuple(self.from_row(values).astype(np.int64) for values in state)
            after, sent, before = self._spread.step(now, current, first + t, injected)
            if not self._trusted:
                self._check(sent, (*after, before))
            for values, value in zip(state, after, strict=True):
                self.from_row(values)[...] = value
            self.from_row(messages[:, t])[...] = sent
            if potentials.shape[:2] == messages.shape[:2]:
                self.from_row(potentials[:, t])[...] = before

    def from_row(self, rows: np.ndarray) -> np.ndarray:
        """View rows as ``[..., *shape]``."""
        return from_row(rows, self.layer.shape)

    def _check(self, sent: Any, values: tuple[Any, ...]) -> None:
        neuron, top = self.layer.neuron, LIMITS.potential_max
        if sent.min() < 0 or sent.max() > neuron.max_message:
            raise LavaBsnnError(
                f"{self.layer.name}: {type(neuron).__name__} sent {sent.min()}..{sent.max()}; its "
                f"max_message allows 0..{neuron.max_message}"
            )
        for value in values:
            if np.min(value) < -top or np.max(value) > top:
                raise LavaBsnnError(
                    f"{self.layer.name}: {type(neuron).__name__} left 24 bits with {np.min(value)}.."
                    f"{np.max(value)}; clip its states to {-top}..{top}"
                )

    def current(self, taken: np.ndarray, state: State) -> np.ndarray:
        """Current behind the last step of :meth:`run`, decay included, int64 ``[neurons]``, of one sample."""
        if self.injects:
            return np.zeros(self.size, dtype=np.int64)
        if "u" in self.layer.neuron.states:
            memory: np.ndarray = state[self.layer.neuron.states.index("u")][0].astype(np.int64)
            return memory
        x = taken[0, -1, : self.size].astype(np.int64).reshape(-1, self.layer.shape[0])
        total: np.ndarray = (x * self._scale + self._offset).reshape(-1)
        return total


class LayerArithmetic:
    """Connections and neurons of one layer of a network.

    Attributes:
        layer: the layer.
        size: neurons.
        incoming: of the connections, in their order.
        fused: whether the neurons take the one connection's weighted input as it is; otherwise
            they take the sum of the currents, mixed.
        population: the neurons.
    """

    def __init__(self, net: FixedPointNetwork, layer: Layer) -> None:
        self.layer = layer
        shapes = net.shapes
        self.incoming = [
            EventDrivenProjection(c, shapes[c.source], layer.shape, Messages.of(net, c.source))
            for c in layer.connections
        ]
        alone = len(layer.connections) == 1 and layer.connections[0].gate is None and layer.mix is None
        self.population = Population(layer, self.incoming[0] if alone else None)
        self.fused = alone and self.population.is_compiled
        if alone and not self.fused:
            self.population = Population(layer)
        self.size = self.population.size


_KEPT: dict[int, tuple[weakref.ref[FixedPointNetwork], list[LayerArithmetic]]] = {}


def arithmetic_of(net: FixedPointNetwork) -> list[LayerArithmetic]:
    """Arithmetic of a network's layers, made at the first call and kept as long as the network lives."""
    key = id(net)
    kept = _KEPT.get(key)
    if kept is None or kept[0]() is not net:
        reference = weakref.ref(net, lambda _: _KEPT.pop(key, None))
        kept = _KEPT[key] = (reference, [LayerArithmetic(net, layer) for layer in net.layers])
    return kept[1]
