"""Figures of a model; each has a function that returns data and one that draws it on ``Axes``."""

from ._style import style
from .activity import LayerActivity, activity, plot_firing_rates, plot_spike_entropy, spikes
from .animation import Gif, animate_raster, plot_events
from .comparison import plot_comparison, plot_curves
from .confusion import confusion_figure, plot_confusion
from .landscape import Landscape, filter_direction, loss_landscape, plot_landscape
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
from .size import (
    Footprint,
    ParameterGroup,
    footprint,
    memory_footprint,
    model_size,
    neuron_counts,
    parameter_groups,
    plot_footprint,
    plot_model_size,
)
from .summaries import LayerSummary, ProfileSummary, Summary
from .summarise import summary
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
    "Footprint",
    "Gif",
    "GradientStatistics",
    "Landscape",
    "LayerActivity",
    "LayerOperations",
    "LayerSummary",
    "OperationCount",
    "ParameterGroup",
    "ProfileSummary",
    "Summary",
    "activity",
    "animate_raster",
    "confusion_figure",
    "count_operations",
    "entropy",
    "estimate_energy",
    "filter_direction",
    "flip_ratio",
    "footprint",
    "gradient_statistics",
    "loss_landscape",
    "memory_footprint",
    "model_size",
    "neuron_counts",
    "parameter_groups",
    "plot_comparison",
    "plot_confusion",
    "plot_curves",
    "plot_energy",
    "plot_events",
    "plot_firing_rates",
    "plot_flip_ratio",
    "plot_footprint",
    "plot_gradient_statistics",
    "plot_landscape",
    "plot_membrane",
    "plot_model_size",
    "plot_operations",
    "plot_raster",
    "plot_spike_entropy",
    "plot_training",
    "plot_weight_entropy",
    "spikes",
    "style",
    "summary",
    "weight_entropy",
]
