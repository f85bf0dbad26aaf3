"""Batched integer simulation of a :class:`FixedPointNetwork`, exact to the last bit.

Convolutions run in float32: a network's weighted inputs stay below 2^23 by construction
(:mod:`netx_export.checks`), where float32 sums of integers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lava_bsnn import fixed_point
from lava_bsnn.errors import ShapeError
from lava_bsnn.functional.time import direct_code, fold_time, time_major, unfold_time

from .dynamics import LayerDynamics
from .network import INPUT, BiasInput, Connection, Conv, FixedPointNetwork, Layer, Readout
from .synapses import weight_of

_CACHED_NEURONS = 1 << 18
_MOST_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What one layer did.

    Attributes:
        spikes: ``[N, *shape, T]``; bool, or int16 counts of a multi-threshold neuron.
        potential: int32 ``[N, *shape, T]``, membrane steps, before reset; None if unknown.
    """

    spikes: np.ndarray
    potential: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """Result of a run, aligned with the input: step t of every layer belongs to input step t.

    Attributes:
        spikes: ``[N, *shape, T]`` of a last layer that spikes (bool, or int16 counts), else None.
        readout: int32 ``[N, C, T]`` potential of a last layer that does not, else None.
        latency: steps by which Lava delays the output; removed here.
        layers: what each layer did, by name; empty unless traced.
        seconds: wall time of the run.
    """

    spikes: np.ndarray | None
    readout: np.ndarray | None
    latency: int
    layers: dict[str, Trace] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def prediction(self) -> np.ndarray:
        """Class per sample ``[N]``: largest final potential, or most spikes; ties to the lowest."""
        if self.readout is not None:
            result: np.ndarray = self.readout[..., -1].argmax(1)
        else:
            assert self.spikes is not None
            result = self.spikes.reshape(*self.spikes.shape[:2], -1).sum(-1).argmax(1)
        return result


def check_data(net: FixedPointNetwork, x: np.ndarray) -> np.ndarray:
    """Return ``x`` as an array if the network can take it.

    Raises:
        ShapeError: wrong shape, not integers, out of range, or too many steps.
    """
    x = np.asarray(x)
    expected = "[N, " + ", ".join(map(str, net.input.shape)) + ", T]"
    if x.ndim != len(net.input.shape) + 2 or x.shape[1:-1] != net.input.shape:
        raise ShapeError(f"data: shape {x.shape} does not fit; use {expected}")
    if x.shape[0] < 1 or x.shape[-1] < 1:
        raise ShapeError(f"data: shape {x.shape} is empty; use at least one sample and one step")
    if x.dtype.kind not in "iub":
        raise ShapeError(f"data: {x.dtype} values are not allowed; use integers (net.encode gives them)")
    low, high = int(x.min()), int(x.max())
    if low < net.input.min_value or high > net.input.max_value:
        allowed = f"{net.input.min_value}..{net.input.max_value}"
        raise ShapeError(f"data: values {low}..{high} do not fit; use {allowed}")
    if net.num_steps is not None and x.shape[-1] != net.num_steps:
        raise ShapeError(
            f"data: {x.shape[-1]} steps do not fit the network's gates and mixings; use {net.num_steps}"
        )
    if net.max_steps is not None and x.shape[-1] > net.max_steps:
        raise ShapeError(
            f"data: {x.shape[-1]} steps could overflow the readout's 24-bit potential; use at most "
            f"{net.max_steps}, or convert(model, num_steps={x.shape[-1]})"
        )
    return x


def simulate(
    net: FixedPointNetwork,
    x: np.ndarray,
    *,
    trace: bool = False,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Simulate all samples of ``x``, each from a reset state.

    Args:
        net: the network.
        x: integers ``[N, C, H, W, T]`` or ``[N, C, T]``: spikes 0 / 1, or intensities.
        trace: keep spikes and potentials of every layer.
        batch_size: samples at a time; by default as many as the processor's cache takes.
        progress: called with the number of samples done after each batch.

    Raises:
        ShapeError: ``x`` does not fit the network.
    """
    x = check_data(net, x)
    if batch_size is None:
        largest = max(math.prod(layer.shape) for layer in net.layers)
        batch_size = max(1, min(_MOST_SAMPLES, _CACHED_NEURONS // largest))
    if batch_size < 1:
        raise ShapeError(f"simulate: batch_size={batch_size} is not allowed; use 1 or more")
    parts = []
    for start in range(0, len(x), batch_size):
        parts.append(_simulate_batch(net, x[start : start + batch_size], trace))
        if progress is not None:
            progress(min(start + batch_size, len(x)))
    layers = {
        name: Trace(
            spikes=np.concatenate([part[name].spikes for part in parts]),
            potential=np.concatenate([_known(part[name].potential) for part in parts]),
        )
        for name in parts[0]
    }
    last = layers[net.output.name]
    reads_out = isinstance(net.output.neuron, Readout)
    return Simulation(
        spikes=None if reads_out else last.spikes,
        readout=last.potential if reads_out else None,
        latency=net.latency,
        layers=layers if trace else {},
    )


def _known(potential: np.ndarray | None) -> np.ndarray:
    assert potential is not None
    return potential


@torch.no_grad()
def _simulate_batch(net: FixedPointNetwork, x: np.ndarray, trace: bool) -> dict[str, Trace]:
    if x.shape[-1] > 1 and x.strides[-1] == 0:  # one frame, repeated
        frames = torch.from_numpy(x[..., 0].astype(np.float32))
        messages = {INPUT: direct_code(frames, x.shape[-1])}
    else:
        messages = {INPUT: torch.from_numpy(x.astype(np.float32))}
    traces = {}
    for layer in net.layers:
        keeps = trace or layer is net.output
        spikes, potential = _run_layer(layer, messages, keeps)
        messages[layer.name] = spikes.movedim(0, -1).float()
        if keeps:
            assert potential is not None
            traces[layer.name] = Trace(
                spikes=spikes.movedim(0, -1).numpy(), potential=potential.movedim(0, -1).numpy()
            )
    return traces


def _run_layer(layer: Layer, messages: dict[str, Tensor], keeps: bool) -> tuple[Tensor, Tensor | None]:
    """Messages (bool or int16) and, if asked for, potentials (int32), ``[T, N, *shape]``."""
    dynamics = LayerDynamics(layer, torch.from_numpy)
    inputs: dict[int, Tensor] = {}
    injected: Tensor | None = None
    for index, connection in enumerate(layer.connections):
        if isinstance(connection.synapse, BiasInput):
            injected = time_major(messages[connection.source]).long()
        elif connection.source != layer.name:
            inputs[index] = _weighted_input(connection, messages[connection.source])
    num_samples, num_steps = messages[INPUT].shape[0], messages[INPUT].shape[-1]
    size = (num_samples, *layer.shape)
    counts = layer.neuron.max_message > 1
    sent = torch.empty((num_steps, *size), dtype=torch.int16 if counts else torch.bool)
    potentials = torch.empty((num_steps, *size), dtype=torch.int32) if keeps else None
    feedback = _Feedback(layer, num_samples)

    def current(t: int) -> Tensor:
        weighted = [(index, steps[t]) for index, steps in inputs.items()] + feedback.weighted(t)
        currents = [dynamics.current(index, x, t) for index, x in weighted]
        return sum(currents[1:], currents[0]) if currents else torch.zeros(size, dtype=torch.int64)

    whole = None
    omega: Tensor = dynamics.omega
    if layer.mix is not None and not layer.mix.causal:
        whole = fixed_point.mix(torch.stack([current(t) for t in range(num_steps)]), omega)
    seen: list[Tensor] = []
    state = dynamics.start(torch.zeros(size, dtype=torch.int64))
    for t in range(num_steps):
        if whole is not None:
            total = whole[t]
        else:
            total = current(t)
            if layer.mix is not None:
                seen.append(total)
                total = fixed_point.mix(torch.stack(seen), omega[t : t + 1, : t + 1])[0]
        state, spikes, potential = dynamics.step(state, total, 0 if injected is None else injected[t], t)
        sent[t] = spikes
        feedback.append(spikes)
        if potentials is not None:
            potentials[t] = potential
    return sent, potentials


class _Feedback:
    """Connections of a layer to itself: what the neurons sent reaches them one step later."""

    def __init__(self, layer: Layer, num_samples: int) -> None:
        self._loops = [(i, c) for i, c in enumerate(layer.connections) if c.source == layer.name]
        self._sent = [torch.zeros((num_samples, *layer.shape))]

    def append(self, spikes: Tensor) -> None:
        """Keep the messages of one step."""
        if self._loops:
            self._sent.append(spikes.float())

    def weighted(self, step: int) -> list[tuple[int, Tensor]]:
        """Weighted input at a step, by connection."""
        if not self._loops:
            return []
        longest = 1 + max(0 if c.delay is None else int(c.delay.max()) for _, c in self._loops)
        past = torch.stack(self._sent[max(0, step + 1 - longest) : step + 1], -1)
        return [(index, _weighted_input(c, past)[-1]) for index, c in self._loops]


def _weighted_input(connection: Connection, messages: Tensor) -> Tensor:
    """Weighted input ``[T, N, *shape]`` in weight steps, delays included."""
    synapse, delay = connection.synapse, connection.delay
    if delay is not None and delay.ndim == 2:
        flat = time_major(messages).flatten(2)
        messages = _shift(flat, delay.reshape(-1)).movedim(0, -1)
    weight = weight_of(synapse)
    if weight is None:
        y = messages
    else:
        images, num_steps = fold_time(messages)
        weights = torch.tensor(weight, dtype=torch.float32)
        if isinstance(synapse, Conv):
            options = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
            product = F.conv2d(images, weights, None, *options)
        else:
            product = F.linear(images.flatten(1), weights)
        y = unfold_time(product, messages.shape[0], num_steps)
    y = time_major(y)
    return y if delay is None or delay.ndim == 2 else _shift(y, delay)


def _shift(x: Tensor, delay: np.ndarray) -> Tensor:
    """``[T, N, C, ...]`` with channel c ``delay[c]`` steps later, zeros before."""
    result = torch.zeros_like(x)
    for steps in np.unique(delay):
        if steps < len(x):
            channels = torch.from_numpy(np.flatnonzero(delay == steps))
            result[int(steps) :, :, channels] = x[: len(x) - int(steps), :, channels]
    return result
