"""Blocks without weights: input and flatten."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._slayer import block_base, step_delay
from ..encoding import Encoding
from ..errors import LavaBsnnWarning, OptionError, ShapeError
from ..functional.time import fold_time, is_constant_in_time, unfold_time
from ..functional.weights import straight_through
from ..neuron import LIF
from ..waiting import LOOK_EVERY, is_at_hand
from .base import Block, Shape, Signal, check_tensor, make_neuron, params_of

_KEPT, _KEPT_VALUES, _KEEP_EVERY = 16, 1 << 20, 50
"""Samples that an Input keeps, how many values at most, and at which calls of a training."""


class Flatten(Block, block_base.AbstractFlatten):
    """Reshape ``[N, C, H, W, T]`` to ``[N, C * H * W, T]`` in C, H, W order."""

    def __init__(self, count_log: bool = False, *, name: str | None = None) -> None:
        self._set_name(name, "Flatten")
        torch.nn.Module.__init__(self)  # the base class would set shape on a forward pass
        self.count_log = count_log

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) not in (1, 3):
            raise ShapeError(f"{self.label}: input shape {shape} is not allowed; use (C, H, W)")

    def _output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, None]:
        self._check_input(x)
        # flattening the time-major view keeps the layout: no copy
        y = x.movedim(-1, 0).flatten(2).movedim(0, -1)
        return (y, None) if self.count_log else y


class Input(Block, block_base.AbstractInput):
    """First block: turns samples into the integers that the device receives.

    :class:`lava_bsnn.encoding.Encoding` says how.
    In training it keeps up to 16 samples now and then, by which ``netx_export.convert`` measures what
    rounding costs; they are no part of a checkpoint.

    Args:
        neuron_params: arguments of ``neuron``; with ``None`` the integers pass unchanged.
        weight, bias: learnable affine transform in front of the neuron, as in SLAYER.
        bits: 0 for spikes; k in 1..8 for intensities in [0, 1] or uint8 pixels, which become the
            integers ``0..2^k - 1``; None for any real numbers, which no device takes. The
            gradient is straight-through.
        encoding: anything else that enters, in place of ``bits``: counts, normalised images.

    Attributes:
        samples: some samples of the training set, or None.
        saturated: counts of the training that were above the largest message, of all ``received`` ones.
        calls: training passes so far; in some of them it looks at what comes in.
        refused: why the model cannot be exported: it got real numbers where spikes are meant, which
            ``forward`` warns of once.

    Raises:
        ShapeError: in ``forward``, a value that the encoding does not take.
    """

    samples: Tensor | None

    def __init__(
        self,
        neuron_params: dict[str, Any] | None = None,
        weight: float | None = None,
        bias: float | None = None,
        delay_shift: bool = False,
        count_log: bool = False,
        *,
        bits: int | None = 0,
        encoding: Encoding | None = None,
        neuron: Callable[..., torch.nn.Module] = LIF,
        name: str | None = None,
    ) -> None:
        self._set_name(name, "Input")
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or bits not in range(9)):
            raise OptionError(
                f"{self.label}: bits={bits!r} is not allowed; use 0 (spikes), 1..8, or None (real numbers)"
            )
        if neuron_params is None and (weight is not None or bias is not None):
            raise OptionError(f"{self.label}: weight and bias need neuron_params; give both or none")
        super().__init__(params_of(self.label, neuron_params), weight, bias, delay_shift, count_log)
        self.pre_hook_fx = None  # SLAYER's is a lambda, which cannot be pickled
        if encoding is None and bits is not None and (bits or neuron_params is None):
            encoding = Encoding(kind="intensities", bits=bits) if bits else Encoding()
        self.encoding = encoding
        if neuron_params is not None:
            self.neuron = make_neuron(self.label, neuron, neuron_params)
        self.samples = None  # no buffer: those are averaged, and sent between processes
        self.register_buffer("_one", torch.ones(()), persistent=False)  # the model's dtype
        self.saturated = self.received = self.calls = 0
        self.refused = ""

    @property
    def bits(self) -> int:
        """Width of the messages; 0 for spikes."""
        return 0 if self.encoding is None else self.encoding.bits

    def extra_repr(self) -> str:
        return "real numbers" if self.encoding is None else str(self.encoding)

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) not in (1, 3):
            raise ShapeError(f"{self.label}: input shape {shape} is not allowed; use (C, H, W) or (C,)")
        if self.encoding is not None and self.encoding.kind == "images":
            channels = len(self.encoding.mean)
            if shape[0] != channels:
                raise ShapeError(
                    f"{self.label}: input shape {shape} does not fit the encoding's {channels} channels"
                )

    def _output_shape(self, shape: Shape) -> Shape:
        rails = self.encoding is not None and self.encoding.rails
        return (2 * shape[0], *shape[1:]) if rails else shape

    def _sends(self, signal: Signal) -> Signal:
        coding = self.encoding
        if coding is None:
            return signal
        image = signal.shape if coding.bits > 1 and len(signal.shape) == 3 else None
        low = coding.low - coding.signed  # the bits hold one more below
        return Signal(shape=signal.shape, low=low, high=coding.high, image=image)

    def quantize(self, x: Tensor) -> Tensor:
        """Messages of samples, with a straight-through gradient."""
        if self.encoding is None:
            return x
        images, num_steps = fold_time(x)  # a repeated frame is rounded once
        try:
            look = not self.training or is_at_hand(images) or self.calls % LOOK_EVERY == 0
            levels, saturated = self.encoding.messages(images.detach(), self.label, look=look)
        except ShapeError as error:
            if self.encoding.kind != "spikes":
                raise
            self._warn(str(error))
            return x
        if self.training and look:
            self.received += images.numel() * self.encoding.saturate
            self.saturated += saturated
        levels = levels.to(x.dtype if x.is_floating_point() else self._one.dtype)
        if images.requires_grad:
            levels = straight_through(levels, self.encoding.carrier(images))
        return unfold_time(levels, x.shape[0], num_steps)

    @property
    def looks(self) -> bool:
        """Whether the next training pass reads or keeps values, also on a GPU."""
        return self.encoding is not None and 0 in (self.calls % LOOK_EVERY, self.calls % _KEEP_EVERY)

    def _warn(self, reason: str) -> None:
        """Tell once that this model cannot run on a device; ``netx_export.convert`` refuses it."""
        if not self.refused:
            self.refused = f"{reason} (bits=None trains without this warning)"
            warnings.warn(f"{reason}; export will be refused", LavaBsnnWarning, stacklevel=2)

    def _keep(self, x: Tensor) -> None:
        """Keep a few samples of a batch of the training set."""
        if self.calls % _KEEP_EVERY == 0:
            number = max(1, min(_KEPT, _KEPT_VALUES // max(1, x[0].numel()), len(x)))
            still = is_constant_in_time(x) or x.shape[-1] == 1
            self.samples = (x[:number, ..., 0] if still else x[:number]).detach().clone()
        self.calls += 1

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        check_tensor(self.label, x)
        self._check_input(x if x.is_floating_point() else x[:1].float())
        given, x = x, self.quantize(x)
        if self.training and self.encoding is not None:
            self._keep(given)
        if self.neuron is not None:
            x = x if self.weight is None else x * self.weight
            x = self.neuron(x if self.bias is None else x + self.bias)
        if self.delay_shift:
            x = step_delay(self, x)
        return (x, (x > 0).float().mean()) if self.count_log else x
