"""Layers over the neurocores of a chip: facts of chips, needs of slices of layers, and where they stand."""

from __future__ import annotations

from .chips import Chip, Fact
from .result import LIMITED, Core, Placement, Slice

__all__ = ["LIMITED", "Chip", "Core", "Fact", "Placement", "Slice"]
