"""Blocks without weights: input and flatten."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._slayer import block_base, step_delay
from ..errors import OptionError, ShapeError
from ..functional.time import fold_time, unfold_time
from ..functional.weights import straight_through
from ..neuron import LIF
from .base import Block, Shape, make_neuron


class Flatten(Block, block_base.AbstractFlatten):
    """Reshape ``[N, C, H, W, T]`` to ``[N, C * H * W, T]`` in C, H, W order."""

    def __init__(self, count_log: bool = False, *, name: str | None = None) -> None:
        self.label = name or "Flatten"
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
    """First block: binary spikes, or intensities as unsigned integers.

    Args:
        neuron_params: arguments of ``neuron``; with ``None`` the input passes unchanged.
        weight, bias: learnable affine transform in front of the neuron, as in SLAYER.
        bits: 0 for spikes; k in 1..8 rounds intensities in [0, 1] to the integers
            ``0..2^k - 1`` and hands these on, as the device receives them. The gradient
            is straight-through.

    Raises:
        ShapeError: in ``forward``, an intensity outside [0, 1].
    """

    def __init__(
        self,
        neuron_params: dict[str, Any] | None = None,
        weight: float | None = None,
        bias: float | None = None,
        delay_shift: bool = False,
        count_log: bool = False,
        *,
        bits: int = 0,
        neuron: Callable[..., torch.nn.Module] = LIF,
        name: str | None = None,
    ) -> None:
        self.label = name or "Input"
        if isinstance(bits, bool) or not isinstance(bits, int) or bits not in range(9):
            raise OptionError(f"{self.label}: bits={bits!r} is not allowed; use 0 (spikes) or 1..8")
        if neuron_params is None and (weight is not None or bias is not None):
            raise OptionError(f"{self.label}: weight and bias need neuron_params; give both or none")
        super().__init__(dict(neuron_params or {}), weight, bias, delay_shift, count_log)
        self.bits = bits
        if neuron_params is not None:
            self.neuron = make_neuron(self.label, neuron, neuron_params)

    @property
    def max_value(self) -> int:
        """Largest integer handed on."""
        return (1 << self.bits) - 1 if self.bits else 1

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) not in (1, 3):
            raise ShapeError(f"{self.label}: input shape {shape} is not allowed; use (C, H, W) or (C,)")

    def _output_shape(self, shape: Shape) -> Shape:
        return shape

    def quantize(self, x: Tensor) -> Tensor:
        """Round intensities in [0, 1] to integers ``0..max_value``, straight-through."""
        if not self.bits:
            return x
        low, high = float(x.min()), float(x.max())
        if not (low >= 0 and high <= 1):
            raise ShapeError(
                f"{self.label}: intensities in {low:.3g}..{high:.3g} are not allowed; scale them to 0..1"
            )
        images, num_steps = fold_time(x)  # a repeated frame is rounded once
        scaled = images * self.max_value
        return unfold_time(straight_through(scaled.round(), scaled), x.shape[0], num_steps)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        self._check_input(x)
        x = self.quantize(x)
        if self.neuron is not None:
            x = x if self.weight is None else x * self.weight
            x = self.neuron(x if self.bias is None else x + self.bias)
        if self.delay_shift:
            x = step_delay(self, x)
        return (x, (x > 0).float().mean()) if self.count_log else x
