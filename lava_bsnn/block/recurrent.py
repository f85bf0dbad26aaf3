"""Fully connected block whose neurons feed each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import synapse
from .._slayer import block_base, step_delay
from ..device import grid_current, grid_of
from ..errors import OptionError
from ..functional.recurrent import Feedback
from ..neuron import LIF
from .base import Shape, Signal, check_counts, params_of
from .spiking import SpikingBlock, WeightHook, check_dense


class Recurrent(SpikingBlock, block_base.AbstractRecurrent):
    """Fully connected block whose spikes feed its neurons one step later; options as in :class:`Conv`.

    ``I[t] = modulation(norm(W x[t])) + R s[t-1]``: norm and modulation stand behind the input only.

    Args:
        in_neurons: number of inputs, or ``(width, height, channels)`` as in SLAYER.
        out_neurons: number of neurons.
        requires_grad: learn R.
        neuron: :class:`lava_bsnn.neuron.LIF`.
        feedback: ``binarize``, ``weight_bits`` and ``pre_hook_fx`` of R; None for those of W.
    """

    def __init__(
        self,
        neuron_params: dict[str, Any],
        in_neurons: int | tuple[int, ...],
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: WeightHook | None = None,
        requires_grad: bool = True,
        delay: bool = False,
        delay_shift: bool = False,
        count_log: bool = False,
        *,
        binarize: str | None = "channel",
        weight_bits: int | None = 8,
        norm: str | None = "batch",
        modulation: torch.nn.Module | None = None,
        neuron: Callable[..., torch.nn.Module] = LIF,
        feedback: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self._set_name(name, f"Recurrent({in_neurons}, {out_neurons})")
        check_counts(self.label, out_neurons=out_neurons)
        if neuron_params is None or not (isinstance(neuron, type) and issubclass(neuron, LIF)):
            what = "neuron_params=None" if neuron_params is None else f"neuron={neuron!r}"
            raise OptionError(f"{self.label}: {what} is not allowed; use neuron_params of a LIF")
        super().__init__(
            params_of(self.label, neuron_params),
            in_neurons,
            int(out_neurons),
            weight_scale,
            weight_norm,
            requires_grad=requires_grad,
            delay_shift=delay_shift,
            count_log=count_log,
        )
        del self.spike_state  # the neuron keeps it
        self.input_synapse = synapse.Dense(**self.synapse_params)
        self.recurrent_synapse = synapse.Dense(**self.recurrent_params)
        self.recurrent_synapse.requires_grad_(requires_grad)
        weights: dict[str, Any] = {
            "pre_hook_fx": pre_hook_fx,
            "binarize": binarize,
            "weight_bits": weight_bits,
        }
        self._set_weight_hook(self.input_synapse, **weights)
        self._set_weight_hook(self.recurrent_synapse, **(weights if feedback is None else feedback))
        del self.recurrent_params
        self._set_rest(neuron, neuron_params, norm, modulation, out_neurons, delay)
        self.feedback = FeedbackPath(self)

    @property
    def synapse(self) -> synapse.Dense:  # type: ignore[override]
        """Of the input."""
        return self.input_synapse

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}spike_state", None)  # SLAYER's last spikes, which it never reads
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check_shape(self, shape: Shape) -> None:
        check_dense(self.label, self.input_synapse, shape)

    def _output_shape(self, shape: Shape) -> Shape:
        return (self.input_synapse.out_channels,)

    def forward(  # type: ignore[override]  # no shortcut joins here
        self, x: Tensor
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Map input spikes or intensities to output spikes ``[N, C, T]``."""
        current = self.current(x)
        current = current[:, :, 0, 0] if current.dim() == 5 else current
        neuron: Any = self.neuron
        carried, spikes = neuron.spike_state, neuron(current, self.feedback.weights(self.unit))
        if self.recurrent_synapse._forward_hooks:  # of those who watch synapses: it computes for nobody else
            self.recurrent_synapse(self.feedback.messages(spikes, carried))
        if self.delay_shift:
            spikes = step_delay(self, spikes)
        if self.delay is not None:
            spikes = self.delay(spikes)
        return (spikes, (spikes > 0).float().mean()) if self.count_log else spikes


class FeedbackPath:
    """The way from a recurrent block's spikes to its neurons, as a block with nothing but a synapse."""

    norm = modulation = neuron = bias = None
    input_scale = 1.0

    def __init__(self, owner: Recurrent) -> None:
        self._owner = owner

    @property
    def label(self) -> str:
        """Of the block."""
        return self._owner.label

    @property
    def mantissas(self) -> bool:
        """As of the block."""
        return self._owner.mantissas

    @property
    def synapse(self) -> Any:
        """Recurrent weights."""
        return self._owner.recurrent_synapse

    @property
    def incoming(self) -> Signal:
        """Spikes."""
        return Signal(shape=(self.synapse.in_channels,))

    def messages(self, spikes: Tensor, carried: Tensor | None = None) -> Tensor:
        """Spikes that arrive where these are sent, ``[N, C, T]``: one step later, first those of before."""
        late = torch.zeros_like(spikes)
        late[..., 1:] = spikes[..., :-1]
        if carried is not None and carried.shape == late.shape[:-1]:
            late[..., 0] = carried
        return late

    def current(self, spikes: Tensor) -> Tensor:
        """Current of the spikes that arrive, ``[N, C, T]``, as the neurons get it."""
        unit = self._owner.unit
        result: Tensor = self.synapse(spikes) if unit is None else grid_current(self, spikes, unit)
        return result

    def weights(self, unit: float | None) -> Feedback:
        """What the neurons compute with; in matched mode for ``unit`` membrane steps per unit of current."""
        real = self.synapse.effective_weight().flatten(1)
        if unit is None:
            return Feedback(weight=real)
        grid = grid_of(self, unit)
        steps = torch.from_numpy(grid.weight * grid.scale[:, None]).to(real.device, torch.float64)
        return Feedback(weight=real, steps=steps)
