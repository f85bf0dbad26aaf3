"""One step of a layer: what is under way to it, and the state of its neurons, for a batch of samples.

The stepper, the simulation of layers that feed themselves, and the Lava processes of layers all step these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lava_bsnn import fixed_point

from ..network import FixedPointNetwork, Layer, Mix
from .layer import Population, Projection


class Clock(NamedTuple):
    """Steps of a layer's samples in Lava's time, which counts from 1.

    Attributes:
        interval: steps between resets; None for no reset.
        arrival: time at which the first step of a sample reaches the layer.
        starts: without resets, the layer is put to rest once, at its arrival: the beginning of a stream.
        steps: of the neurons in a sample, behind which they pause until the next one; None for all.
    """

    interval: int | None
    arrival: int
    starts: bool = False
    steps: int | None = None

    @classmethod
    def of(cls, net: FixedPointNetwork, layer: Layer, interval: int | None, offset: int | None) -> Clock:
        """Clock of a layer.

        Args:
            interval: steps between resets; None for no reset.
            offset: as lava-dl's ``reset_offset``; None for samples that are sent from time 1 on, as streams
                without resets always are.
        """
        starts = net.persistent and interval is None
        shift = 0 if offset is None or starts else offset - net.depth(net.layers[0].name)
        waits = layer.mix.latency if layer.mix else 0
        steps = None if interval is None or net.num_steps is None else net.steps(layer.name, net.num_steps)
        return cls(
            interval=interval,
            arrival=1 + net.depth(layer.name) - waits + shift,
            starts=starts,
            steps=None if steps == interval else steps,
        )

    def step(self, time: int) -> int:
        """Step of the sample that the layer works on."""
        return (time - self.arrival) % self.interval if self.interval else time - self.arrival

    def restarts(self, time: int) -> bool:
        """Whether a sample begins."""
        return (self.starts or self.interval is not None) and self.step(time) == 0


class ConnectionState:
    """Weighted input of one connection, step by step, its axonal delays included.

    Args:
        incoming: the connection.
        num_samples: N.
    """

    def __init__(self, incoming: Projection, num_samples: int = 1) -> None:
        self.incoming = incoming
        self._weighted = np.zeros((num_samples, 1, incoming.width), dtype=incoming.dtype)
        self._memory = incoming.start()
        self._past: np.ndarray | None = None  # made at the first message
        self._newest = 0

    def clear(self) -> None:
        """Forget what is under way."""
        if self._past is not None:
            self._past[...] = 0

    def weighted(self, messages: np.ndarray) -> np.ndarray:
        """Weighted input ``[N, 1, width]`` of a step that brings these messages ``[N, 1, width]``."""
        incoming = self.incoming
        if incoming.delay_of_inputs is not None:
            messages = self._late(messages, incoming.delay_of_inputs)
        incoming.multiply(messages, self._weighted, self._memory)
        if incoming.delay_of_neurons is not None:
            return self._late(self._weighted, incoming.delay_of_neurons)
        return self._weighted

    def current(self, messages: np.ndarray, step: int) -> np.ndarray:
        """Current, int64 ``[N, 1, neurons]``, at a step of the sample."""
        return self.incoming.currents(self.weighted(messages), range(step, step + 1))

    def _late(self, row: np.ndarray, delay: np.ndarray) -> np.ndarray:
        if self._past is None:
            self._past = np.zeros((1 + int(delay.max()), len(row), row.shape[-1]), dtype=row.dtype)
        self._newest = (self._newest - 1) % len(self._past)
        self._past[self._newest] = row[:, 0]
        late = np.zeros_like(row)
        slots = (self._newest + delay) % len(self._past)
        late[:, 0, : len(delay)] = self._past[slots, :, np.arange(len(delay))].T
        return late


class NeuronState:
    """Neurons of a layer and the mixing in front of them, step by step.

    Args:
        population: the neurons.
        num_samples: N.
        steps: of the neurons in a sample, see :class:`Clock`.

    Attributes:
        state: by the kind's ``states``, int32 ``[N, neurons]`` each.
        potential: of the last step, before any reset, int32 ``[N, 1, neurons]``.
        taken: what the neurons took in the last step, of at most 32 bits ``[N, 1, at least neurons]``.
    """

    def __init__(self, population: Population, num_samples: int = 1, steps: int | None = None) -> None:
        self._population, self._mix, self._steps = population, population.layer.mix, steps
        self._omega = None if self._mix is None else self._mix.omega.astype(np.int64)
        self.state = population.start(num_samples)
        self.potential = np.zeros((num_samples, 1, population.size), dtype=np.int32)
        self.taken = np.zeros((num_samples, 1, population.size), dtype=np.int32)
        self._seen: list[np.ndarray] = []
        self._window: np.ndarray | None = None
        self._mixed_step = 0

    def step(self, total: np.ndarray, step: int, restarts: bool, messages: np.ndarray) -> None:
        """Do one step, and write what the neurons send; in a pause nothing, and they keep their state.

        Args:
            total: sum of the currents, or what :class:`Population` takes, ``[N, 1, at least neurons]``.
            step: step of the sample whose currents arrive.
            restarts: a sample begins.
            messages: uint8 ``[N, 1, width]``.
        """
        mix = self._mix
        if mix is not None:
            restarts = step == mix.latency
            total, step = self._mixed(mix, total, step)
        if self._steps is not None and step >= self._steps:
            messages[...] = 0
            return
        self.taken = total if total.dtype.itemsize <= 4 else total.astype(np.int32)
        if restarts:
            self._population.reset(self.state)
        self._population.run(self.taken, self.state, messages, self.potential, step)

    def current(self) -> np.ndarray:
        """Current of the neurons in the last step, decay included, in a row; of one sample."""
        return self._population.current(self.taken, self.state)

    def _mixed(self, mix: Mix, total: np.ndarray, step: int) -> tuple[np.ndarray, int]:
        """Mixed current and its step; those of a whole window of F come F - 1 steps later."""
        omega: Any = self._omega
        if step == 0:
            self._seen = []
        if mix.causal and step >= mix.num_frames:  # a pause
            return np.zeros_like(total), step
        if len(self._seen) < mix.num_frames:
            self._seen.append(total)
        if mix.causal:
            rows = omega[step : step + 1, : len(self._seen)]
            return fixed_point.mix(np.stack(self._seen), rows)[0], step
        self._mixed_step += 1
        if step == mix.latency and len(self._seen) == mix.num_frames:
            self._window, self._mixed_step = fixed_point.mix(np.stack(self._seen), omega), 0
        if self._window is None or self._mixed_step >= mix.num_steps:
            return np.zeros_like(total), self._mixed_step
        row: np.ndarray = self._window[self._mixed_step]
        return row, self._mixed_step
