"""What drives a layer of neurons: images, and the factors of norm and gate in front."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """A current ``gain * images + offset + skipped``, not computed yet.

    Attributes:
        images: ``[T, N, C, H, W]``; ``[1, N, ...]`` where each step has the same.
        gain, offset: float32 ``[T or 1, N or 1, C]``.
        skipped: ``[T, N, C, H, W]``, what a shortcut adds; None for none.
        num_steps: T.
    """

    images: Tensor
    gain: Tensor
    offset: Tensor
    skipped: Tensor | None = None
    num_steps: int

    def current(self) -> Tensor:
        """The current ``[T, N, C, H, W]``: what this means."""
        current = self.images * self.gain[..., None, None] + self.offset[..., None, None]
        current = current.to(self.images.dtype).expand(self.num_steps, *current.shape[1:])
        return current if self.skipped is None else current + self.skipped


Parts = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, int]
"""Tensors of which a function of autograd computes gradients, and T."""


def parts_of(current: Drive | Tensor) -> Parts:
    """Images, gain, offset, what is skipped to, and steps; a current ``[T, N, ...]`` has images only."""
    if isinstance(current, Drive):
        return current.images, current.gain, current.offset, current.skipped, current.num_steps
    return current, None, None, None, len(current)


def as_drive(parts: Parts) -> Drive | Tensor:
    """What has these :func:`parts_of` it."""
    images, gain, offset, skipped, num_steps = parts
    if gain is None or offset is None:
        return images
    return Drive(images=images, gain=gain, offset=offset, skipped=skipped, num_steps=num_steps)
