"""Convolution and pooling blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import torch

from .. import synapse
from .._slayer import block_base
from ..errors import OptionError, ShapeError
from ..neuron import LIF
from ..synapse import Pair
from .base import Shape, Signal, check_counts, pair, params_of, refuse
from .spiking import SpikingBlock, WeightHook, conv_size


class Conv(SpikingBlock, block_base.AbstractConv):
    """Convolution block, 1-bit weights by default.

    Args:
        neuron_params: arguments of ``neuron``; the caller's dictionary is not changed. With
            ``None`` there is no neuron and the current goes on, as in a shortcut.
        in_features, out_features, kernel_size, stride, padding, dilation, groups: as in
            SLAYER; pairs are (height, width).
        weight_scale: factor on the initial weights.
        weight_norm: learn length and direction of each output channel's weights apart, as in SLAYER.
        pre_hook_fx: weight transform of your own in place of ``binarize`` / ``weight_bits``; of one that
            takes ``descale=True``, as SLAYER's ``quantize_8bit``, the integers are exported.
        delay: learn an axonal delay per output channel (:class:`lava_bsnn.axon.Delay`).
        delay_shift: delay the output by one step in training too.
        count_log: return ``(spikes, mean event rate)``.
        binarize: ``"channel"``, ``"layer"`` or ``"power_of_two"``: scale of ``alpha * sign(w)``; ``None`` for
            ``weight_bits``.
        weight_bits: bits of non-binary weights (2..16); ``None`` for floating point.
        norm: ``"batch"``, ``"bias"`` (an offset per channel only) or ``None``.
        modulation: module between norm and neuron that maps a current to a current.
        neuron: neuron class, called with ``neuron_params``.
        name: of the layer in errors, tables, figures and files.
    """

    def __init__(
        self,
        neuron_params: dict[str, Any] | None,
        in_features: int,
        out_features: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: WeightHook | None = None,
        delay: bool = False,
        delay_shift: bool = False,
        count_log: bool = False,
        *,
        binarize: str | None = "channel",
        weight_bits: int | None = 8,
        norm: str | None = "batch",
        modulation: torch.nn.Module | None = None,
        neuron: Callable[..., torch.nn.Module] = LIF,
        name: str | None = None,
    ) -> None:
        self._set_name(name, f"Conv({in_features}, {out_features}, kernel_size={kernel_size})")
        check_counts(self.label, in_features=in_features, out_features=out_features, groups=groups)
        super().__init__(
            params_of(self.label, neuron_params),
            in_features,
            out_features,
            pair(self.label, "kernel_size", kernel_size, 1),
            pair(self.label, "stride", stride, 1),
            pair(self.label, "padding", padding, 0),
            pair(self.label, "dilation", dilation, 1),
            groups,
            weight_scale,
            weight_norm,
            delay_shift=delay_shift,
            count_log=count_log,
        )
        try:
            self.synapse = synapse.Conv(**self.synapse_params)
        except ValueError as error:
            raise OptionError(f"{self.label}: {error}") from error
        self._set_weight_hook(self.synapse, pre_hook_fx, binarize, weight_bits)
        self._set_rest(neuron, neuron_params, norm, modulation, out_features, delay)

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) != 3 or shape[0] != self.synapse.in_channels:
            raise ShapeError(
                f"{self.label}: input (C, H, W) = {shape} is not allowed; "
                f"C must be {self.synapse.in_channels} (in_features)"
            )

    def _output_shape(self, shape: Shape) -> Shape:
        return (self.synapse.out_channels, *conv_size(self.label, self.synapse, shape[1:]))


class Pool(SpikingBlock, block_base.AbstractPool):
    """Sum or average pooling as a fixed convolution per channel.

    Args:
        neuron_params: arguments of ``neuron``; with ``None`` the pooled value itself goes on,
            and export merges the pooling into the next layer's weights, exactly (profile
            ``"stock"``), or makes a layer that sends sums (``"extended"``).
        kernel_size, stride, padding: as in SLAYER; stride defaults to the kernel.
        weight_scale: factor on the pooled value.
        mode: ``"average"`` or ``"sum"``.
    """

    def __init__(
        self,
        neuron_params: dict[str, Any] | None,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: WeightHook | None = None,
        delay: bool = False,
        delay_shift: bool = False,
        count_log: bool = False,
        *,
        mode: str = "average",
        modulation: torch.nn.Module | None = None,
        neuron: Callable[..., torch.nn.Module] = LIF,
        name: str | None = None,
    ) -> None:
        self._set_name(name, f"Pool(kernel_size={kernel_size})")
        refuse(
            self.label,
            "leave it at its default",
            dilation=dilation not in (1, (1, 1)) and dilation,
            weight_norm=weight_norm,
            pre_hook_fx=pre_hook_fx,
        )
        kernel_size = pair(self.label, "kernel_size", kernel_size, 1)
        stride = kernel_size if stride is None else pair(self.label, "stride", stride, 1)
        padding = pair(self.label, "padding", padding, 0)
        if padding[0] > kernel_size[0] // 2 or padding[1] > kernel_size[1] // 2:
            raise OptionError(f"{self.label}: padding={padding} is more than half of the kernel; use less")
        super().__init__(
            params_of(self.label, neuron_params),
            kernel_size,
            stride,
            padding,
            delay_shift=delay_shift,
            count_log=count_log,
        )
        self.synapse = synapse.Pool(kernel_size, stride, padding, weight_scale=weight_scale, mode=mode)
        self._set_rest(neuron, neuron_params, None, modulation, 1, delay)

    def _check_shape(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise ShapeError(f"{self.label}: input shape {shape} is not allowed; use (C, H, W)")

    def connect(self, incoming: Signal) -> Signal:
        return super().connect(replace(incoming, image=None))  # one weight for all pixels

    def _sends(self, signal: Signal) -> Signal:
        if self.neuron is not None:
            return super()._sends(signal)
        taps = prod(self.synapse.kernel_size[:2])
        factor = signal.factor * self.synapse.tap_weight
        return replace(signal, factor=factor, low=taps * signal.low, high=taps * signal.high)

    def _output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *conv_size(self.label, self.synapse, shape[1:]))
