"""A chain of blocks with its input shape and number of time steps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .. import block
from ..axes import in_order
from ..block.base import check_tensor
from ..encoding import Encoding
from ..errors import ShapeError
from ..functional import direct_code
from ..neuron import TemporalMix


def steps_behind(blocks: Iterable[torch.nn.Module], num_steps: int) -> int:
    """Time steps that come out of blocks: those that mixings make of other numbers of frames."""
    for module in (part for one in blocks for part in one.modules()):
        if isinstance(module, TemporalMix) and module.num_frames != module.num_steps:
            num_steps = module.num_steps
    return num_steps


class SpikingNetwork(torch.nn.Module):
    """Blocks in a row, built for one input shape.

    Maps ``[N, C, H, W, T]`` (or ``[N, C, T]``) to per-step logits ``[N, classes, T]``. Static
    input without a time axis is repeated over ``num_steps`` (direct coding).

    Args:
        blocks: modules of :mod:`lava_bsnn.block` or ``slayer.block``.
        in_shape: ``(C, H, W)`` or ``(C,)``.
        num_steps: time steps T of static input; F where the first neurons mix F frames into T steps.

    Attributes:
        out_steps: time steps of the output; others than ``num_steps`` only behind such a mixing and behind
            :func:`lava_bsnn.training.hybrid.to_single_threshold`.
        classes: names of the classes, which exports keep; empty if unknown.
    """

    def __init__(
        self, blocks: Iterable[torch.nn.Module], *, in_shape: tuple[int, ...], num_steps: int
    ) -> None:
        super().__init__()
        if num_steps < 1:
            raise ShapeError(f"SpikingNetwork: num_steps={num_steps} is not allowed; use 1 or more")
        self.blocks = torch.nn.ModuleList(blocks)
        self.in_shape = tuple(in_shape)
        self.classes: tuple[str, ...] = ()
        self.out_shape = block.build(self.blocks, self.in_shape)
        self.set_steps(num_steps)

    def set_steps(self, num_steps: int, out_steps: int | None = None) -> None:
        """Set the time steps of static input, and of the output where they differ."""
        self.num_steps, self.out_steps = num_steps, out_steps or steps_behind(self.blocks, num_steps)
        for module in self.blocks:
            if isinstance(module, block.Readout):
                module.num_steps = self.out_steps

    @property
    def encoding(self) -> Encoding | None:
        """What the model takes, which is spikes without a first block ``Input``; None for real numbers."""
        first = self.blocks[0]
        return first.encoding if isinstance(first, block.Input) else Encoding()

    def forward(self, x: Tensor) -> Tensor:
        check_tensor(type(self).__name__, x)
        if x.dim() == len(self.in_shape) + 1:
            if tuple(x.shape[1:]) != self.in_shape:
                shape, sizes = tuple(x.shape), ", ".join(map(str, self.in_shape))
                raise ShapeError(
                    f"{type(self).__name__}: input of shape {shape} does not fit; use [N, {sizes}] or "
                    f"[N, {sizes}, T]{in_order(shape, self.in_shape)}"
                )
            x = direct_code(x, self.num_steps)
        for module in self.blocks:
            x = module(x)
        return x
