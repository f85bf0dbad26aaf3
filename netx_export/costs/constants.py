"""Energy and time of single operations of a chip, each with its source and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from ..placement.chips import Certainty

_DAVIES = "Davies et al., Loihi, IEEE Micro 38(1), 2018, table 2 (simulated before silicon, 0.75 V)"


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A number that estimates are made of.

    Attributes:
        what: of which operation.
        value: the number.
        unit: ``"pJ"``, ``"ns"`` or ``""``.
        source: where it is written, or why it is assumed.
        certainty: as for :class:`netx_export.placement.Fact`.
    """

    what: str
    value: float
    unit: str
    source: str
    certainty: Certainty

    def __str__(self) -> str:
        return f"{self.what}: {self.value:g} {self.unit}".rstrip() + f" ({self.certainty}; {self.source})"


@dataclass(frozen=True, kw_only=True)
class CostConstants:
    """What :func:`netx_export.cost` estimates with.

    Attributes:
        sop_energy: of a synaptic operation.
        neuron_energy: of one update of a neuron.
        message_energy: of a message within its tile.
        hop_energy: of a message from one tile to the next.
        hops: tiles that a message crosses.
        sop_time: of a synaptic operation; those of one core come one after the other.
        neuron_time: likewise of one update of a neuron.
        sync_time: of the barrier that ends a time step.
    """

    sop_energy: Constant
    neuron_energy: Constant
    message_energy: Constant
    hop_energy: Constant
    hops: Constant
    sop_time: Constant
    neuron_time: Constant
    sync_time: Constant

    def __iter__(self) -> Iterator[Constant]:
        return (getattr(self, field.name) for field in fields(self))

    def energy(self, sops: float, updates: float, messages: float) -> float:
        """Joule of so many synaptic operations, updates of neurons, and messages."""
        message = self.message_energy.value + self.hops.value * self.hop_energy.value
        return 1e-12 * (
            sops * self.sop_energy.value + updates * self.neuron_energy.value + messages * message
        )

    def core_time(self, sops: float, neurons: float) -> float:
        """Seconds that a core works in a step of so many synaptic operations and neurons."""
        return 1e-9 * (sops * self.sop_time.value + neurons * self.neuron_time.value)


def _published(what: str, value: float, unit: str, note: str = "") -> Constant:
    return Constant(what=what, value=value, unit=unit, source=_DAVIES + note, certainty="published")


LOIHI_COSTS = CostConstants(
    sop_energy=_published("synaptic operation", 23.6, "pJ", "; a least value"),
    neuron_energy=_published("neuron update", 81.0, "pJ", "; of an active neuron, 52 pJ of an inactive one"),
    message_energy=_published("message within a tile", 1.7, "pJ"),
    hop_energy=_published("message, per tile hop", 4.0, "pJ", "; north to south, 3 pJ east to west"),
    hops=Constant(
        what="tile hops of a message",
        value=4.0,
        unit="",
        source="mean distance of two tiles drawn from 8 x 4: 63/24 + 15/12 = 3.9",
        certainty="assumed",
    ),
    sop_time=_published("synaptic operation", 3.5, "ns", "; a largest value"),
    neuron_time=_published("neuron update", 8.4, "ns", "; of an active neuron, 5.3 ns of an inactive one"),
    sync_time=_published("barrier of a step", 465.0, "ns", "; 32 tiles, one chip; several chips take longer"),
)
"""Of Loihi 1. None were published for Loihi 2, so that estimates for it take these."""
