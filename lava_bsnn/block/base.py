"""What all blocks share: shapes, errors, and the order synapse, norm, modulation, neuron."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from .._slayer import step_delay
from ..axon import Delay
from ..device import grid_current
from ..errors import OptionError, ShapeError, check_option
from ..functional.weights import SCALES, straight_through
from ..limits import LIMITS
from ..modulation import AGMM, ConstantGate
from ..norm import BatchNorm
from ..synapse import Binarize, Quantize, recognised

_WIDE = 4
"""Deviation that a current's deviation of 1 gives the potential of an integrator without leak. In front of
neurons that add up more, norm starts with a gain that leaves one threshold."""
_WIDER = 8
"""Likewise without norm, in widths of the surrogate gradient."""

_ENDS = ("input", "output")
"""What networks and graphs call their ends."""

Shape = tuple[int, ...]
WeightHook = Callable[..., Tensor]


def _is_name(name: Any) -> bool:
    """Whether it can be that of a layer, also in files and graphs, where ``/`` parts groups."""
    text = isinstance(name, str) and 0 < len(name) <= LIMITS.name_max
    return text and not {"/", "\0"} & set(name) and name not in (".", *_ENDS)


def refuse(where: str, remedy: str, **options: Any) -> None:
    """Raise :class:`OptionError` for an option that has a value at all."""
    for name, value in options.items():
        if value:
            raise OptionError(f"{where}: {name}={value!r} is not supported; {remedy}")


def make_neuron(
    where: str, neuron: Callable[..., torch.nn.Module], neuron_params: dict[str, Any]
) -> torch.nn.Module:
    """Call ``neuron`` with its parameters; :class:`OptionError` names one that it does not take."""
    try:
        return neuron(**neuron_params)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(neuron).parameters)
        raise OptionError(f"{where}: neuron_params: {error}; use {allowed}") from error


def pair(where: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """``value`` as (height, width) if it is an integer or two, each ``least`` or more."""
    both = (value, value) if isinstance(value, int) else value
    both = tuple(both) if isinstance(both, (tuple, list)) else ()
    if len(both) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in both):
        raise OptionError(
            f"{where}: {name}={value!r} is not allowed; use an integer of {least} or more, or two of them"
        )
    return both


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What goes from block to block: messages, which are integers, and what one of them counts.

    Attributes:
        shape: ``(C, H, W)`` or ``(C,)``.
        factor: of poolings without neuron and of sub-steps.
        sender: block with the neurons before; in a tuple, so that it is no submodule.
        low: smallest message.
        high: largest message.
        image: shape of the network's input where it comes as it is and is graded: then neighbouring
            inputs are much alike.
    """

    shape: Shape
    factor: float = 1.0
    sender: tuple[torch.nn.Module, ...] = ()
    low: int = 0
    high: int = 1
    image: Shape | None = None

    @property
    def value(self) -> float:
        """Real value of a message of 1."""
        value = self.factor
        for module in self.sender:
            neuron: Any = module.neuron
            value *= neuron.threshold if getattr(neuron, "scaled", False) else 1.0
        return value

    @property
    def largest(self) -> int:
        """Largest magnitude of a message."""
        return max(self.high, -self.low)


class Block:
    """A name, and what comes in and goes out once it is built.

    Attributes:
        name: of the layer in errors, tables, figures and files; None for one of its type and place.
        label: what errors call the block: its name, else its type and sizes.
    """

    label: str
    name: str | None = None

    def _set_name(self, name: str | None, otherwise: str) -> None:
        if name is not None and not _is_name(name):
            raise OptionError(
                f"{otherwise}: name={name!r} is not allowed; use a text of 1..{LIMITS.name_max} characters "
                "without '/' and NUL, other than 'input', 'output' and '.'"
            )
        self.name, self.label = name, name or otherwise

    input_shape: Shape | None = None
    """Shape that the block was built for; None before."""
    _incoming: Signal | None = None
    _outgoing: Signal | None = None

    @property
    def incoming(self) -> Signal:
        """What comes in; spikes of no shape before the block is built."""
        return self._incoming or Signal(shape=())

    @property
    def input_scale(self) -> float:
        """What one input spike counts, behind a pooling without neuron or neurons that scale their spikes."""
        return self.incoming.value

    @property
    def shape(self) -> Shape:
        """Output shape without batch and time.

        Raises:
            ShapeError: the block has not been built.
        """
        if self._outgoing is None:
            raise ShapeError(f"{self.label}: shape is not known yet; call build(input_shape) first")
        return self._outgoing.shape

    def build(self, input_shape: Iterable[int]) -> Shape:
        """Fix the shapes for spikes ``(C, H, W)`` or ``(C,)`` and return the output shape.

        Raises:
            ShapeError: the block cannot take this input.
        """
        return self.connect(Signal(shape=tuple(int(size) for size in input_shape))).shape

    def connect(self, incoming: Signal) -> Signal:
        """Fix what comes in, and return what goes out.

        Raises:
            ShapeError: the block cannot take this input.
        """
        self._check_shape(incoming.shape)
        self._incoming, self.input_shape = incoming, incoming.shape
        self._outgoing = self._sends(replace(incoming, shape=self._output_shape(incoming.shape)))
        if getattr(self, "neuron", None) is not None:
            self.neuron.shape = torch.Size(self._outgoing.shape)  # type: ignore[attr-defined]
        if getattr(self, "delay", None) is not None:
            self.delay.build(self._outgoing.shape[0])  # type: ignore[attr-defined]
        return self._outgoing

    def _sends(self, signal: Signal) -> Signal:
        """What goes out, given what comes in, of the output's shape already."""
        return signal

    def _check_shape(self, shape: Shape) -> None:
        raise NotImplementedError

    def _output_shape(self, shape: Shape) -> Shape:
        raise NotImplementedError

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in (3, 5):
            raise ShapeError(
                f"{self.label}: input of shape {tuple(x.shape)} is not allowed; use "
                "[N, C, H, W, T] or [N, C, T], e.g. functional.direct_code(frames, num_steps)"
            )
        if not x.is_floating_point() or not x.shape[-1]:
            raise ShapeError(
                f"{self.label}: input of {x.dtype} with {x.shape[-1]} steps is not allowed; use floating "
                "point, e.g. x.float(), and at least one step"
            )
        shape = tuple(x.shape[1:-1])
        if self.input_shape is not None and shape != self.input_shape:
            raise ShapeError(
                f"{self.label}: input of shape {shape} does not fit; it was built for {self.input_shape}"
            )
        self._check_shape(shape)

    def export_hdf5(self, handle: Any) -> None:
        """Write this block into an HDF5 group, as SLAYER's export loop does for each block.

        The result is what ``netx_export.convert`` and ``write`` give in profile ``"stock"``.

        Args:
            handle: ``h5py`` group named by the block's place in the network.

        Raises:
            ExportError: the block has not been built, or needs the extended profile.
        """
        from netx_export.lowering.block_export import export_block

        export_block(self, handle)


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
        check_option(self.label, "binarize", binarize, (*SCALES, None))
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
        check_option(self.label, "norm", norm, ("batch", None))
        del self.neuron_params, self.synapse_params  # type: ignore[attr-defined]
        self.norm = BatchNorm(num_features) if norm == "batch" else None
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
        if self.norm is not None and spread > _WIDE:
            torch.nn.init.constant_(self.norm.weight, min(1.0, threshold / spread))
        elif self.norm is None and spread > _WIDER * getattr(neuron, "gamma", 1) and not neuron.ignore_reset:
            warnings.warn(
                f"{self.label}: neurons with decays this small add up currents for so long that most "
                f"potentials are beyond the {neuron.surrogate!r} surrogate, whose gamma is {neuron.gamma:g}; "
                "use norm='batch', a larger gamma, or SLAYER's surrogate: tau_grad and scale_grad",
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
        z: Tensor = self.synapse(x)
        if self.norm is not None:
            z = self.norm(z)
        if self.modulation is not None:
            z = self.modulation(z)
        return z if exact is None else straight_through(exact, z)

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

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """Map input spikes or intensities to output spikes, ``NCHWT`` or ``NCT``."""
        z = self.current(x)
        if self.neuron is not None:
            z = self.neuron(z)
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
