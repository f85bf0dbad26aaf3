"""Weights averaged over training steps."""

from __future__ import annotations

from itertools import chain

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """Exponential moving average of a model's weights and buffers.

    The values are those of ``AveragedModel``, which at each step waits for a GPU: it sends its counter there.

    Args:
        model: copied.
        decay: share of the average that is kept at each step, 0..1.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._average = get_ema_multi_avg_fn(decay)
        super().__init__(model, multi_avg_fn=self._average, use_buffers=True)

    def update_parameters(self, model: torch.nn.Module) -> None:
        """Take up a model's weights; the first ones are copied."""
        if int(self.n_averaged) == 0:  # on the host
            super().update_parameters(model)
            return
        kinds: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        pairs = zip(*[chain(m.parameters(), m.buffers()) for m in (self.module, model)], strict=True)
        for ours, theirs in pairs:
            lists = kinds.setdefault(ours.dtype, ([], []))
            lists[0].append(ours.detach())
            lists[1].append(theirs.detach())
        for averaged, new in kinds.values():
            self._average(averaged, new, None)  # type: ignore[arg-type]  # the counter, which it does not use
        self.n_averaged += 1
