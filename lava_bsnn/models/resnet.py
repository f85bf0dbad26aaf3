"""Residual networks: ResNet-18, ResNet-19, ResNet-20, ResNet-34."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import block
from ..errors import check_option
from .method import Layers


def resnet(
    layers: Layers,
    in_channels: int,
    *,
    stem: int,
    stages: Sequence[tuple[int, int]],
    imagenet_stem: bool = False,
    skip: str = "double",
) -> list[torch.nn.Module]:
    """Stem and residual stages; every stage but the first halves height and width.

    Args:
        stem: features of the first convolution.
        stages: (features, number of two-convolution blocks) of each stage.
        imagenet_stem: 7x7 stride-2 convolution and 2x2 average pooling instead of 3x3.
        skip: ``"double"``: a skip around each 3x3 convolution, so that a residual hop is one
            synapse long; ``"classic"``: around two.
    """
    check_option("resnet", "skip", skip, ("double", "classic"))
    if imagenet_stem:
        blocks: list[torch.nn.Module] = [
            layers.conv(in_channels, stem, 7, 2, first=True),
            block.Pool(None, 2),
        ]
    else:
        blocks = [layers.conv(in_channels, stem, 3, first=True)]
    inputs = stem
    for stage, (features, count) in enumerate(stages):
        for index in range(count):
            stride = 2 if stage and not index else 1
            convs = [layers.conv(inputs, features, 3, stride), layers.conv(features, features, 3)]
            shortcut = layers.shortcut(inputs, features, stride)
            name = f"stage{stage + 1}.{index}"
            if skip == "classic":
                blocks.append(block.Residual(convs, shortcut, name=name))
            else:
                blocks.append(block.Residual(convs[:1], shortcut, name=f"{name}.a"))
                blocks.append(block.Residual(convs[1:], name=f"{name}.b"))
            inputs = features
    return blocks
