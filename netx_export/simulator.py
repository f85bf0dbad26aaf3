"""Batched integer simulation of a :class:`FixedPointNetwork`, exact to the last bit.

Convolutions run in float32: a network's weighted inputs stay below 2^17 by construction
(:data:`netx_export.limits.ACTIVATION_MAX`), where float32 sums of integers are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lava_bsnn import fixed_point
from lava_bsnn.errors import ShapeError
from lava_bsnn.functional.time import direct_code, fold_time, time_major, unfold_time

from .network import INPUT, Conv, FixedPointNetwork, Layer, Readout, Synapse


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What one layer did.

    Attributes:
        spikes: bool ``[N, *shape, T]``.
        potential: int32 ``[N, *shape, T]``, membrane steps, before reset; None if unknown.
    """

    spikes: np.ndarray
    potential: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """Result of a run, aligned with the input: step t of every layer belongs to input step t.

    Attributes:
        spikes: bool ``[N, *shape, T]`` of a last layer that spikes, else None.
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
    if low < 0 or high > net.input.max_value:
        raise ShapeError(f"data: values {low}..{high} do not fit; use 0..{net.input.max_value}")
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
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Simulate all samples of ``x``, each from a reset state.

    Args:
        net: the network.
        x: integers ``[N, C, H, W, T]`` or ``[N, C, T]``: spikes 0 / 1, or intensities.
        trace: keep spikes and potentials of every layer.
        batch_size: samples at a time; bounds the memory.
        progress: called with the number of samples done after each batch.

    Raises:
        ShapeError: ``x`` does not fit the network.
    """
    x = check_data(net, x)
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
        activation = sum(
            _weighted_input(connection.synapse, messages[connection.source])
            for connection in layer.connections
        )
        assert isinstance(activation, Tensor)
        spikes, potential = _run_neurons(layer, time_major(activation))
        messages[layer.name] = spikes.movedim(0, -1).float()
        if trace or layer is net.output:
            traces[layer.name] = Trace(
                spikes=spikes.movedim(0, -1).numpy(), potential=potential.movedim(0, -1).numpy()
            )
    return traces


def _weighted_input(synapse: Synapse, messages: Tensor) -> Tensor:
    """Weighted input ``[N, *shape, T]`` in weight steps."""
    images, num_steps = fold_time(messages)
    weight = torch.from_numpy(synapse.weight.astype(np.float32))
    if isinstance(synapse, Conv):
        y = F.conv2d(images, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
    else:
        y = F.linear(images.flatten(1), weight)
    return unfold_time(y, messages.shape[0], num_steps)


def _run_neurons(layer: Layer, activation: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes (bool) and potential before reset (int32), both ``[T, N, *shape]``."""
    neuron = layer.neuron
    bias = torch.from_numpy(neuron.bias.astype(np.int64)).reshape(-1, *[1] * (len(layer.shape) - 1))
    spikes = torch.empty(activation.shape, dtype=torch.bool)
    potentials = torch.empty(activation.shape, dtype=torch.int32)
    current = potential = torch.zeros(activation.shape[1:], dtype=torch.int64)
    for t in range(len(activation)):
        current, potential = fixed_point.integrate(
            current,
            potential,
            activation[t],
            current_decay=neuron.current_decay,
            voltage_decay=neuron.voltage_decay,
            bias=bias,
        )
        potentials[t] = potential
        spikes[t], potential = fixed_point.fire(potential, neuron.threshold)
    return spikes, potentials
