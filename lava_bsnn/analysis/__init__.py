"""Figures; each plot function draws on and returns matplotlib ``Axes``."""

from .plots import plot_membrane, plot_raster, plot_training

__all__ = ["plot_membrane", "plot_raster", "plot_training"]
