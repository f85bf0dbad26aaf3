"""Networks of one's own; the recipe names one of them."""

from __future__ import annotations

import math

import torch

from lava_bsnn import block, modulation
from lava_bsnn.encoding import Encoding
from lava_bsnn.models import Method, SpikingNetwork


class Net(SpikingNetwork):
    """Layers as the recipe's ``method`` makes them (``agmm``: 1-bit weights and gates), and a skip.

    ``channels`` and ``hidden`` come from the recipe's ``model_options``.
    """

    def __init__(
        self,
        *,
        in_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        method: Method,
        encoding: Encoding,
        channels: int = 12,
        hidden: int = 48,
    ) -> None:
        layers = method.layers(num_steps)
        blocks: list[torch.nn.Module] = [
            block.Input(encoding=encoding),
            layers.conv(in_shape[0], channels, 3, stride=2, first=True),
            block.Residual([layers.conv(channels, channels, 3)]),
            layers.conv(channels, 2 * channels, 3, stride=4),
            block.Flatten(),
        ]
        features = math.prod(block.build(blocks, in_shape))
        blocks += [layers.dense(features, hidden), layers.readout(hidden, num_classes)]
        super().__init__(blocks, in_shape=in_shape, num_steps=num_steps)


class Mixed(SpikingNetwork):
    """The same with each block written out, in SLAYER's style; ``method`` has no say in it."""

    def __init__(
        self, *, in_shape: tuple[int, ...], num_classes: int, num_steps: int, encoding: Encoding
    ) -> None:
        neuron = {"threshold": 1.0, "voltage_decay": 0.5}
        few_bits = {**neuron, "membrane_bits": 8}
        blocks: list[torch.nn.Module] = [
            block.Input(encoding=encoding),
            block.Conv(neuron, in_shape[0], 12, 3, stride=2, padding=1, binarize=None),
            block.Residual([block.Conv(neuron, 12, 12, 3, padding=1)]),
            block.Conv(few_bits, 12, 24, 3, stride=4, padding=1, binarize=None, weight_bits=4),
            block.Flatten(),
        ]
        features = math.prod(block.build(blocks, in_shape))
        blocks += [
            block.Dense(neuron, features, 48, modulation=modulation.AGMM(num_steps, 48)),
            block.Readout(None, 48, num_classes),
        ]
        super().__init__(blocks, in_shape=in_shape, num_steps=num_steps)
