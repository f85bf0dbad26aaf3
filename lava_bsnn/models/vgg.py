"""Chains of 3x3 convolutions: VGG-13, VGG-16, VGGSNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import block
from ..errors import OptionError, check_option
from .method import Layers

POOL = "P"
VGG13 = (64, 64, POOL, 128, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512)
VGG16 = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512)
VGGSNN = (64, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL)


def vgg(
    layers: Layers, in_channels: int, plan: Sequence[int | str], *, pool: str = "average"
) -> list[torch.nn.Module]:
    """A convolution with each number of features of ``plan``; ``"P"`` halves height and width.

    Args:
        pool: ``"average"``: by 2x2 average pooling; ``"stride"``: the convolution in front has stride 2,
            and nothing is pooled.
    """
    check_option("vgg", "pool", pool, ("average", "stride"))
    check_plan(plan)
    blocks: list[torch.nn.Module] = []
    inputs = in_channels
    for step, behind in zip(plan, [*plan[1:], None], strict=True):
        if not isinstance(step, str):
            stride = 2 if pool == "stride" and behind == POOL else 1
            blocks.append(layers.conv(inputs, step, 3, stride, first=not blocks))
            inputs = step
        elif pool == "average":
            blocks.append(block.Pool(None, 2))
    return blocks


def check_plan(plan: Sequence[int | str]) -> None:
    """Raise :class:`OptionError` unless ``plan`` has numbers of features, with ``"P"`` behind some."""
    pairs = zip([POOL, *plan], plan, strict=False)
    if not plan or not all(
        before != POOL if step == POOL else type(step) is int and step > 0 for before, step in pairs
    ):
        raise OptionError(
            f"vgg: plan={list(plan)} is not allowed; use numbers of features, with {POOL!r} behind those "
            "that are pooled"
        )
