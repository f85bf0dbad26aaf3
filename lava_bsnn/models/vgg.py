"""Chains of 3x3 convolutions: VGG-13, VGG-16, VGGSNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import block
from .method import Layers

POOL = "P"
VGG13 = (64, 64, POOL, 128, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512)
VGG16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512)
VGGSNN = (64, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)


def vgg(layers: Layers, in_channels: int, plan: Sequence[int | str]) -> list[torch.nn.Module]:
    """Convolutions with the features of ``plan``; ``"P"`` is 2x2 average pooling."""
    blocks: list[torch.nn.Module] = []
    inputs = in_channels
    for step in plan:
        if isinstance(step, str):
            blocks.append(block.Pool(None, 2))
        else:
            blocks.append(layers.conv(inputs, step, 3, first=not blocks))
            inputs = step
    return blocks
