"""Firing rates of a model while it trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import block, distributed
from ..errors import OptionError


def spiking_modules(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Modules whose output is a layer's spikes, in order: blocks, or their neurons where delays follow."""
    blocks: list[Any] = [
        m
        for m in model.modules()
        if isinstance(m, block.SpikingBlock) and m.neuron is not None and not isinstance(m, block.Readout)
    ]
    return [m.neuron if m.delay is not None or m.delay_shift else m for m in blocks]


class RateMeter:
    """Mean spikes per neuron and step of the spiking layers, in the forward passes it is enabled for.

    Attributes:
        enabled: count the next training passes.
        EVERY: steps from one counted pass to the next, which keeps the cost low.
    """

    EVERY = 16

    def __init__(self, model: torch.nn.Module) -> None:
        self.enabled = False
        self._device = next(model.parameters()).device
        self._sum: Tensor | float = 0.0  # on the model's device, once there are any
        self._count = 0
        self._hooks = [module.register_forward_hook(self._record) for module in spiking_modules(model)]

    def _record(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if self.enabled and module.training:
            spikes = output[0] if isinstance(output, tuple) else output
            self._sum = self._sum + (spikes.detach() != 0).to(torch.float32).mean().double()
            self._count += 1

    def ignores(self, hook: Any) -> bool:
        """Whether a forward hook is one of these, and counts nothing in the next pass."""
        return getattr(hook, "__self__", None) is self and not self.enabled

    def mean(self, reduce: bool = False) -> float:
        """Mean over layers and counted passes; 0 before the first; ``reduce``: over all processes."""
        if not self._count:
            return 0.0
        value = self._sum / self._count
        if reduce:
            value = distributed.mean(torch.as_tensor(value, dtype=torch.float64, device=self._device))
        return float(value)

    def reset(self) -> None:
        """Start anew."""
        self._sum = 0.0
        self._count = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sum": float(self._sum), "count": self._count}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a :meth:`state`."""
        self._sum = float(state["sum"])
        self._count = int(state["count"])

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()


def flip_recorder(model: torch.nn.Module) -> Any:
    """Recorder of the sign flips of a model's 1-bit weights; None without any."""
    from ..analysis import FlipRecorder

    try:
        return FlipRecorder(model)
    except OptionError:
        return None
