"""Parameters of nodes: arrays, scalars, or one value for all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lava_bsnn.errors import ExportError

from ..network import Shape

NEAR = 1e-6
"""Relative difference that counts as none."""


def per_channel(name: str, what: str, values: Any, shape: Shape) -> np.ndarray:
    """``[C]`` of values that are the same all over a channel; a scalar holds for all.

    Raises:
        ExportError: they are not finite, differ within a channel, or do not fit the node's shape.
    """
    given = np.asarray(values, dtype=np.float64)
    if not np.isfinite(given).all():
        raise ExportError(f"{name}: {what} has values that are not finite")
    if given.size == 1:
        given = given.reshape(())
    elif given.size == math.prod(shape):
        given = given.reshape(shape)
    elif given.ndim != len(shape):
        raise ExportError(f"{name}: {what} of shape {given.shape} does not fit neurons of shape {shape}")
    try:
        flat = np.broadcast_to(given, shape).reshape(shape[0], -1)
    except ValueError as error:
        raise ExportError(
            f"{name}: {what} of shape {given.shape} does not fit neurons of shape {shape}"
        ) from error
    if np.ptp(flat, axis=1).max() > NEAR * np.abs(flat).max():
        raise ExportError(f"{name}: {what} differs within a channel, which is not supported")
    result: np.ndarray = flat[:, 0]
    return result
