"""Integer simulation on the CPU: batched, or step by step in Lava's time; exact to the last bit."""

from __future__ import annotations

from .batched import simulate
from .result import Simulation, Trace, check_data, joined, shape_of_samples, simulation_of

__all__ = ["Simulation", "Trace", "check_data", "joined", "shape_of_samples", "simulate", "simulation_of"]
