"""A small convolutional network."""

from __future__ import annotations

from typing import Any

from .. import block
from .network import SpikingNetwork


def cnn(
    num_classes: int,
    in_shape: tuple[int, int, int],
    num_steps: int,
    *,
    channels: tuple[int, ...] = (32, 64),
    hidden: int = 128,
    input_bits: int = 4,
    neuron_params: dict[str, Any] | None = None,
) -> SpikingNetwork:
    """3x3 convolutions, of which all but the first halve height and width, then two dense layers.

    First convolution and readout have 8-bit weights, all between 1-bit weights.

    Args:
        num_classes: classes C.
        in_shape: ``(C, H, W)``.
        num_steps: time steps T.
        channels: features of each convolution.
        hidden: neurons of the hidden dense layer.
        input_bits: 0 for spikes, k for k-bit intensities.
        neuron_params: parameters of every :class:`lava_bsnn.neuron.LIF`.
    """
    params = {"threshold": 1.0, "voltage_decay": 0.5, **(neuron_params or {})}
    blocks: list[Any] = [block.Input(bits=input_bits)]
    features = in_shape[0]
    for index, out_features in enumerate(channels):
        blocks.append(
            block.Conv(
                params,
                features,
                out_features,
                3,
                stride=2 if index else 1,
                padding=1,
                binarize="channel" if index else None,
            )
        )
        features = out_features
    shape = block.build(blocks, in_shape)
    inputs = shape[0] * shape[1] * shape[2]
    blocks += [
        block.Flatten(),
        block.Dense(params, inputs, hidden),
        block.Readout(None, hidden, num_classes),
    ]
    return SpikingNetwork(blocks, in_shape=in_shape, num_steps=num_steps)
