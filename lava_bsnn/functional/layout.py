"""How kernels see the current of a layer, on any device: steps, channels and the order in memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .drive import Drive


class Gradients(NamedTuple):
    """Of what makes a current, in shapes of :class:`Drive`; None where there is nothing."""

    images: Tensor
    gain: Tensor | None
    offset: Tensor | None
    skipped: Tensor | None


class Layout:
    """A current's layout: channels last where factors are in front, or the memory is so.

    Args:
        drive: of a floating type; or the current itself, ``[T, N, ...]``.
    """

    def __init__(self, drive: Drive | Tensor) -> None:
        images = drive.images if isinstance(drive, Drive) else drive
        self.type, self.shape, self.device = images.dtype, images.shape[1:], images.device
        self.channels_last = images.dim() == 5 and (isinstance(drive, Drive) or not images.is_contiguous())
        self.neurons = self.shape.numel()
        self.steps = drive.num_steps if isinstance(drive, Drive) else len(images)

    def rows(self, x: Tensor) -> Tensor:
        """Tensor ``[T, N, ...]`` as ``[T, M]`` in the layout's order, a view where the memory is so."""
        x = x.detach()
        return (x.movedim(2, -1) if self.channels_last else x).contiguous().view(len(x), -1)

    def empty(self, steps: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """Results ``[T, N, ...]`` of which :meth:`rows` is a view."""
        shape = [self.steps if steps is None else steps, *self.shape]
        if self.channels_last:
            shape = [*shape[:2], *shape[3:], shape[2]]
        made = torch.empty(shape, dtype=dtype or self.type, device=self.device)
        return made.movedim(-1, 2) if self.channels_last else made
