"""Rows of neurons in H, W, C order, as :mod:`netx_export.simulator.kernels` take them."""

from __future__ import annotations

import math

import numpy as np

from ..network import INPUT, FixedPointNetwork, Shape
from ..network.checks import largest_message
from . import kernels


def message_width(shape: Shape) -> int:
    """Length of a row of messages."""
    return -(-math.prod(shape) // kernels.ROW) * kernels.ROW


def message_type(net: FixedPointNetwork, source: str) -> type[np.generic]:
    """Type of the messages in a row: int8 if they may be negative, else uint8."""
    return np.int8 if source == INPUT and net.input.signed else np.uint8


def is_graded(net: FixedPointNetwork, source: str) -> bool:
    """Whether a source sends other messages than 0 and 1."""
    return largest_message(net, source) > 1 or message_type(net, source) is np.int8


def to_row(values: np.ndarray, shape: Shape) -> np.ndarray:
    """``[..., *shape]`` to ``[..., neurons]``, H, W, C order."""
    lead = values.ndim - len(shape)
    return np.moveaxis(values, lead, -1).reshape(*values.shape[:lead], -1)


def from_row(rows: np.ndarray, shape: Shape) -> np.ndarray:
    """View rows ``[..., width]`` as ``[..., *shape]``."""
    values = rows[..., : math.prod(shape)].reshape(*rows.shape[:-1], *shape[1:], shape[0])
    return np.moveaxis(values, -1, rows.ndim - 1)
