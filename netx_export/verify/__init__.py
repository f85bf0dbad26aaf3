"""Comparisons: of backends with each other, of two runs, and of a model with its integers."""

from __future__ import annotations

from .backends import Outcome, Verification, random_data, verify
from .parity import Comparison, compare

__all__ = ["Comparison", "Outcome", "Verification", "compare", "random_data", "verify"]
