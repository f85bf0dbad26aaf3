"""Figures of a model; each has a function that returns data and one that draws it on ``Axes``."""

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
    "FlipRecorder",
    "GradientStatistics",
    "entropy",
    "flip_ratio",
    "gradient_statistics",
    "plot_flip_ratio",
    "plot_gradient_statistics",
    "plot_membrane",
    "plot_raster",
    "plot_training",
    "plot_weight_entropy",
    "weight_entropy",
]
