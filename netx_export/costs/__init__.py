"""What a network costs on data: messages, synaptic operations, traffic between cores, and estimates."""

from __future__ import annotations

from .constants import LOIHI_COSTS, Constant, CostConstants
from .count import cost
from .fan_out import fan_out
from .result import CoreCost, Cost, LayerCost

__all__ = [
    "LOIHI_COSTS",
    "Constant",
    "CoreCost",
    "Cost",
    "CostConstants",
    "LayerCost",
    "cost",
    "fan_out",
]
