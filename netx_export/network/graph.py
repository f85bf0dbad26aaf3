"""The frozen network: integers only, in a small graph of frozen dataclasses.

Shapes are ``(C, H, W)`` or ``(C,)``. What one layer computes at one step, in membrane steps:

    X_k  = scale_k (W_k (*) x_k) + bias_k        for each connection k; x_k delayed by delay_k
    X_k <- gate_k(X_k)                           AGMM, where there is a gate
    I    = mix(sum_k X_k)                        T-GIM, where there is one
    neuron(I)                                    adds its own bias

This is the order of :class:`lava_bsnn.block.Residual`: batch norm (scale, bias) and modulation
(gate) belong to one path, the shortcut joins behind them, and the mixing sees the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lava_bsnn.encoding import Encoding
from lava_bsnn.errors import ExportError, OptionError
from lava_bsnn.limits import BIAS_INPUT_BITS, LIMITS

from ..content import Content, holds
from ..neurons import Neuron
from . import checks, summary
from .encode import encode
from .front import Gate, Mix
from .synapses import INPUT, BiasInput, Shape, Synapse

_TOP = LIMITS.potential_max
_SHAPE = ("ints", 1, 1 << 24)


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Content):
    """Input of the network: the integers that enter, and how samples become them.

    Attributes:
        shape: ``(C, H, W)`` or ``(C,)``.
        bits: 0 for binary spikes, k for messages of k bits.
        signed: messages have a sign, counted in the bits: 2..8, or 13 for inputs that enter as biases.
        transform: integers (weight, offset) of inputs that enter as biases: an intensity x enters as
            ``weight * x + offset`` rounded; None for intensities in 0..1 that fill the bits.
        encoding: what samples are; None for spikes, or intensities if there are bits; unknown if signed.
    """

    shape: Shape = holds(*_SHAPE)
    bits: int = holds("int", 0, BIAS_INPUT_BITS, default=0)
    signed: bool = holds("bool", default=False, optional=True)
    transform: tuple[int, int] | None = holds("ints", default=None, optional=True)
    encoding: Encoding | None = holds("node", types=("Encoding",), default=None, optional=True)

    @property
    def enters_as_bias(self) -> bool:
        """Whether the input adds to the biases of the first layer (:class:`BiasInput`)."""
        return self.signed and self.bits == BIAS_INPUT_BITS

    @property
    def max_value(self) -> int:
        """Largest integer that enters."""
        return (1 << (self.bits - self.signed)) - 1 if self.bits else 1

    @property
    def min_value(self) -> int:
        """Smallest integer that enters."""
        if isinstance(self.encoding, Encoding):
            return self.encoding.low
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def largest(self) -> int:
        """Largest magnitude of what enters."""
        return max(self.max_value, -self.min_value)

    @property
    def coded(self) -> Encoding | None:
        """The encoding, or the one that the bits imply; None where nothing tells what samples are."""
        if self.encoding is not None or self.signed:
            return self.encoding
        return Encoding(kind="intensities", bits=self.bits) if self.bits else Encoding()


@dataclass(frozen=True, kw_only=True, eq=False)
class Connection(Content):
    """A synapse, and the layer (or ``"input"``, or the layer itself) that feeds it.

    Attributes:
        source: name. A layer that feeds itself does so one step later.
        synapse: the weights.
        scale: membrane steps per weight step and channel ``[C]``; None for 64, Loihi's alignment.
        bias: membrane steps per channel ``[C]``, in front of gate, mixing, and current decay.
        gate: AGMM's gate, behind scale and bias.
        delay: axonal delays in steps, 0..62: ``[C]``, by which the weighted input of a channel
            comes later, or ``[1, in]``, by which the source's messages come later, those of each input of
            a dense synapse, else of each channel. The delays that balance paths of different depth are
            not part of it.
    """

    source: str = holds("text")
    synapse: Synapse = holds("node", types=("Conv", "Dense", "Identity", "BiasInput"))
    scale: np.ndarray | None = holds("array", -_TOP, _TOP, default=None, optional=True)
    bias: np.ndarray | None = holds("array", -_TOP, _TOP, default=None, optional=True)
    gate: Gate | None = holds("node", types=("Gate",), default=None, optional=True)
    delay: np.ndarray | None = holds("array", 0, LIMITS.delay_max, default=None, optional=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(Content):
    """Neurons and the connections whose currents they add up.

    Attributes:
        name: unique in the network.
        connections: at least one.
        neuron: of all the layer's neurons.
        shape: of the layer.
        mix: mixing of time steps in front of the neurons.
    """

    name: str = holds("text")
    connections: tuple[Connection, ...] = holds("nodes", types=("Connection",))
    neuron: Neuron = holds("node", types=("neuron",))
    shape: Shape = holds(*_SHAPE)
    mix: Mix | None = holds("node", types=("Mix",), default=None, optional=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedPointNetwork(Content):
    """An all-integer spiking network; layers stand in topological order.

    Attributes:
        input: what enters.
        layers: the last one is the output.
        profile: name of the target (:mod:`netx_export.targets`). ``"stock"``: what unmodified lava-dl 0.6.0
            can compute; ``"extended"``: all.
        classes: names of the classes, in the order of the output; empty if unknown.
        persistent: a sample is a stream of any length: it starts from rest and is never reset (SLAYER's
            ``persistent_state``).

    Raises:
        ExportError: shapes do not fit or a value is outside ``lava_bsnn.limits``;
            the message lists every offending layer.
    """

    input: Input = holds("node", types=("Input",))
    layers: tuple[Layer, ...] = holds("nodes", types=("Layer",))
    profile: str = holds("text", default="stock")
    classes: tuple[str, ...] = holds("texts", default=(), optional=True, count=(1, LIMITS.classes_max))
    persistent: bool = holds("bool", default=False, optional=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        found = list(checks.problems(self))
        if found:
            raise ExportError(*found)

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
    def reads_out(self) -> bool:
        """Whether the last layer never sends, and its potential is the result."""
        return self.output.neuron.reads_out

    def max_value(self, source: str) -> int:
        """Largest message that ``source`` sends: 1 for spikes."""
        return self.input.max_value if source == INPUT else self[source].neuron.max_message

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the input and of all layers, by name."""
        return {INPUT: self.input.shape, **{layer.name: layer.shape for layer in self.layers}}

    @cached_property
    def _depths(self) -> dict[str, int]:
        depths = {INPUT: 0}
        for layer in self.layers:
            arrival = max(
                (_arrival(c, depths) for c in layer.connections if c.source != layer.name), default=0
            )
            depths[layer.name] = arrival + (layer.mix.latency if layer.mix else 0)
        return depths

    def depth(self, name: str) -> int:
        """Steps by which Lava delays a layer: one per synapse, and F - 1 per mixing of whole windows."""
        return self._depths[name]

    def balancing_delay(self, layer: Layer, connection: Connection) -> int:
        """Steps for which a connection's messages wait for those of the layer's longest path."""
        if connection.source == layer.name:
            return 0
        arrival = self.depth(layer.name) - (layer.mix.latency if layer.mix else 0)
        return arrival - _arrival(connection, self._depths)

    @property
    def latency(self) -> int:
        """Steps by which Lava delays the output, its depth."""
        return self.depth(self.output.name)

    @property
    def num_steps(self) -> int | None:
        """Time steps of the input that gates and mixings are made for; None if any number will do."""
        for layer in self.layers:
            if layer.mix is not None:
                return layer.mix.num_frames
            for connection in layer.connections:
                if connection.gate is not None:
                    return connection.gate.num_steps
        return None

    @cached_property
    def mixed_steps(self) -> dict[str, int | None]:
        """Steps T of each layer behind a mixing of F frames into others; None where as many as enter."""
        found: dict[str, int | None] = {INPUT: None}
        for layer in self.layers:
            mix = layer.mix
            source = next(c.source for c in layer.connections if c.source != layer.name)
            mixes = mix is not None and mix.num_frames != mix.num_steps
            found[layer.name] = mix.num_steps if mix is not None and mixes else found[source]
        return found

    def steps(self, name: str, num_steps: int) -> int:
        """Steps of a layer for a sample of so many steps."""
        return self.mixed_steps[name] or num_steps

    def period(self, num_steps: int) -> int:
        """Steps in Lava's time from one sample of so many steps to the next: those of the slowest layer."""
        return max(self.steps(name, num_steps) for name in self.mixed_steps)

    @cached_property
    def max_steps(self) -> int | None:
        """Steps after which a worst-case input could overflow a sum over time; None where there is none."""
        limits = [checks.most_steps(self, layer) for layer in self.layers]
        return min((limit for limit in limits if limit is not None), default=None)

    def encode(self, samples: Any, num_steps: int | None = None) -> np.ndarray:
        """Turn samples into the integers ``[N, *shape, T]`` that enter, as the model's first block does.

        Args:
            samples: array or CPU tensor ``[N, *shape]``, or ``[N, *shape, T]`` with a time axis, of what
                ``input.encoding`` takes: spikes, counts, intensities or images in 0..1, uint8 pixels.
            num_steps: T, by which samples without a time axis are repeated; by default the model's own.

        Raises:
            ExportError: a value or the shape does not fit.
        """
        return encode(self.input, samples, num_steps or self.num_steps)

    def summary(self) -> summary.Summary:
        """Totals of weights, bits, neurons and synapses (:class:`netx_export.network.summary.Summary`)."""
        return summary.summarize(self)

    def __str__(self) -> str:
        return summary.table(self)


def check_network(where: str, net: Any) -> None:
    """Refuse what is no network.

    Raises:
        OptionError: as it says.
    """
    if not isinstance(net, FixedPointNetwork):
        raise OptionError(
            f"{where}: net is a {type(net).__name__}; use a FixedPointNetwork, from convert(model) or "
            "read(path)"
        )


def _arrival(connection: Connection, depths: dict[str, int]) -> int:
    return depths[connection.source] + (not isinstance(connection.synapse, BiasInput))
