"""A connection before its layer's unit is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_bsnn import device
from lava_bsnn.modulation import AGMM

from .. import synapses
from ..network import Synapse


@dataclass(frozen=True, kw_only=True)
class Path:
    """One connection before its unit is known: real arithmetic on integer messages."""

    source: str
    synapse: Synapse
    multiplier: np.ndarray
    offset: np.ndarray
    largest: int  # message
    agmm: AGMM | None = None

    @property
    def fan_in(self) -> np.ndarray:
        """Sum of all weights' magnitudes times the largest message."""
        return synapses.fan_in(self.synapse) * self.largest

    @property
    def bound(self) -> float:
        """Largest real current."""
        sums = synapses.reach(self.synapse) * self.largest
        return float((np.abs(self.multiplier) * sums + np.abs(self.offset)).max())

    def on_grid(self, unit: float) -> tuple[np.ndarray, np.ndarray]:
        """Scale and bias in membrane steps."""
        return device.on_grid(self.multiplier, self.offset, unit)

    def error(self, unit: float) -> np.ndarray:
        """Mean square error of the current per channel, for inputs of random size."""
        scale, bias = self.on_grid(unit)
        slip = (scale / unit - self.multiplier) * np.sqrt(self.fan_in)
        return np.square(slip) + np.square(bias / unit - self.offset)  # type: ignore[no-any-return]
