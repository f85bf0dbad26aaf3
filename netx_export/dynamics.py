"""What the neurons of a layer compute at one step; shared by all simulators.

Works on numpy arrays, int64, shaped ``[..., C, H, W]`` or ``[..., C]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bsnn import fixed_point
from lava_bsnn.fixed_point import ALIGN_BITS

from . import limits
from .network import Connection, Layer
from .neurons import MultiThreshold, Readout

Array = Any
State = tuple[Array, Array]
"""Current and membrane potential."""


class LayerDynamics:
    """Prepared parameters of one layer."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._shape = (layer.shape[0], *[1] * (len(layer.shape) - 1))
        neuron = layer.neuron
        self._bias = self._per_channel(neuron.bias)
        self._threshold = None if isinstance(neuron, Readout) else self._per_channel(neuron.threshold)
        self._scales = [
            1 << ALIGN_BITS if c.scale is None else self._per_channel(c.scale) for c in layer.connections
        ]
        self._biases = [None if c.bias is None else self._per_channel(c.bias) for c in layer.connections]
        self._gates = [None if c.gate is None else self._gate(c) for c in layer.connections]
        self.omega: Array = None if layer.mix is None else layer.mix.omega.astype(np.int64)

    def _per_channel(self, value: int | np.ndarray) -> int | Array:
        return value if isinstance(value, int) else value.reshape(self._shape).astype(np.int64)

    def _gate(self, connection: Connection) -> tuple[Array, int, tuple[int, ...]]:
        gate = connection.gate
        assert gate is not None
        space = len(self._shape) - 1
        per_step = self._shape if gate.multiplier.ndim == 2 else (1,) * (space + 1)
        multiplier = gate.multiplier.reshape(-1, *per_step).astype(np.int64)
        whole = gate.per == "layer" or not space
        return multiplier, gate.shift, tuple(range(-space - whole, 0))

    def current(self, index: int, weighted: Array, step: int) -> Array:
        """Current of a connection at a step of the sample, from its weighted input."""
        x = fixed_point.int64(weighted) * self._scales[index]
        if self._biases[index] is not None:
            x = x + self._biases[index]
        gate = self._gates[index]
        if gate is None:
            return x
        multiplier, shift, axes = gate
        return fixed_point.gate(x, multiplier[step], shift, axes=axes)

    def start(self, zeros: Array) -> State:
        """State before the first step, in the shape of ``zeros``."""
        neuron = self.layer.neuron
        if isinstance(neuron, MultiThreshold):
            return zeros, zeros + self._per_channel(neuron.initial)
        return zeros, zeros

    def step(
        self, state: State, current: Array, time: int, injected: Array | int = 0
    ) -> tuple[State, Array, Array]:
        """Return the next state, the messages, and the potential before any reset.

        Args:
            state: of the step before.
            current: sum of all currents, mixed; membrane steps.
            time: step of the sample.
            injected: input that adds to the biases, behind the current's decay.
        """
        neuron, (memory, potential) = self.layer.neuron, state
        if isinstance(neuron, MultiThreshold):
            messages, before, after = fixed_point.multi_threshold_step(
                potential,
                current + (self._bias + injected),
                threshold=self._threshold,
                levels=neuron.levels,
                lam=neuron.lam if isinstance(neuron.lam, int) else int(neuron.lam[time % len(neuron.lam)]),
            )
            return (memory, after), messages, before
        memory, before = fixed_point.integrate(
            memory,
            potential,
            current,
            current_decay=neuron.current_decay,
            voltage_decay=neuron.voltage_decay,
            bias=(self._bias + injected) * (1 << neuron.exponent),
            exponent=0,
        )
        if isinstance(neuron, Readout):
            return (memory, before), before > limits.POTENTIAL_MAX, before
        messages, after = fixed_point.fire(before, self._threshold, exponent=neuron.exponent)
        if neuron.membrane is not None:
            after = fixed_point.quantize_potential(after, neuron.membrane.bits, neuron.membrane.shift)
        return (memory, after), messages, before
