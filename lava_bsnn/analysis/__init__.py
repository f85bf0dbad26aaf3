"""Figures of a model; each has a function that returns data and one that draws it on ``Axes``."""

from .activity import LayerActivity, activity, plot_firing_rates, plot_spike_entropy
from .operations import (
    ENERGY_45NM,
    ENERGY_AGMM,
    EnergyConstants,
    EnergyEstimate,
    LayerOperations,
    OperationCount,
    count_operations,
    estimate_energy,
    plot_energy,
    plot_operations,
)
from .plots import plot_membrane, plot_raster, plot_training
from .weights import (
    FlipRecorder,
    GradientStatistics,
    entropy,
    flip_ratio,
    gradient_statistics,
    plot_flip_ratio,
    plot_gradient_statistics,
    plot_weight_entropy,
    weight_entropy,
)

__all__ = [
    "ENERGY_45NM",
    "ENERGY_AGMM",
    "EnergyConstants",
    "EnergyEstimate",
    "FlipRecorder",
    "GradientStatistics",
    "LayerActivity",
    "LayerOperations",
    "OperationCount",
    "activity",
    "count_operations",
    "entropy",
    "estimate_energy",
    "flip_ratio",
    "gradient_statistics",
    "plot_energy",
    "plot_firing_rates",
    "plot_flip_ratio",
    "plot_gradient_statistics",
    "plot_membrane",
    "plot_operations",
    "plot_raster",
    "plot_spike_entropy",
    "plot_training",
    "plot_weight_entropy",
    "weight_entropy",
]
