"""A skip connection around blocks; the sum enters the last neuron."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..device import identity_grid
from ..errors import OptionError, ShapeError
from ..functional.weights import straight_through
from .base import Block, Signal
from .recurrent import Recurrent
from .spiking import SpikingBlock


class Residual(Block, torch.nn.Module):
    """Add a shortcut to the input current of the last block: ``neuron(current(x) + shortcut(x))``.

    With one spiking block inside, every residual hop is one synapse long (the double skip
    of Bi-Real nets, used by AGMM and Q-SNN); with two it is the classic skip.

    Args:
        blocks: spiking blocks in a row; the shortcut joins in front of the last one's neuron.
        shortcut: blocks in a row whose result is a current (``neuron_params=None``), e.g. a
            1x1 ``Conv``; empty for identity, where a spike adds a current of 1.
        name: of the layer in errors, tables, figures and files.
    """

    def __init__(
        self,
        blocks: Iterable[SpikingBlock],
        shortcut: Iterable[Block] = (),
        *,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self._set_name(name, "Residual")
        self.blocks = torch.nn.ModuleList(blocks)  # type: ignore[arg-type]
        self.shortcut = torch.nn.ModuleList(shortcut)  # type: ignore[arg-type]
        if not len(self.blocks) or getattr(self.blocks[-1], "neuron", None) is None:
            raise OptionError(f"{self.label}: the last block needs a neuron; give it neuron_params")
        if isinstance(self.blocks[-1], Recurrent):
            raise OptionError(
                f"{self.blocks[-1].label}: a Recurrent is not supported as the last block of a Residual; "
                "put it in front of the last one, or behind the Residual"
            )
        for module in self.blocks:
            for option in ("count_log", "delay_shift"):
                if getattr(module, option, None):
                    raise OptionError(f"{module.label}: {option} is not supported inside a Residual")
        if any(getattr(module, "neuron", None) is not None for module in self.shortcut):
            raise OptionError(f"{self.label}: a shortcut carries a current; use neuron_params=None in it")

    @property
    def neuron(self) -> torch.nn.Module:
        """The neuron behind the sum."""
        neuron: torch.nn.Module = self.blocks[-1].neuron  # type: ignore[assignment]
        return neuron

    def connect(self, incoming: Signal) -> Signal:
        signal = skipped = incoming
        for module in self.blocks:
            signal = module.connect(signal)  # type: ignore[operator]
        for module in self.shortcut:
            skipped = module.connect(skipped)  # type: ignore[operator]
        if signal.shape != skipped.shape:
            raise ShapeError(
                f"{self.label}: blocks give shape {signal.shape}, the shortcut {skipped.shape}; "
                "use a shortcut with the same stride and features"
            )
        self._incoming, self._outgoing, self.input_shape = incoming, signal, incoming.shape
        return signal

    def forward(self, x: Tensor) -> Tensor:
        """Map spikes to spikes, ``NCHWT``."""
        skipped = y = x
        last = self.blocks[-1]
        for module in self.shortcut:
            final = module is self.shortcut[-1] and isinstance(module, SpikingBlock)
            skipped = module.current(skipped, last.unit) if final else module(skipped)  # type: ignore[operator,arg-type]
        for module in self.blocks[:-1]:
            y = module(y)
        if not self.shortcut:
            skipped = self._on_grid(skipped)
        spikes: Tensor = last(y, skipped)
        return spikes

    def _on_grid(self, x: Tensor) -> Tensor:
        """An identity shortcut as the device adds it, if the last block's neuron is in matched mode."""
        last: SpikingBlock = self.blocks[-1]  # type: ignore[assignment]
        unit, value = last.unit, self.input_scale
        if unit is None:
            return x
        steps = int(identity_grid(1, value, unit, mantissas=last.mantissas).scale[0])
        if steps == unit * value:
            return x  # is on the grid
        return straight_through(torch.round(x.detach() / value) * (steps / unit), x)
