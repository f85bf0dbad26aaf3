"""A readout's weights and unit: its sums over all steps must fit 24 bits."""

from __future__ import annotations

import dataclasses

import numpy as np

from .. import limits, synapses
from ..network import Dense
from .path import Path
from .resolution import check_resolution


def lower_readout(label: str, path: Path, num_steps: int) -> tuple[float, Path, float]:
    """The largest unit with which ``num_steps`` steps cannot overflow, weights for it, and their error."""
    real = _weight(path) * path.multiplier[:, None]
    unit = limits.READOUT_MAX / (max(path.bound, 1e-30) * num_steps)
    while True:
        unit = _whole_unit(path, unit)
        rounded = _rounded(path, unit)
        scale, bias = rounded.on_grid(unit)
        worst = scale * synapses.reach(rounded.synapse) * path.largest + np.abs(bias)
        if worst.max() * num_steps <= limits.READOUT_MAX:
            break
        unit *= 0.99
    cause = (
        f"sums of 24 bits over {real[0].size} inputs of up to {path.largest} and {num_steps} steps leave too "
        "few weight levels"
    )
    ours = _weight(rounded) * (scale / unit)[:, None]
    remedy = "use fewer inputs, levels, or steps"
    return unit, rounded, check_resolution(label, ours, real, cause, remedy)


def _weight(path: Path) -> np.ndarray:
    assert isinstance(path.synapse, Dense)
    return path.synapse.weight


def _whole_unit(path: Path, unit: float) -> float:
    """A unit a bit smaller, where it makes the one scale of all channels a whole number."""
    scales = np.unique(path.multiplier[_weight(path).any(1)]) * unit
    return float(unit * np.floor(scales[0]) / scales[0]) if len(scales) == 1 and scales[0] >= 1 else unit


def _rounded(path: Path, unit: float) -> Path:
    """A readout's path with the scale of each channel a whole number.

    Its weights stay, or take on what the scale rounds, whichever has the smaller error.
    """
    q = _weight(path)
    largest = np.abs(q).max(1)
    scale = np.where(largest > 0, path.multiplier * unit, 0)
    coarse = np.ceil(scale * largest / limits.WEIGHT_MAX).clip(1)
    weight = np.rint(q * (scale / coarse)[:, None])
    error = np.linalg.norm(weight * coarse[:, None] - q * scale[:, None], axis=1)
    stays = np.abs(np.rint(scale) - scale) * np.linalg.norm(q, axis=1) <= error * (1 + 1e-9)
    weight = np.where(stays[:, None], q, weight).astype(np.int64)
    whole = np.where(stays, np.rint(scale), coarse)
    return dataclasses.replace(path, synapse=Dense(weight=weight), multiplier=whole / unit)
