"""How a paper builds its layers: weights, modulation and neuron, as presets of one dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import block
from ..errors import OptionError, check_option
from ..functional.weights import FIRST_SHARPNESS, QUANTIZED_SCALES, STANDARDS
from ..modulation import AGMM
from ..neuron import LIF, QCFS, MultiThresholdLIF
from ..synapse import Binarize, Quantize

Pair = int | tuple[int, int]

NEURONS: dict[str, Any] = {"lif": LIF, "multi_threshold": MultiThresholdLIF, "qcfs": QCFS}


@dataclass(frozen=True, kw_only=True)
class Method:
    """What every layer of a network is made of.

    Attributes:
        hidden: weights between first and last layer: ``"channel"``, ``"layer"`` or ``"power_of_two"`` for 1
            bit, 2..16 for k bits, ``None`` for floating point.
        ends: bits of the first and the last layer; ``None`` for floating point.
        ends_scale: their step, ``"channel"``, ``"layer"`` or ``"signed_maximum"``; ``None`` for one per
            channel in the first and one per layer in the last.
        shortcut: weights of 1x1 shortcuts, as ``hidden``.
        standardize: standardise 1-bit hidden weights and shortcuts first (WS-DR), per ``"layer"`` or
            ``"filter"``; ``None`` for neither.
        estimator: gradient of their signs: ``"straight_through"`` or ``"annealed"``
            (:func:`lava_bsnn.training.anneal`), which is for standardised weights.
        modulation: ``"agmm"`` or ``None``.
        modulation_options: options of :class:`lava_bsnn.modulation.AGMM`.
        neuron: ``"lif"``, ``"multi_threshold"``, ``"qcfs"`` (an ANN for hybrid training), or the name of a
            class that :func:`netx_export.register_neuron` got.
        neuron_params: parameters of the neuron.
        mix_frames: frames F that multi-threshold neurons of the first layer mix into T steps; None for T.
    """

    hidden: str | int | None = "channel"
    ends: int | None = None
    ends_scale: str | None = None
    shortcut: str | int | None = None
    standardize: str | None = None
    estimator: str = "straight_through"
    modulation: str | None = None
    modulation_options: Mapping[str, Any] = field(default_factory=dict)
    neuron: str = "lif"
    neuron_params: Mapping[str, Any] = field(default_factory=lambda: {"threshold": 1.0, "voltage_decay": 0.5})
    mix_frames: int | None = None

    def __post_init__(self) -> None:
        check_option("Method", "modulation", self.modulation, ("agmm", None))
        check_option("Method", "neuron", self.neuron, NEURONS)
        check_option("Method", "standardize", self.standardize, STANDARDS)
        check_option("Method", "estimator", self.estimator, ("straight_through", "annealed"))
        check_option("Method", "ends_scale", self.ends_scale, (*QUANTIZED_SCALES, None))
        frames = self.mix_frames
        if frames is not None and (self.neuron != "multi_threshold" or type(frames) is not int or frames < 1):
            raise OptionError(
                f"Method: mix_frames={frames!r} with neuron={self.neuron!r} is not allowed; use a number of "
                "frames, 1 or more, with 'multi_threshold'"
            )

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
    # Q-SNN: standardised 1-bit hidden weights and shortcuts, 8 bit at both ends, 8-bit membranes
    "qsnn": Method(
        ends=8,
        shortcut="channel",
        standardize="layer",
        neuron_params={"threshold": 1.0, "voltage_decay": 0.5, "membrane_bits": 8},
    ),
    # the same as its authors' program has it: docs/papers.md
    "qsnn-authors": Method(
        hidden="power_of_two",
        shortcut="power_of_two",
        standardize="filter",
        estimator="annealed",
        ends=8,
        ends_scale="signed_maximum",
        neuron_params={
            "threshold": 1.0,
            "voltage_decay": 0.5,
            "strict": True,
            "membrane_bits": 8,
            "membrane_mode": "authors",
        },
    ),
    # LM-HT, trained directly: L = 2 thresholds of 2 / L, learned mixing of steps
    "lmht": Method(
        hidden=None,
        neuron="multi_threshold",
        neuron_params={"levels": 2, "threshold": 1.0},
    ),
    # ANN with quantised activations, the first half of hybrid training; num_steps=1
    "qcfs": Method(
        hidden=None, neuron="qcfs", neuron_params={"levels": 4, "threshold": 1.0, "scale_gradient": True}
    ),
}
"""The methods of the papers, by name."""


def _inner(option: str | int | None, method: Method) -> dict[str, Any]:
    """Weights of hidden layers and shortcuts as options of a block."""
    if isinstance(option, str):
        sharpness = FIRST_SHARPNESS if method.estimator == "annealed" else None
        return {"pre_hook_fx": Binarize(scale=option, standardize=method.standardize, sharpness=sharpness)}
    return {"binarize": None, "weight_bits": option}


def _ends(method: Method) -> dict[str, Any]:
    """Weights of the first and the last layer as options of a block."""
    if method.ends is not None and method.ends_scale is not None:
        return {"pre_hook_fx": Quantize(bits=method.ends, scale=method.ends_scale)}
    return {"binarize": None, "weight_bits": method.ends}


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Makes blocks according to a :class:`Method`."""

    method: Method
    num_steps: int

    def _options(self, features: int, first: bool) -> dict[str, Any]:
        method, frames = self.method, self.method.mix_frames if first else None
        options: dict[str, Any] = {
            "neuron_params": dict(method.neuron_params),
            "neuron": NEURONS[method.neuron],
        }
        if method.modulation == "agmm":
            options["modulation"] = AGMM(frames or self.num_steps, features, **method.modulation_options)
        if method.neuron == "multi_threshold":
            options["neuron_params"].setdefault("num_steps", self.num_steps)
        if frames is not None:
            options["neuron_params"]["num_frames"] = frames
        return options

    def _hidden(self, first: bool) -> dict[str, Any]:
        if first:
            return _ends(self.method)
        return _inner(self.method.hidden, self.method)

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
            **self._hidden(first),
            **self._options(features, first),
        )

    def shortcut(self, inputs: int, features: int, stride: int) -> list[block.Block]:
        """Identity where the shape stays, else a strided 1x1 convolution with batch norm."""
        if inputs == features and stride == 1:
            return []
        weights = _inner(self.method.shortcut, self.method)
        return [block.Conv(None, inputs, features, 1, stride, **weights)]

    def dense(self, inputs: int, features: int, *, first: bool = False, norm: str = "batch") -> block.Dense:
        """Fully connected spiking layer."""
        return block.Dense(
            in_neurons=inputs,
            out_neurons=features,
            norm=norm,
            **self._hidden(first),
            **self._options(features, first),
        )

    def recurrent(self, inputs: int, features: int, *, first: bool = False) -> block.Recurrent:
        """Fully connected layer that feeds itself; ``first``: its input takes the bits of the ends."""
        return block.Recurrent(
            in_neurons=inputs,
            out_neurons=features,
            feedback=self._hidden(False),
            **self._hidden(first),
            **self._options(features, first),
        )

    def readout(self, inputs: int, classes: int) -> block.Readout:
        """Last layer, at the bits of the ends."""
        return block.Readout(None, inputs, classes, **_ends(self.method))


def method_of(method: str | Method, **changes: Any) -> Method:
    """A preset by name, or a method of one's own, with fields changed.

    Raises:
        OptionError: an unknown name or field.
    """
    if isinstance(method, str):
        check_option("models.create", "method", method, METHODS)
        method = METHODS[method]
    for name in changes:
        check_option("models.create", "method_options", name, Method.__dataclass_fields__)
    return replace(method, **changes)
