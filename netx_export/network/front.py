"""What stands in front of neurons: gates and the mixing of time steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lava_bsnn.limits import LIMITS

from ..content import Content, holds


@dataclass(frozen=True, kw_only=True, eq=False)
class Gate(Content):
    """Gate of AGMM on the current of one connection; see :func:`lava_bsnn.fixed_point.gate`.

    Attributes:
        multiplier: ``[T]`` or ``[T, C]``: alpha, times the unit of the current, times 256, over
            the number of averaged values, times ``2^shift``.
        shift: 0..48.
        per: ``"channel"``: mean over height and width; ``"layer"``: also over channels. A dense
            layer averages over its features.
    """

    multiplier: np.ndarray = holds("array", -LIMITS.multiplier_max, LIMITS.multiplier_max)
    shift: int = holds("int", 0, LIMITS.gate_shift_max)
    per: str = holds("text", default="channel")

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.multiplier)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Content):
    """Mixing of time steps in front of the neurons (T-GIM); see :func:`lava_bsnn.fixed_point.mix`.

    Attributes:
        omega: ``[T, F]`` in 1/4096; row t makes step t of F that come in. F is T but for a mixing of event
            frames into other steps.
    """

    omega: np.ndarray = holds("array", -LIMITS.factor_max, LIMITS.factor_max)

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.omega)

    @property
    def num_frames(self) -> int:
        """F."""
        return self.omega.shape[-1]

    @property
    def causal(self) -> bool:
        """Whether no step needs a later one, nor is there another number of them."""
        return self.num_frames == self.num_steps and not np.triu(self.omega, 1).any()

    @property
    def latency(self) -> int:
        """Steps for which the neurons wait, none, or F - 1 until the window is complete."""
        return 0 if self.causal else self.num_frames - 1
