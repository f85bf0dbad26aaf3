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
    target, source = from_row(rows, shape), np.moveaxis(x, -1, 1)
    if shape[0] < _FEW:
        for channel in range(shape[0]):  # numpy's innermost loop would be over them
            target[:, :, channel] = source[:, :, channel]
    else:
        target[...] = source


def from_row(rows: np.ndarray, shape: Shape) -> np.ndarray:
    """View rows ``[..., width]`` as ``[..., *shape]``."""
    values = rows[..., : math.prod(shape)].reshape(*rows.shape[:-1], *shape[1:], shape[0])
    return np.moveaxis(values, -1, rows.ndim - 1)
