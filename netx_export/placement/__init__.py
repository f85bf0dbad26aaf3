"""Layers over the neurocores of a chip: facts of chips, needs of slices of layers, and where they stand."""

from __future__ import annotations

from .chips import CHIPS, Chip, Fact, chip, chip_from_toml
from .place import place
from .result import LIMITED, Core, Placement, Slice

__all__ = [
    "CHIPS",
    "LIMITED",
    "Chip",
    "Core",
    "Fact",
    "Placement",
    "Slice",
    "chip",
    "chip_from_toml",
    "place",
]
