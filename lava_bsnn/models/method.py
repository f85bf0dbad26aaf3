"""How a paper builds its layers: weights, modulation and neuron, as presets of one dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import block
from ..errors import OptionError, check_option
from ..modulation import AGMM
from ..neuron import LIF

Pair = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What every layer of a network is made of.

    Attributes:
        hidden: weights between first and last layer: ``"channel"`` or ``"layer"`` for 1 bit,
            2..16 for k bits, ``None`` for floating point.
        ends: bits of the first and the last layer; ``None`` for floating point.
        shortcut: weights of 1x1 shortcuts, as ``hidden``.
        modulation: ``"agmm"`` or ``None``.
        agmm: options of :class:`lava_bsnn.modulation.AGMM`.
        neuron_params: parameters of the neuron.
    """

    hidden: str | int | None = "channel"
    ends: int | None = None
    shortcut: str | int | None = None
    modulation: str | None = None
    agmm: Mapping[str, Any] = field(default_factory=dict)
    neuron_params: Mapping[str, Any] = field(default_factory=lambda: {"threshold": 1.0, "voltage_decay": 0.5})

    def __post_init__(self) -> None:
        check_option("Method", "modulation", self.modulation, ("agmm", None))

    def layers(self, num_steps: int) -> Layers:
        """Return a maker of blocks for ``num_steps`` time steps."""
        return Layers(method=self, num_steps=num_steps)


METHODS: dict[str, Method] = {
    # all weights in floating point
    "fp": Method(hidden=None),
    # vanilla binary SNN: 1-bit hidden weights, first and last layer and shortcuts in floating point
    "binary": Method(),
    # AGMM: the same with the gate in front of every neuron
    "agmm": Method(modulation="agmm"),
    # Q-SNN: 1-bit hidden weights and shortcuts, first and last layer at 8 bit
    "qsnn": Method(ends=8, shortcut="channel"),
}
"""The methods of the papers, by name."""


def _weights(option: str | int | None) -> dict[str, Any]:
    if isinstance(option, str):
        return {"binarize": option}
    return {"binarize": None, "weight_bits": option}


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Makes blocks according to a :class:`Method`."""

    method: Method
    num_steps: int

    def _options(self, features: int) -> dict[str, Any]:
        method = self.method
        options: dict[str, Any] = {"neuron_params": dict(method.neuron_params), "neuron": LIF}
        if method.modulation == "agmm":
            options["modulation"] = AGMM(self.num_steps, features, **method.agmm)
        return options

    def conv(
        self, inputs: int, features: int, kernel: int, stride: int = 1, *, first: bool = False
    ) -> block.Conv:
        """Convolution that keeps height and width at stride 1; ``first`` takes the bits of the ends."""
        return block.Conv(
            in_features=inputs,
            out_features=features,
            kernel_size=kernel,
            stride=stride,
            padding=kernel // 2,
            **_weights(self.method.ends if first else self.method.hidden),
            **self._options(features),
        )

    def shortcut(self, inputs: int, features: int, stride: int) -> list[block.Block]:
        """Identity where the shape stays, else a strided 1x1 convolution with batch norm."""
        if inputs == features and stride == 1:
            return []
        weights = _weights(self.method.shortcut if self.method.hidden is not None else None)
        return [block.Conv(None, inputs, features, 1, stride, **weights)]

    def dense(self, inputs: int, features: int, *, first: bool = False) -> block.Dense:
        """Fully connected spiking layer."""
        return block.Dense(
            in_neurons=inputs,
            out_neurons=features,
            **_weights(self.method.ends if first else self.method.hidden),
            **self._options(features),
        )

    def readout(self, inputs: int, classes: int) -> block.Readout:
        """Last layer, at the bits of the ends."""
        return block.Readout(None, inputs, classes, **_weights(self.method.ends))


def method_of(method: str | Method, **changes: Any) -> Method:
    """A preset by name, or a method of one's own, with fields changed.

    Raises:
        OptionError: an unknown name or field.
    """
    if isinstance(method, str):
        check_option("models.create", "method", method, METHODS)
        method = METHODS[method]
    try:
        return replace(method, **changes)
    except TypeError as error:
        raise OptionError(f"models.create: {error}") from error
