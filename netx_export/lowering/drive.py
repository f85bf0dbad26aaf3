"""How strongly a layer's neurons are driven, and the membrane steps that 24 bits leave for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lava_bsnn import device
from lava_bsnn.errors import ExportError
from lava_bsnn.fixed_point import ALIGN_BITS, ONE
from lava_bsnn.limits import LIMITS

from .incoming import Incoming

_CANDIDATES = 64


def share_of_a_step(current_decay: int | np.ndarray, num_steps: int | None) -> float:
    """Share of the largest current that one step may bring: a filter adds currents up, all of a sample or,
    with ``num_steps=None``, as many as its leak leaves."""
    return max(float(np.min(current_decay)) / ONE, 1 / num_steps if num_steps else 0.0)


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Currents of a layer before its unit is known.

    Attributes:
        label: of the block, for errors.
        incoming: of each connection.
        num_steps: steps of a sample; None for a stream, which has no end.
    """

    label: str
    incoming: list[Incoming]
    num_steps: int | None

    def share_of_a_step(self, current_decay: int | np.ndarray) -> float:
        """See :func:`share_of_a_step`."""
        return share_of_a_step(current_decay, self.num_steps)

    @property
    def bound(self) -> float:
        """Largest real current of a step."""
        return sum(one.bound for one in self.incoming)

    def largest_unit(self, threshold: float, gain: float = 1.0) -> float:
        """Most membrane steps per unit of current with which a step cannot overflow.

        Args:
            threshold: in units of current.
            gain: factor on the largest current.

        Raises:
            ExportError: they are less than 64 per threshold.
        """
        bound = self.bound * gain
        unit = LIMITS.potential_max / max(bound, threshold)
        if unit * threshold < 1 << ALIGN_BITS:
            raise ExportError(
                f"{self.label}: a step may add {bound / threshold:.3g} thresholds, too many for 24 bits; "
                "raise the threshold or retrain with norm='batch'"
            )
        return unit

    def best_unit(self, largest: float) -> float:
        """Of the units up to ``largest`` that leave headroom, the one with which rounding costs least."""
        top = largest / device.HEADROOM
        whole = [one for one in self.incoming if one.folded.whole]
        powers = [one.power() for one in whole]

        def cost(unit: float) -> float:
            total = 0.0
            for one, power in zip(whole, powers, strict=True):
                multiplier, offset = np.abs(one.folded.multiplier), one.folded.offset
                slip = np.rint(unit * multiplier) / unit - multiplier
                total += float(
                    (np.square(slip) * power + np.square(np.rint(unit * offset) / unit - offset)).sum()
                )
            return total

        exact = device.power_of_two_below(top)  # if all numbers are multiples of a power of two
        return float(min([*np.linspace(top, top / 2, _CANDIDATES), exact], key=cost))

    def check_matched(self, unit: float, threshold: float) -> None:
        """Refuse a trained unit with which a step may overflow.

        Raises:
            ExportError: as said.
        """
        if self.bound * unit > LIMITS.potential_max:
            fits = max(1.0, LIMITS.potential_max / self.bound / (1 << ALIGN_BITS))
            raise ExportError(
                f"{self.label}: in matched mode a step may add up to {self.bound / threshold:.3g} "
                "thresholds, too many for 24 bits; use the neuron's "
                f"scale={1 << math.floor(math.log2(fits))}, "
                "or norm='batch'"
            )
