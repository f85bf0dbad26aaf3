"""Batched integer simulation of a :class:`FixedPointNetwork`, exact to the last bit.

Threads take batches of samples through all layers, one after the other, with the kernels of
:mod:`netx_export.simulator.kernels`: only active inputs cost time, and a batch stays in the processor's
cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import numpy as np

from lava_bsnn.errors import ShapeError

from ..network import INPUT, FixedPointNetwork, Layer
from . import kernels
from .layer import LayerArithmetic, arithmetic_of
from .result import Simulation, Trace, check_data, shape_of_samples, simulation_of
from .rows import Messages, fill, from_row, message_width, to_row
from .state import ConnectionState, NeuronState

_CACHED_VALUES = 1 << 20
_MOST_SAMPLES = 256


def simulate(
    net: FixedPointNetwork | str | os.PathLike[str],
    x: np.ndarray,
    *,
    trace: bool = False,
    batch_size: int | None = None,
    num_threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Simulate all samples of ``x``, each from a reset state.

    Args:
        net: the network, or the path of a file (:func:`netx_export.read`); SLAYER's files, too.
        x: integers ``[N, C, H, W, T]`` or ``[N, C, T]``: spikes 0 / 1, or graded messages.
        trace: keep spikes and potentials of every layer.
        batch_size: samples at a time; by default as many as the processor's cache takes.
        num_threads: batches at a time; by default one per processor that this process may use.
        progress: called with the number of samples done after each batch.

    Raises:
        ShapeError: ``x`` does not fit the network.
        NetXFormatError: the file cannot be read.
        OptionError: ``net`` is neither.
    """
    if not isinstance(net, FixedPointNetwork):
        from ..hdf5 import network_of

        net = network_of("simulate", net, otherwise=shape_of_samples(x))
    x = check_data(net, x)
    num_samples, num_steps, period = len(x), x.shape[-1], net.period(x.shape[-1])
    if num_threads is None:
        num_threads = _processors()
    for name, value in (("batch_size", batch_size), ("num_threads", num_threads)):
        if value is not None and value < 1:
            raise ShapeError(f"simulate: {name}={value} is not allowed; use 1 or more")
    if batch_size is None:
        largest = max(math.prod(layer.shape) for layer in net.layers) * period
        share = -(-num_samples // num_threads)
        batch_size = max(1, min(_MOST_SAMPLES, _CACHED_VALUES // largest, share))
    layers = arithmetic_of(net)
    result = {
        layer.name: _Result(layer, num_samples, net.steps(layer.name, num_steps), trace)
        for layer in net.layers
        if trace or layer is net.output
    }
    starts = range(0, num_samples, batch_size)
    num_threads = min(num_threads, len(starts))
    workers: SimpleQueue[_Worker] = SimpleQueue()
    for _ in range(num_threads):
        workers.put(_Worker(net, layers, result, batch_size, num_steps))

    def run(start: int) -> int:
        worker = workers.get()
        try:
            worker.run(x, start)
        finally:
            workers.put(worker)
        return min(batch_size, num_samples - start)

    done = 0
    with _mapped(run, starts, num_threads) as batches:
        for count in batches:
            done += count
            if progress is not None:
                progress(done)
    traces = {name: recorded.trace() for name, recorded in result.items()}
    return simulation_of(net, traces, trace)


def _processors() -> int:
    """Processors for this process; OMP_NUM_THREADS limits them, as it does those of torch."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(count, int(limit)) if limit.isdecimal() and int(limit) else count


@contextmanager
def _mapped(run: Callable[[int], int], starts: range, num_threads: int) -> Iterator[Iterator[int]]:
    if num_threads == 1:
        yield map(run, starts)
        return
    with ThreadPoolExecutor(num_threads, thread_name_prefix="simulate") as pool:
        try:
            yield pool.map(run, starts)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Result:
    """What a layer did, for all samples, in rows."""

    def __init__(self, layer: Layer, num_samples: int, num_steps: int, trace: bool) -> None:
        self._layer = layer
        size = (num_samples, num_steps, math.prod(layer.shape))
        self.messages = np.zeros(size, dtype=np.uint8)
        keeps = trace or layer.neuron.reads_out
        self.potentials = np.zeros(size, dtype=np.int32) if keeps else None

    def trace(self) -> Trace:
        shape, counts = self._layer.shape, self._layer.neuron.max_message > 1
        messages = self.messages.astype(np.int16) if counts else self.messages.view(bool)
        return Trace(
            spikes=np.moveaxis(from_row(messages, shape), 1, -1),
            potential=None
            if self.potentials is None
            else np.moveaxis(from_row(self.potentials, shape), 1, -1),
        )


def _message_buffers(net: FixedPointNetwork, batch_size: int, num_steps: int) -> dict[str, np.ndarray]:
    """Rows for the messages of the input and all layers; those that nobody reads any more are used again."""
    last = {c.source: index for index, layer in enumerate(net.layers) for c in layer.connections}
    free: dict[Any, list[np.ndarray]] = {}
    kinds: dict[str, Any] = {}
    buffers: dict[str, np.ndarray] = {}
    for index, (name, shape) in enumerate(net.shapes.items(), -1):  # the input, then the layers
        # of the same shape: zeros behind the last neuron stay
        kind = kinds[name] = shape, Messages.of(net, name).type, net.steps(name, num_steps)
        fitting = free.get(kind)
        size = (batch_size, kind[2], message_width(shape))
        buffers[name] = fitting.pop() if fitting else np.zeros(size, dtype=kind[1])
        for one, reader in last.items():
            if reader == index:
                free.setdefault(kinds[one], []).append(buffers[one])
    return buffers


class _Worker:
    """Working memory of one thread, and what it does with a batch of samples."""

    def __init__(
        self,
        net: FixedPointNetwork,
        layers: list[LayerArithmetic],
        result: dict[str, _Result],
        batch_size: int,
        num_steps: int,
    ) -> None:
        self._net, self._layers, self._result = net, layers, result
        self._messages = _message_buffers(net, batch_size, num_steps)
        widest = max(one.width * one.dtype.itemsize for layer in layers for one in layer.incoming)
        most = batch_size * net.period(num_steps)
        self._weighted = np.zeros(most * widest, dtype=np.uint8)
        self._total = np.zeros(most * max(one.size for one in layers), dtype=np.int32)
        shared: dict[Any, Any] = {}
        self._memory = [[one.start(shared) for one in layer.incoming] for layer in layers]
        self._state = np.zeros(max(one.population.room(batch_size) for one in layers), dtype=np.int32)
        self._unused = np.zeros((1, 1, max(layer.size for layer in layers)), dtype=np.int32)

    def run(self, x: np.ndarray, start: int) -> None:
        """Run the samples from ``start`` on."""
        batch = x[start : start + len(self._messages[INPUT])]
        messages = {name: rows[: len(batch)] for name, rows in self._messages.items()}
        if not self._net.input.enters_as_bias:
            rows = messages[INPUT]
            if batch.shape[-1] > 1 and batch.strides[-1] == 0:  # one frame, repeated
                batch = batch[..., :1]
                rows = rows.reshape(-1)[: len(batch) * rows.shape[-1]].reshape(len(batch), 1, -1)
                messages[INPUT] = rows
            fill(rows, batch, self._net.input.shape)
        for index, layer in enumerate(self._layers):
            name = layer.layer.name
            recorded = self._result.get(name)
            potentials = self._unused[..., : layer.size]
            if recorded is not None and recorded.potentials is not None:
                potentials = recorded.potentials[start : start + len(batch)]
            if any(c.source == name for c in layer.layer.connections):
                self._run_recurrent(index, layer, messages, potentials)
            else:
                state = layer.population.start(len(batch), self._state)
                injects = layer.population.injects
                taken = self._inject(layer, batch) if injects else self._input(index, layer, messages)
                layer.population.run(taken, state, messages[name], potentials)
            if recorded is not None:
                recorded.messages[start : start + len(batch)] = messages[name][..., : layer.size]

    def _inject(self, layer: LayerArithmetic, batch: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(to_row(np.moveaxis(batch, -1, 1), layer.layer.shape), dtype=np.int32)

    def _input(self, index: int, layer: LayerArithmetic, messages: dict[str, np.ndarray]) -> np.ndarray:
        """What the neurons take: weighted input or current, int32 ``[N, T or 1, at least neurons]``."""
        if layer.fused:
            return self._weighted_input(index, layer, 0, messages)
        num_samples, num_steps = self._incoming(layer, messages)
        size = (num_samples, num_steps, layer.size)
        total: np.ndarray = self._total[: math.prod(size)].reshape(size)
        for i, one in enumerate(layer.incoming):
            one.add_currents(self._weighted_input(index, layer, i, messages), total, adds=i > 0)
        if layer.layer.mix is None:
            return total
        mixed = np.empty((num_samples, layer.layer.mix.num_steps, layer.size), dtype=np.int32)
        kernels.mix(total, layer.layer.mix.omega.astype(np.int64), mixed)
        return mixed

    def _incoming(self, layer: LayerArithmetic, messages: dict[str, np.ndarray]) -> tuple[int, int]:
        """Samples, and steps in front of the layer's mixing."""
        num_samples, num_steps = messages[layer.layer.name].shape[:2]
        return num_samples, num_steps if layer.layer.mix is None else layer.layer.mix.num_frames

    def _weighted_input(
        self, index: int, layer: LayerArithmetic, i: int, messages: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Weighted input of connection i, delays included, ``[N, T or 1, width]``."""
        one = layer.incoming[i]
        _, num_steps = self._incoming(layer, messages)
        sent = messages[one.connection.source]
        if one.delay_of_inputs is not None:
            sent = _shift(sent, one.delay_of_inputs, num_steps)
        size = (len(sent), sent.shape[1], one.width)
        weighted = self._weighted[: math.prod(size) * one.dtype.itemsize].view(one.dtype).reshape(size)
        one.multiply(sent, weighted, self._memory[index][i])
        if one.delay_of_neurons is not None:
            weighted = _shift(weighted, one.delay_of_neurons, num_steps)
        return weighted

    def _run_recurrent(
        self, index: int, layer: LayerArithmetic, messages: dict[str, np.ndarray], potentials: np.ndarray
    ) -> None:
        """Run a layer that feeds itself, step by step: what it sends reaches it one step later."""
        name = layer.layer.name
        sent = messages[name]
        num_samples, num_steps = sent.shape[:2]
        total = np.zeros((num_samples, num_steps, layer.size), dtype=np.int64)
        loops = []
        for i, one in enumerate(layer.incoming):
            if one.connection.source == name:
                loops.append(ConnectionState(one, num_samples))
            else:
                total += one.currents(self._weighted_input(index, layer, i, messages), range(num_steps))
        neurons = NeuronState(layer.population, num_samples)
        before = np.zeros((num_samples, 1, sent.shape[-1]), dtype=np.uint8)
        for t in range(num_steps):
            for loop in loops:
                total[:, t : t + 1] += loop.current(before, t)
            before = np.zeros_like(before)
            neurons.step(total[:, t : t + 1], t, False, before)
            sent[:, t : t + 1] = before
            if potentials.shape[:2] == sent.shape[:2]:
                potentials[:, t : t + 1] = neurons.potential


def _shift(rows: np.ndarray, delay: np.ndarray, num_steps: int) -> np.ndarray:
    """``[N, T or 1, width]`` with column p ``delay[p]`` steps later, zeros before: ``[N, T, width]``."""
    rows = np.broadcast_to(rows, (len(rows), num_steps, rows.shape[-1]))
    result = np.zeros(rows.shape, dtype=rows.dtype)
    for steps in np.unique(delay):
        if steps < num_steps:
            columns = np.flatnonzero(delay == steps)
            result[:, steps:, columns] = rows[:, : num_steps - steps, columns]
    return result
