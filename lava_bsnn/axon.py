"""Axonal delays, behind neurons, as SLAYER's: one per output channel, learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._slayer import Axon
from .functional.time import from_time_major, time_major
from .limits import LIMITS


class Delay(Axon):
    """Delay spikes ``[N, C, ..., T]`` by whole steps per channel: the learned delays, rounded down.

    The gradient is SLAYER's: that of a delayed signal whose slope is the difference of its steps.

    Args:
        max_delay: in steps.
        persistent_state: what is under way at the end of a call arrives in the next one.

    Attributes:
        delay: parameter in steps ``[C]``, ``[1]`` before the number of channels is known. The first values
            are random and below 1, as SLAYER's.
    """

    init: bool
    past: Tensor

    def __init__(self, max_delay: int = LIMITS.delay_max, *, persistent_state: bool = False) -> None:
        super().__init__(max_delay=max_delay)
        self.persistent_state = persistent_state
        self.register_buffer("past", torch.zeros(0), persistent=False)

    def build(self, channels: int) -> None:
        """Fix the number of channels, unless it is known."""
        if not self.init:
            self.delay.data = torch.rand(channels, dtype=self.delay.dtype, device=self.delay.device)
            self.init = True

    def reset_state(self) -> None:
        """Forget what is under way."""
        self.past = self.past.new_zeros(0)

    @property
    def steps(self) -> Tensor:
        """Whole steps, int64 ``[C]``."""
        return self.delay.detach().clamp(0, self.max_delay).floor().long()

    def extra_repr(self) -> str:
        steps = self.steps
        return f"{int(steps.min())}..{int(steps.max())} steps" if self.init else "not built"

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        values = state_dict.get(f"{prefix}delay")
        if values is not None and not self.init:
            self.delay.data = self.delay.data.new_empty(values.shape)
            self.init = True
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return delayed spikes, in the same shape."""
        self.build(x.shape[1])
        self.clamp()
        spikes, steps, before = time_major(x), self.steps, 0
        if self.persistent_state:
            if self.past.shape[1:] == spikes.shape[1:]:
                before = len(self.past)
                spikes = torch.cat([self.past, spikes])
            self.past = spikes[-self.max_delay :].detach().clone()
        late: Tensor = _Shift.apply(spikes, self.delay, steps)
        return from_time_major(late[before:])


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, delay: Tensor, steps: Tensor) -> Tensor:
        late = _shifted(x, steps, 1)
        ctx.save_for_backward(late, steps)
        return late

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        late, steps = ctx.saved_tensors
        slope = -late
        slope[1:] += late[:-1]
        axes = [axis for axis in range(late.dim()) if axis != 2]
        return _shifted(grads[0], steps, -1), (grads[0] * slope).sum(axes), None


def _shifted(x: Tensor, steps: Tensor, sign: int) -> Tensor:
    """``[T, N, C, ...]`` with each channel later by its steps, or earlier for ``sign=-1``; zeros come in."""
    source = torch.arange(len(x), device=x.device)[:, None] - sign * steps
    column = (len(x), 1, -1, *[1] * (x.dim() - 3))
    inside = ((source >= 0) & (source < len(x))).view(column)
    return torch.where(inside, x.gather(0, source.clamp(0, len(x) - 1).view(column).expand_as(x)), 0)
