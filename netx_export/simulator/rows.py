"""Rows of neurons in H, W, C order, as the simulator's kernels take them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..network import INPUT, FixedPointNetwork, Shape
from ..network.checks import largest_message
from .machine_code import BLOCK

_FEW = 32


class Messages(NamedTuple):
    """What a source sends.

    Attributes:
        largest: largest magnitude.
        signed: there are negative ones.
    """

    largest: int = 1
    signed: bool = False

    @classmethod
    def of(cls, net: FixedPointNetwork, source: str) -> Messages:
        """Messages of the input or a layer of a network."""
        return cls(largest_message(net, source), source == INPUT and net.input.signed)

    @property
    def type(self) -> type[np.generic]:
        """Type of the messages in a row."""
        return np.int8 if self.signed else np.uint8


def message_width(shape: Shape) -> int:
    """Length of a row of messages."""
    return -(-math.prod(shape) // BLOCK) * BLOCK


def to_row(values: np.ndarray, shape: Shape) -> np.ndarray:
    """``[..., *shape]`` to ``[..., neurons]``, H, W, C order."""
    lead = values.ndim - len(shape)
    return np.moveaxis(values, lead, -1).reshape(*values.shape[:lead], -1)


def fill(rows: np.ndarray, x: np.ndarray, shape: Shape) -> None:
    """Write samples ``[N, *shape, T]`` to rows ``[N, T, width]``."""
    lead, channels = rows.shape[:2], shape[0]
    target = rows[..., : math.prod(shape)].reshape(*lead, -1, channels)
    source = x.reshape(lead[0], channels, -1, lead[1])
    if channels < _FEW:
        for channel in range(channels):  # numpy's innermost loop would be over them
            target[..., channel] = source[:, channel].swapaxes(1, 2)
    else:
        target[...] = source.transpose(0, 3, 2, 1)


def from_row(rows: np.ndarray, shape: Shape) -> np.ndarray:
    """View rows ``[..., width]`` as ``[..., *shape]``."""
    values = rows[..., : math.prod(shape)].reshape(*rows.shape[:-1], *shape[1:], shape[0])
    return np.moveaxis(values, -1, rows.ndim - 1)
