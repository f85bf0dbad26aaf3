"""Fully connected blocks: spiking, and the readout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import synapse
from .._slayer import block_base
from ..device import grid_current, messages_of, readout_unit
from ..functional.weights import straight_through
from ..neuron import LIF
from .base import Shape, check_counts, params_of, refuse
from .spiking import SpikingBlock, WeightHook, check_dense

DEFAULT_STEPS = 16
"""Steps of a readout that is part of no model."""


class Dense(SpikingBlock, block_base.AbstractDense):
    """Fully connected block, 1-bit weights by default; options as in :class:`Conv`.

    Args:
        in_neurons: number of inputs, or ``(width, height, channels)`` as in SLAYER.
        out_neurons: number of neurons.
        mask: not supported; zero the weights with ``pre_hook_fx``. The position is SLAYER's.
    """

    def __init__(
        self,
        neuron_params: dict[str, Any] | None,
        in_neurons: int | tuple[int, ...],
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: WeightHook | None = None,
        delay: bool = False,
        delay_shift: bool = False,
        mask: Tensor | None = None,
        count_log: bool = False,
        *,
        binarize: str | None = "channel",
        weight_bits: int | None = 8,
        norm: str | None = "batch",
        modulation: torch.nn.Module | None = None,
        neuron: Callable[..., torch.nn.Module] = LIF,
        name: str | None = None,
    ) -> None:
        self._set_name(name, f"Dense({in_neurons}, {out_neurons})")
        check_counts(self.label, out_neurons=out_neurons)
        refuse(self.label, "zero the weights with pre_hook_fx", mask=mask is not None)
        super().__init__(
            params_of(self.label, neuron_params),
            in_neurons,
            int(out_neurons),
            weight_scale,
            weight_norm,
            delay_shift=delay_shift,
            count_log=count_log,
        )
        self.synapse = synapse.Dense(**self.synapse_params)
        self._set_weight_hook(self.synapse, pre_hook_fx, binarize, weight_bits)
        self._set_rest(neuron, neuron_params, norm, modulation, out_neurons, delay)

    def _check_shape(self, shape: Shape) -> None:
        check_dense(self.label, self.synapse, shape)

    def _output_shape(self, shape: Shape) -> Shape:
        return (self.synapse.out_channels, *([1, 1] if len(shape) == 3 else []))


class Readout(SpikingBlock, block_base.AbstractAffine):
    """Last layer: a dense synapse whose neurons do not spike.

    Its output is the weighted input of each step, ``[N, classes, T]``: logits per step.
    The device adds them up in a membrane potential that never reaches its threshold.

    Args:
        neuron_params: must be ``None``; the position is SLAYER's.
        bias: learn an offset per class.
        binarize, weight_bits: as in :class:`Conv`, with one scale for the whole layer.
    """

    def __init__(
        self,
        neuron_params: None,
        in_neurons: int | tuple[int, ...],
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: WeightHook | None = None,
        dynamics: bool = False,
        mask: Tensor | None = None,
        count_log: bool = False,
        *,
        bias: bool = True,
        binarize: str | None = None,
        weight_bits: int | None = 8,
        name: str | None = None,
    ) -> None:
        self._set_name(name, f"Readout({in_neurons}, {out_neurons})")
        check_counts(self.label, out_neurons=out_neurons)
        refuse(self.label, "give None: a readout has no neurons", neuron_params=neuron_params)
        refuse(self.label, "leave it at its default", dynamics=dynamics, mask=mask is not None)
        super().__init__(
            None, in_neurons, int(out_neurons), weight_scale, weight_norm, dynamics=False, count_log=count_log
        )
        self.synapse = synapse.Dense(**self.synapse_params)
        self.delay_shift = False
        self._set_weight_hook(self.synapse, pre_hook_fx, binarize, weight_bits, "layer")
        self._set_rest(LIF, None, None, None, out_neurons)
        self.bias = torch.nn.Parameter(torch.zeros(out_neurons)) if bias else None

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for key in [key for key in state_dict if key.startswith(f"{prefix}neuron.")]:
            del state_dict[key]  # of SLAYER's Affine, whose neuron does nothing without dynamics
        super()._load_from_state_dict(state_dict, prefix, *rest)

    num_steps: int = DEFAULT_STEPS
    """Steps whose sum of logits must not overflow on the device; a model sets its own."""

    def _check_shape(self, shape: Shape) -> None:
        check_dense(self.label, self.synapse, shape)

    def _output_shape(self, shape: Shape) -> Shape:
        return (self.synapse.out_channels,)

    @property
    def unit(self) -> float | None:
        """Membrane steps per unit of the logits behind neurons in matched mode, a power of two; else None."""
        if not any(module.unit for module in self.incoming.sender):  # type: ignore[misc]
            return None
        return readout_unit(*messages_of(self), self.num_steps, self.incoming.image, mantissas=self.mantissas)

    def current(self, x: Tensor, unit: float | None = None) -> Tensor:
        """Return logits per step ``[N, classes, T]``; behind neurons in matched mode, the device's."""
        self._check_input(x)
        unit = self.unit if unit is None else unit
        exact = None if unit is None else _flat(grid_current(self, x, unit))
        if exact is not None and not torch.is_grad_enabled():
            return exact
        z = _flat(self.synapse(x))
        if self.bias is not None:
            z = z + self.bias[:, None]
        return z if exact is None else straight_through(exact, z)

    def forward(  # type: ignore[override]  # no shortcut joins here
        self, x: Tensor
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Return logits per step ``[N, classes, T]``."""
        z = self.current(x)
        return (z, None) if self.count_log else z


def _flat(z: Tensor) -> Tensor:
    return z[:, :, 0, 0] if z.dim() == 5 else z
