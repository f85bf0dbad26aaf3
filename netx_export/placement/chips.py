"""Chips and boards: what a neurocore holds, each number with its source and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["published", "inferred", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number of a chip.

    Attributes:
        value: the number.
        source: where it is written, or why it is assumed.
        certainty: ``"published"``, ``"inferred"`` from published numbers or behaviour, or ``"assumed"``.
    """

    value: int
    source: str
    certainty: Certainty


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip, or a board of several.

    Attributes:
        name: key in :data:`CHIPS`.
        title: name for readers.
        chips: on the board; None for a chip of which any number may be used.
        cores: neurocores per chip.
        neurons: per core.
        synaptic_bits: synaptic memory per core, bits.
        axons_in: per core.
        axons_out: per core.
        fan_in: synapses per neuron.
        message_bits: payload of a spike.
        delay_max: steps.
        weight_bits: widest weight.
        shares_convolutions: 1 if a core stores a kernel once for all positions, else 0.
    """

    name: str
    title: str
    chips: Fact | None
    cores: Fact
    neurons: Fact
    synaptic_bits: Fact
    axons_in: Fact
    axons_out: Fact
    fan_in: Fact
    message_bits: Fact
    delay_max: Fact
    weight_bits: Fact
    shares_convolutions: Fact
