"""What a run gives, and what it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lava_bsnn.errors import ShapeError

from ..network import FixedPointNetwork, Shape
from ..network.samples import as_array, check_fit


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

    Behind a mixing of F frames into T steps, arrays have these T.

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
        """Class per sample ``[N]`` by the largest final potential, or most spikes; ties to the lowest."""
        if self.readout is not None:
            result: np.ndarray = self.readout[..., -1].argmax(1)
        else:
            assert self.spikes is not None
            result = self.spikes.reshape(*self.spikes.shape[:2], -1).sum(-1).argmax(1)
        return result


def shape_of_samples(x: Any) -> Shape | None:
    """``shape`` of an array or tensor ``[N, *shape, T]``; None if it has none."""
    return tuple(getattr(x, "shape", ()))[1:-1] or None


def joined(parts: Sequence[Simulation]) -> Simulation:
    """Results of runs of one network as that of all their samples."""
    first = parts[0]

    def join(arrays: Iterable[np.ndarray | None]) -> np.ndarray | None:
        found = [array for array in arrays if array is not None]
        return np.concatenate(found) if found else None

    layers = {}
    for name in first.layers:
        spikes = np.concatenate([part.layers[name].spikes for part in parts])
        layers[name] = Trace(spikes=spikes, potential=join(part.layers[name].potential for part in parts))
    return replace(
        first,
        spikes=join(part.spikes for part in parts),
        readout=join(part.readout for part in parts),
        layers=layers,
        seconds=sum(part.seconds for part in parts),
    )


def check_data(net: FixedPointNetwork, x: np.ndarray) -> np.ndarray:
    """Return ``x`` as an array if the network can take it.

    Raises:
        ShapeError: wrong shape, not integers, out of range, or too many steps.
    """
    x = as_array("data", x)
    check_fit("data", x, net.input.shape, frames=False)
    if x.shape[0] < 1 or x.shape[-1] < 1:
        raise ShapeError(f"data: shape {x.shape} is empty; use at least one sample and one step")
    if x.dtype.kind not in "iub":
        raise ShapeError(
            f"data: {x.dtype} values are not allowed; use integers: x.astype(int) of spikes, or net.encode(x)"
        )
    low, high = int(x.min()), int(x.max())
    if low < net.input.min_value or high > net.input.max_value:
        allowed = f"{net.input.min_value}..{net.input.max_value}"
        raise ShapeError(f"data: values {low}..{high} do not fit; use {allowed}")
    if net.num_steps is not None and x.shape[-1] != net.num_steps:
        raise ShapeError(
            f"data: {x.shape[-1]} steps do not fit the network's gates and mixings; use {net.num_steps}"
        )
    steps = net.steps(net.output.name, x.shape[-1])
    if net.max_steps is not None and steps > net.max_steps:
        raise ShapeError(
            f"data: {steps} steps could overflow the readout's 24-bit potential; use at most "
            f"{net.max_steps}, or convert(model, num_steps={steps})"
        )
    return x


def simulation_of(net: FixedPointNetwork, traces: dict[str, Trace], trace: bool) -> Simulation:
    """Result of a run, from what its layers did; ``traces`` holds the output at least."""
    last = traces[net.output.name]
    return Simulation(
        spikes=None if net.reads_out else last.spikes,
        readout=last.potential if net.reads_out else None,
        latency=net.latency,
        layers=traces if trace else {},
    )
