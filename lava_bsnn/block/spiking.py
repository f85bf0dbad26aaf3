"""Blocks with a synapse: the order synapse, norm, modulation, neuron."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from .._slayer import step_delay
from ..axon import Delay
from ..device import grid_current
from ..errors import LavaBsnnWarning, OptionError, ShapeError, check_option
from ..functional.weights import BINARY_SCALES, straight_through
from ..modulation import AGMM, ConstantGate
from ..norm import BatchNorm, Bias
from ..synapse import Binarize, Quantize, recognised
from .base import Block, Shape, Signal, make_neuron
from .fused import drive_of

_WIDE = 4
"""Deviation that a current's deviation of 1 gives the potential of an integrator without leak. In front of
neurons that add up more, norm starts with a gain that leaves one threshold."""
_WIDER = 8
"""Likewise without norm, in widths of the surrogate gradient."""

WeightHook = Callable[..., Tensor]
NORMS: dict[str, type[BatchNorm]] = {"batch": BatchNorm, "bias": Bias}


class SpikingBlock(Block):
    """Synapse -> norm -> modulation -> neuron."""

    synapse: Any  # SLAYER's classes are untyped
    norm: BatchNorm | None
    modulation: torch.nn.Module | None
    neuron: torch.nn.Module | None
    delay: Delay | None
    delay_shift: bool
    count_log: bool
    mantissas: bool = False
    """Whether matched mode has the integers of Loihi's neurons (:func:`lava_bsnn.device.on_mantissas`)."""

    def _set_weight_hook(
        self,
        synapse: Any,
        pre_hook_fx: WeightHook | None = None,
        binarize: str | None = "channel",
        weight_bits: int | None = 8,
        bits_scale: str = "channel",
    ) -> None:
        check_option(self.label, "binarize", binarize, (*BINARY_SCALES, None))
        if pre_hook_fx is not None:
            hook: WeightHook | None = recognised(pre_hook_fx)
        elif binarize is not None:
            hook = Binarize(scale=binarize)
        else:
            hook = None if weight_bits is None else Quantize(bits=weight_bits, scale=bits_scale)
        synapse.pre_hook_fx = hook

    def _set_rest(
        self,
        neuron: Callable[..., torch.nn.Module],
        neuron_params: dict[str, Any] | None,
        norm: str | None,
        modulation: torch.nn.Module | None,
        num_features: int,
        delay: bool = False,
    ) -> None:
        check_option(self.label, "norm", norm, (*NORMS, None))
        del self.neuron_params, self.synapse_params  # type: ignore[attr-defined]
        self.norm = None if norm is None else NORMS[norm](num_features)
        if self.norm is not None:
            self.norm.owner = self.label
        self.modulation = modulation
        self.neuron = None
        if neuron_params is not None:
            self.neuron = make_neuron(self.label, neuron, neuron_params)
        if delay and neuron_params is None:
            raise OptionError(f"{self.label}: delay=True delays spikes; it needs neuron_params")
        persistent = bool(getattr(self.neuron, "persistent_state", False))
        self.delay = Delay(persistent_state=persistent) if delay else None
        if self.neuron is not None:
            self._meet_time_constants(self.neuron)

    def _meet_time_constants(self, neuron: Any) -> None:
        """Start norm with less gain in front of neurons that add up for long, or warn where there is none."""
        spread, threshold = getattr(neuron, "spread", 0.0), float(getattr(neuron, "threshold", 1.0))
        gain = getattr(self.norm, "weight", None)
        if gain is not None and spread > _WIDE:
            torch.nn.init.constant_(gain, min(1.0, threshold / spread))
        elif gain is None and spread > _WIDER * getattr(neuron, "gamma", 1) and not neuron.ignore_reset:
            warnings.warn(
                f"{self.label}: neurons with decays this small add up currents for so long that most "
                f"potentials are beyond the {neuron.surrogate!r} surrogate, whose gamma is {neuron.gamma:g}; "
                "use norm='batch', a larger gamma, or SLAYER's surrogate: tau_grad and scale_grad",
                LavaBsnnWarning,
                stacklevel=4,
            )

    def current(self, x: Tensor, unit: float | None = None) -> Tensor:
        """Return the neuron's input current: synapse, norm and modulation of ``x``.

        Args:
            unit: membrane steps per unit of current: compute on the device's integer grid,
                with the gradient of the floating-point current. In front of a neuron in
                matched mode this is the default. While batch norm takes statistics, and
                behind a modulation that the device does not know, it is not done.
        """
        self._check_input(x)
        unit = self.unit if unit is None else unit
        takes_statistics = self.norm is not None and self.norm.training
        on_grid = (
            unit is not None
            and not takes_statistics
            and isinstance(self.modulation, (AGMM, ConstantGate, NoneType))
        )
        exact = grid_current(self, x, unit) if on_grid and unit is not None else None
        if exact is not None and not torch.is_grad_enabled():
            return exact
        z = self._modulated(self.synapse(x))
        return z if exact is None else straight_through(exact, z)

    def _modulated(self, z: Tensor) -> Tensor:
        if self.norm is not None:
            z = self.norm(z)
        if self.modulation is not None:
            z = self.modulation(z)
        return z

    def _fire(self, x: Tensor, skipped: Tensor | None) -> Tensor:
        """Spikes, or the current of a block without neurons."""
        neuron: Any = self.neuron
        if neuron is None or self.unit is not None:
            z = self.current(x)
        else:
            self._check_input(x)
            y = self.synapse(x)
            drive = drive_of(self, y, skipped)
            if drive is not None:
                spikes: Tensor = neuron(drive)
                return spikes
            z = self._modulated(y)
        z = z if skipped is None else z + skipped
        return z if neuron is None else neuron(z)

    @property
    def unit(self) -> float | None:
        """Membrane steps per unit of current, if the neuron is in matched mode."""
        return getattr(self.neuron, "unit", None)

    def _sends(self, signal: Signal) -> Signal:
        if self.neuron is None:
            return signal
        return Signal(shape=signal.shape, sender=(self,), high=getattr(self.neuron, "levels", 1))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """Bits of the weights, and what the layer is called in errors, files and figures."""
        hook = getattr(self.synapse, "pre_hook_fx", None)
        bits = getattr(hook, "bits", "float" if hook is None else "own")
        weights = "" if hasattr(self.synapse, "tap_weight") else f"weight_bits={bits}"
        return ", ".join(part for part in (self.name and f"name={self.name!r}", weights) if part)

    def forward(self, x: Tensor, skipped: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor | None]:
        """Map input spikes or intensities to output spikes, ``NCHWT`` or ``NCT``.

        Args:
            skipped: what a shortcut adds to the neurons' current.
        """
        z = self._fire(x, skipped)
        if self.delay_shift:
            z = step_delay(self, z)
        if self.delay is not None:
            z = self.delay(z)
        return (z, (z > 0).float().mean()) if self.count_log else z


def conv_size(label: str, layer: Any, size: tuple[int, ...]) -> tuple[int, int]:
    """Output height and width of a convolution or pooling layer."""
    height, width = (
        (n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for n, kernel, stride, pad, dilation in zip(
            size, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=False
        )
    )
    if height < 1 or width < 1:
        raise ShapeError(
            f"{label}: input of height and width {size} is smaller than the kernel; "
            "use a smaller kernel or more padding"
        )
    return height, width


def check_dense(label: str, layer: Any, shape: Shape) -> None:
    """Raise :class:`ShapeError` unless a dense layer takes inputs of this shape."""
    expected = layer.weight[0].numel()
    size = math.prod(shape)
    if size != expected:
        raise ShapeError(
            f"{label}: input shape {shape} has {size} values per step; {expected} are expected (in_neurons)"
        )
