"""A readout's weights and unit: its sums over all steps must fit 24 bits."""

from __future__ import annotations

import numpy as np

from lava_bsnn import device
from lava_bsnn.device import Grid
from lava_bsnn.limits import LIMITS

from .incoming import Incoming


def readout_grid(path: Incoming, num_steps: int, *, matched: bool) -> tuple[float, Grid]:
    """Unit and integers with which ``num_steps`` steps cannot overflow.

    Args:
        matched: as the model computes in matched mode, with a power of two as unit.
    """
    folded, low, high = path.folded, path.low, path.high
    if matched:
        unit = device.readout_unit(folded, low, high, num_steps, path.image, mantissas=path.mantissas)
        return unit, path.on_grid(unit)
    unit = LIMITS.readout_max / ((path.bound or 1.0) * num_steps)  # without weights any will do
    while True:
        unit = _whole_unit(path, unit)
        grid = path.on_grid(unit)
        if grid.bound(low, high) * num_steps <= LIMITS.readout_max:
            return unit, grid
        unit *= 0.99


def _whole_unit(path: Incoming, unit: float) -> float:
    """A unit a bit smaller, where it makes the one scale of all channels of whole weights a whole number."""
    if not path.folded.whole:
        return unit
    rows = path.folded.q.reshape(len(path.folded.q), -1)
    scales = np.unique(np.abs(path.folded.multiplier[rows.any(1)])) * unit
    return float(unit * np.floor(scales[0]) / scales[0]) if len(scales) == 1 and scales[0] >= 1 else unit
