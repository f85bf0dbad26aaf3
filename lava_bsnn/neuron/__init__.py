"""Spiking neurons that derive from ``slayer.neuron.base.Neuron``, and their companions."""

from .lif import LIF
from .multi_threshold import QCFS, MultiThresholdLIF, TemporalMix

__all__ = ["LIF", "QCFS", "MultiThresholdLIF", "TemporalMix"]
