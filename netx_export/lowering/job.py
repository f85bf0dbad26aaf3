"""What one call of ``convert`` works on, handed from pass to pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lava_bsnn import block
from lava_bsnn.fixed_point import ONE

from ..network import Input
from ..targets import Target
from .observe import Observed
from .resolution import LayerReport


@dataclass(kw_only=True)
class Job:
    """A model on its way to integers.

    Attributes:
        target: for which it is made.
        model: unwrapped.
        blocks: of the model, in a row.
        calibration: samples of the caller, or None.
        ignore_membrane: let 24 bits be kept where fewer were trained.
        entry: input of the network.
        num_steps: steps for which a readout must not overflow.
        persistent: the neurons carry their state on from call to call.
        frozen: its gates became constants.
        seen: what the blocks see and compute for some samples.
        report: called with the accuracy of each layer.
    """

    target: Target
    model: Any
    blocks: list[torch.nn.Module]
    calibration: Any = None
    ignore_membrane: bool = False
    entry: Input = field(default_factory=lambda: Input(shape=(1,)))
    num_steps: int = 1
    persistent: bool = False
    frozen: bool = False
    seen: Observed = field(default_factory=Observed)
    report: Callable[[LayerReport], None] = lambda layer: None

    @property
    def readout_decay(self) -> int:
        """Leak of a readout in 1/4096: a stream's adds up no more than ``num_steps`` steps would."""
        return -(-ONE // self.num_steps) if self.persistent else 0

    @property
    def shortcuts(self) -> set[torch.nn.Module]:
        """Blocks of shortcuts, which need no neurons."""
        found: set[torch.nn.Module] = set()
        for module in torch.nn.ModuleList(self.blocks).modules():
            if isinstance(module, block.Residual):
                found.update(module.shortcut)
        return found
