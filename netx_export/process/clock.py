"""When the samples reach a layer."""

from __future__ import annotations

from typing import NamedTuple


class Clock(NamedTuple):
    """Steps of a layer's samples in Lava's time, which counts from 1.

    Attributes:
        interval: steps between resets; None for no reset.
        arrival: time at which the first step of a sample reaches the layer.
    """

    interval: int | None
    arrival: int

    def step(self, time: int) -> int:
        """Step of the sample that the layer works on."""
        return (time - self.arrival) % self.interval if self.interval else time - self.arrival

    def restarts(self, time: int) -> bool:
        """Whether a sample begins."""
        return self.interval is not None and self.step(time) == 0
