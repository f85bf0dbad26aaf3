"""The frozen network: integers only, in a small graph of frozen dataclasses.

Shapes are ``(C, H, W)`` or ``(C,)``; weights are in torch's order. Weights, biases and
thresholds are in weight steps (see :mod:`lava_bsnn.fixed_point`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import NO_MEMORY

from . import limits

Shape = tuple[int, ...]
INPUT = "input"
"""Name under which connections refer to the network's input."""


class _Content:
    """Equality and hash by content; arrays become read-only int32 copies."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                array = np.array(value, dtype=np.int32, order="C")
                if not np.array_equal(array, value):
                    raise ExportError(
                        f"{type(self).__name__}: {field.name} must hold 32-bit integers; round it first"
                    )
                array.flags.writeable = False
                object.__setattr__(self, field.name, array)

    def _items(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            yield field.name, (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and dict(self._items()) == dict(other._items())  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(self._items())))


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(_Content):
    """Input of the network.

    Attributes:
        shape: ``(C, H, W)`` or ``(C,)``.
        bits: 0 for binary spikes, k for unsigned k-bit intensities.
    """

    shape: Shape
    bits: int = 0

    @property
    def max_value(self) -> int:
        """Largest integer that enters."""
        return (1 << self.bits) - 1 if self.bits else 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(_Content):
    """Convolution synapse; ``weight`` is ``[out, in / groups, kh, kw]``, pairs are (h, w)."""

    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        """Shape for an input ``(C, H, W)``; raises ``ValueError`` if it does not fit."""
        out_channels, in_channels, *kernel = self.weight.shape
        if len(shape) != 3 or shape[0] != in_channels * self.groups:
            raise ValueError(f"conv of {in_channels * self.groups} channels cannot take input {shape}")
        if min(*self.stride, *self.dilation, self.groups, *kernel) < 1 or min(self.padding) < 0:
            raise ValueError(
                f"conv with stride {self.stride}, padding {self.padding}, dilation {self.dilation} and "
                f"{self.groups} groups is not possible"
            )
        size = [
            (n + 2 * pad - dilation * (k - 1) - 1) // stride + 1
            for n, k, stride, pad, dilation in zip(
                shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        if min(size) < 1:
            raise ValueError(f"conv kernel {tuple(kernel)} is larger than input {shape}")
        return (out_channels, *size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(_Content):
    """Full connection; ``weight`` is ``[out, in]`` and reads its input in C, H, W order."""

    weight: np.ndarray

    def output_shape(self, shape: Shape) -> Shape:
        """Shape for any input of the right size; raises ``ValueError`` if it does not fit."""
        if math.prod(shape) != self.weight.shape[1]:
            raise ValueError(f"dense of {self.weight.shape[1]} inputs cannot take input {shape}")
        return (self.weight.shape[0],)


Synapse = Conv | Dense


@dataclass(frozen=True, kw_only=True, eq=False)
class LIF(_Content):
    """Leaky integrate-and-fire neurons with hard reset.

    Attributes:
        threshold: mantissa; spikes where v is strictly above ``threshold << 6``.
        bias: mantissa per channel, ``[C]``.
        current_decay, voltage_decay: 0..4096.
    """

    threshold: int
    bias: np.ndarray
    current_decay: int = NO_MEMORY
    voltage_decay: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout(_Content):
    """Integrators that never spike; their potential is the running sum of the logits.

    Attributes:
        bias: mantissa per class, ``[C]``.
    """

    bias: np.ndarray

    threshold = limits.THRESHOLD_MAX
    current_decay = NO_MEMORY
    voltage_decay = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Connection(_Content):
    """A synapse and the layer (or ``"input"``) that feeds it."""

    source: str
    synapse: Synapse


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(_Content):
    """Neurons and the connections whose currents they add up."""

    name: str
    connections: tuple[Connection, ...]
    neuron: LIF | Readout
    shape: Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPointNetwork(_Content):
    """An all-integer spiking network; layers stand in topological order.

    Raises:
        ExportError: shapes do not fit or a value is outside :mod:`netx_export.limits`;
            the message lists every offending layer.
    """

    input: Input
    layers: tuple[Layer, ...]
    profile: str = "stock"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = list(self._problems())
        if problems:
            raise ExportError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        if self.profile != "stock":
            yield f"profile={self.profile!r} is unknown; use 'stock'"
        if self.input.bits not in range(limits.MESSAGE_BITS_MAX + 1):
            yield f"input: bits={self.input.bits} is not allowed; use 0..{limits.MESSAGE_BITS_MAX}"
        if not self.layers:
            yield "a network needs at least one layer"
        shapes = {INPUT: self.input.shape}
        for layer in self.layers:
            if layer.name in shapes:
                yield f"{layer.name}: the name is used twice"
            yield from _layer_problems(layer, shapes, self.max_value)
            shapes[layer.name] = layer.shape

    def max_value(self, source: str) -> int:
        """Largest message that ``source`` sends: 1 for spikes."""
        return self.input.max_value if source == INPUT else 1

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    @property
    def output(self) -> Layer:
        """The last layer."""
        return self.layers[-1]

    @property
    def latency(self) -> int:
        """Steps by which Lava delays the output: one per synapse."""
        depth = {INPUT: 0}
        for layer in self.layers:
            depth[layer.name] = 1 + max(depth[c.source] for c in layer.connections)
        return depth[self.output.name]

    @property
    def max_steps(self) -> int | None:
        """Steps after which a worst-case input could overflow a readout; None without readout."""
        neuron = self.output.neuron
        if not isinstance(neuron, Readout):
            return None
        per_step = _worst_activation(self.output, self.max_value) + np.abs(neuron.bias)
        return int(limits.THRESHOLD_MAX // max(1, int(per_step.max())))

    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        sha = hashlib.sha256()
        _feed(sha, self)
        return sha.hexdigest()

    def encode(self, intensities: np.ndarray, num_steps: int) -> np.ndarray:
        """Turn intensities in [0, 1] ``[N, *shape]`` into the integers ``[N, *shape, T]`` that enter.

        Raises:
            ExportError: the network takes spikes, or a value or the shape does not fit.
        """
        x = np.asarray(intensities)
        if not self.input.bits:
            raise ExportError(
                "input: this network takes spikes, which go in as they are; for intensities, train with "
                "block.Input(bits=k)"
            )
        if x.shape[1:] != self.input.shape:
            raise ExportError(f"input: samples of shape {x.shape[1:]} do not fit; use {self.input.shape}")
        if x.size and not (x.min() >= 0 and x.max() <= 1):
            raise ExportError(f"input: intensities {x.min()}..{x.max()} do not fit; scale them to 0..1")
        levels = np.rint(x.astype(np.float32) * np.float32(self.input.max_value)).astype(np.int32)
        return np.broadcast_to(levels[..., None], (*levels.shape, num_steps))

    def __str__(self) -> str:
        header = ("layer", "synapse", "shape", "weights", "range", "threshold", "vDecay")
        rows = [header, (INPUT, f"{self.input.bits or 1} bit", _times(self.input.shape), "", "", "", "")]
        for layer in self.layers:
            weights = [connection.synapse.weight for connection in layer.connections]
            low, high = min(int(w.min()) for w in weights), max(int(w.max()) for w in weights)
            fires = isinstance(layer.neuron, LIF)
            rows.append(
                (
                    layer.name,
                    "+".join(type(c.synapse).__name__.lower() for c in layer.connections),
                    _times(layer.shape),
                    str(sum(w.size for w in weights)),
                    f"{low}..{high}",
                    str(layer.neuron.threshold) if fires else "none",
                    str(layer.neuron.voltage_decay),
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _feed(sha: Any, node: Any) -> None:
    if isinstance(node, _Content):
        sha.update(type(node).__name__.encode())
        for name, value in node._items():
            sha.update(name.encode())
            _feed(sha, value)
    elif isinstance(node, tuple):
        sha.update(f"({len(node)}".encode())
        for value in node:
            _feed(sha, value)
    else:
        sha.update(node if isinstance(node, bytes) else repr(node).encode())


def _worst_activation(layer: Layer, max_value: Any) -> np.ndarray:
    """``sum |w| * largest message`` per output channel, over all connections."""
    return sum(
        np.abs(c.synapse.weight.astype(np.int64)).reshape(len(c.synapse.weight), -1).sum(1)
        * max_value(c.source)
        for c in layer.connections
    )  # type: ignore[return-value]


def _layer_problems(layer: Layer, shapes: dict[str, Shape], max_value: Any) -> Iterator[str]:
    name, neuron = layer.name, layer.neuron
    if not layer.connections:
        yield f"{name}: has no connection"
        return
    for connection in layer.connections:
        if connection.source not in shapes:
            yield f"{name}: source {connection.source!r} does not come before it"
            return
        try:
            shape = connection.synapse.output_shape(shapes[connection.source])
        except ValueError as error:
            yield f"{name}: {error}"
            return
        if shape != layer.shape:
            yield f"{name}: shape {layer.shape} does not fit its synapse's output {shape}"
            return
        weight = connection.synapse.weight
        if weight.min() < limits.WEIGHT_MIN or weight.max() > limits.WEIGHT_MAX:
            yield (
                f"{name}: weights {weight.min()}..{weight.max()} are out of range; "
                f"{limits.WEIGHT_MIN}..{limits.WEIGHT_MAX} are allowed"
            )
    if neuron.bias.shape != (layer.shape[0],):
        yield f"{name}: bias of shape {neuron.bias.shape} does not fit; use ({layer.shape[0]},)"
    elif neuron.bias.min() < limits.BIAS_MIN or neuron.bias.max() > limits.BIAS_MAX:
        yield (
            f"{name}: bias {neuron.bias.min()}..{neuron.bias.max()} is out of range; "
            f"{limits.BIAS_MIN}..{limits.BIAS_MAX} are allowed (13 bit)"
        )
    if not 0 <= neuron.threshold <= limits.THRESHOLD_MAX:
        yield f"{name}: threshold {neuron.threshold} is out of range; 0..{limits.THRESHOLD_MAX} are allowed"
    for decay in ("current_decay", "voltage_decay"):
        value = getattr(neuron, decay)
        if not 0 <= value <= limits.DECAY_MAX:
            yield f"{name}: {decay}={value} is out of range; 0..{limits.DECAY_MAX} are allowed"
    worst = int(_worst_activation(layer, max_value).max())
    if worst > limits.ACTIVATION_MAX:
        yield (
            f"{name}: sum|w| * largest input = {worst} overflows the 24-bit current; "
            f"at most {limits.ACTIVATION_MAX} is allowed; use fewer input bits or smaller weights"
        )
